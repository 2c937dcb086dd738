"""Text as roff, for man(7). Pure."""

from __future__ import annotations

import re
from typing import Final

_SPECIAL: Final = {
    "\\": "\\e",
    "-": "\\-",
    "'": "\\(aq",
    "`": "\\(ga",
    "^": "\\(ha",
    "~": "\\(ti",
    '"': "\\(dq",
}


def plain(text: str) -> str:
    """Return text that is shown as it is, in ASCII."""
    shown = "".join(
        _SPECIAL.get(each) or (each if each.isascii() else f"\\[u{ord(each):04X}]") for each in text
    )
    return re.sub(r"^(?=\.)", "\\\\&", shown, flags=re.MULTILINE)


def bold(text: str) -> str:
    """Return it as what is typed like this."""
    return f"\\fB{plain(text)}\\fR"


def italic(text: str) -> str:
    """Return it as what something else is put for."""
    return f"\\fI{plain(text)}\\fR"


def marked(text: str) -> str:
    """Return a sentence in which backquotes mark what is typed like this."""
    parts = re.split(r"`+([^`]*)`+", text)
    return "".join(bold(each) if odd % 2 else plain(each) for odd, each in enumerate(parts))


def verbatim(text: str) -> list[str]:
    """Return lines that are not filled."""
    return [".nf", *map(plain, text.splitlines()), ".fi"]


def paragraphs(text: str) -> list[str]:
    """Return text as ``--help`` has it: a paragraph of one line is filled, others stay as they are."""
    lines: list[str] = []
    for part in re.split(r"\n{2,}", text.strip()):
        lines.append(".PP")
        lines += verbatim(part) if "\n" in part else [marked(part)]
    return lines


def header(name: str, section: int) -> str:
    """Return the first line of a page."""
    return f'.TH {name} {section} "" slurmsyncd "slurmsyncd manual"'
