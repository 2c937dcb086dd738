"""Instants as people write them. Pure."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Final

_UNITS: Final = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
#: No Slurm kept accounting before 2000-01-01. From 1970 on, 80,000 commands would read nothing.
EARLIEST: Final = 946_684_800
_SPAN: Final = re.compile(r"([0-9]{1,9})(s|min|m|h|d|w)", re.ASCII)

ALLOWED: Final = (
    "e.g. 7d, 36h, 90min (ago), 2026-01-31, 2026-01-31T12:00 (UTC, or with a zone) or epoch seconds"
)


def parse_time(text: str, now: float) -> int:
    """
    Return the instant (epoch seconds) of a span before ``now``, a date or a number of seconds.

    Raises:
        ValueError: It is none of these, or before 2000.
    """
    at = _instant(text, now)
    if at < EARLIEST:
        raise ValueError(
            f"{text[:60]!r} is before 2000-01-01, when there was no accounting; allowed: {ALLOWED}"
        )
    return at


def _instant(text: str, now: float) -> int:
    if span := _SPAN.fullmatch(text):
        return int(now) - int(span[1]) * _UNITS[span[2]]
    if text.isdecimal() and len(text) <= 11:
        return int(text)
    try:
        # Python 3.10 does not read the Z.
        found = datetime.fromisoformat(re.sub(r"Z$", "+00:00", text))
        return int((found if found.tzinfo else found.replace(tzinfo=timezone.utc)).timestamp())
    except (ValueError, OverflowError) as err:
        raise ValueError(f"{text[:60]!r} is no instant; allowed: {ALLOWED}") from err


def format_utc(at: float) -> str:
    """Return an instant in UTC, e.g. ``2026-01-31 12:00:00``."""
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")


def format_day(at: float) -> str:
    """Return the day (UTC) of an instant."""
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d")
