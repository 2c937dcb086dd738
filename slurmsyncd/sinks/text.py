"""Cleaning of text from other programs before it is sent or shown. Pure."""

from __future__ import annotations

# A script needs tabs and the two line ends. Other control characters only do harm (escape sequences on a
# terminal, NUL in the backend's database).
_CONTROLS = {code: "\ufffd" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n\r"}


def clean(text: str, limit: int) -> str:
    """
    Return valid Unicode of at most ``limit`` bytes of UTF-8, cut between two characters.

    Control characters become U+FFFD; invalid Unicode becomes a question mark.
    """
    if _is_plain(text, limit):
        return text
    shown = text[:limit].translate(_CONTROLS)
    return shown.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")


def one_line(text: str, limit: int) -> str:
    """Clean a text like ``clean`` and replace line ends by blanks, so that a value cannot forge a line."""
    if " " not in text and _is_plain(text, limit):
        return text
    return clean(" ".join(text[:limit].split()), limit)


def _is_plain(text: str, limit: int) -> bool:
    """Return whether a text needs no change: true for nearly all of the about twenty texts of a record."""
    return len(text) <= limit and text.isascii() and text.isprintable()


def printable(text: str, limit: int = 200) -> str:
    """Return at most ``limit`` characters, with those unsafe on a terminal replaced by escapes."""
    shown = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text[:limit]
    )
    return shown[:limit]
