"""Text for people: escaped, cut, spans and instants in words."""

from __future__ import annotations

import time
import unicodedata

_LIMIT = 10_000


def safe(text: str, limit: int = _LIMIT) -> str:
    """
    Escape whatever does something to a terminal instead of being seen on it.

    Those are control characters, line ends, marks that turn the direction of writing, what has no width,
    and halves of surrogate pairs.
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text[:limit]
    )


def width(text: str) -> int:
    """Return how many columns a text takes: two for East Asian wide characters, none for combining marks."""
    if text.isascii():
        return len(text)
    return sum(_columns(char) for char in text)


def cut(text: str, columns: int) -> str:
    """Return as much of a text as fits, with an ellipsis where something is missing."""
    if width(text) <= columns:
        return text
    kept, room = [], columns - 1
    for char in text:
        room -= _columns(char)
        if room < 0:
            break
        kept.append(char)
    return "".join(kept).rstrip() + "…"


def duration(seconds: float) -> str:
    """Return a span in its two largest units, e.g. ``3 h 12 min``."""
    left = int(max(0.0, min(seconds, 1e12)))
    if left < 1:
        return "less than 1 s"
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count:,} {unit}")
        elif parts:
            break  # 1 d 5 s would be a strange precision
        if len(parts) == 2:
            break
    return " ".join(parts)


def age(at: float, now: float) -> str:
    """Return how long ago, or in how long, an instant is."""
    if abs(now - at) < 1.0:
        return "just now"
    return f"{duration(now - at)} ago" if at < now else f"in {duration(at - now)}"


def moment(at: float, now: float | None = None) -> str:
    """
    Return an instant (epoch seconds) in local time; without the date if it is of the same day as ``now``.

    With ``now`` None date and zone are in it, so that it can stand alone.
    """
    try:
        local = time.localtime(at)
        today = now is not None and time.localtime(now)[:3] == local[:3]
    except (OverflowError, ValueError, OSError):
        return f"epoch second {at:.0f}"
    form = "%Y-%m-%d %H:%M:%S %Z" if now is None else "%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S"
    return time.strftime(form, local)


def when(at: float, now: float) -> str:
    """Return an instant in local time and how long ago it is, e.g. ``12:01:07 (3 min ago)``."""
    return f"{moment(at, now)} ({age(at, now)})"


def counted(number: int, noun: str, nouns: str = "") -> str:
    """Return a number with its noun, e.g. ``1 run``, ``1,204 runs``."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"


def _columns(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
