"""How commands name accounting that could not be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurmsyncd.console.times import format_utc
from slurmsyncd.text import safe

if TYPE_CHECKING:
    from slurmsyncd.model import Gap


def unread_span(gap: Gap) -> str:
    """Describe a span of accounting that could not be read."""
    span = f"{format_utc(gap.since)} to {format_utc(gap.until)} UTC"
    return f"accounting from {span} could not be read: {safe(gap.reason)}"
