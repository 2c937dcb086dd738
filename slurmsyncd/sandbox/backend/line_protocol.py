"""InfluxDB's line protocol, as far as cc-backend reads it from NATS (contract section 11). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# A name or value ends at a comma, an equals sign or a blank that no backslash escapes; none is empty.
_WORD = r"(?:\\.|[^\\,= \n])+"
_HEAD = re.compile(rf"({_WORD})((?:,{_WORD}={_WORD})*) ", re.DOTALL)
_TAG = re.compile(rf",({_WORD})=({_WORD})", re.DOTALL)
_VALUE = r"-?\d+[iu]?|-?[\d.]+(?:[eE][-+]?\d+)?|[tTfF]|[tT]rue|TRUE|[fF]alse|FALSE"
_FIELD = re.compile(rf'({_WORD})=(?:"((?:[^"\\]|\\.)*)"|(?:{_VALUE})(?=[, ]))', re.DOTALL)
_END = re.compile(r" (-?\d{1,19})[ \r]*(?:\n|\Z)")


class BadLine(ValueError):
    """A line is invalid; the rest of its message is not read."""


@dataclass(frozen=True, slots=True)
class Line:
    """
    One line.

    Attributes:
        texts: Fields whose value is text, without their escapes.
    """

    measurement: str
    tags: dict[str, str]
    texts: dict[str, str]


def read_lines(payload: bytes) -> Iterator[Line]:
    """
    Return the lines of a message, one after the other.

    Raises:
        BadLine: The next one is none. Those before it have been given.
    """
    text = payload.decode("utf-8", "replace").lstrip("\n")
    at = 0
    while at < len(text):
        line, at = _read(text, at)
        yield line
        while text[at : at + 1] == "\n":
            at += 1


def _read(text: str, at: int) -> tuple[Line, int]:
    head = _HEAD.match(text, at)
    if head is None:
        raise BadLine("no measurement, or an empty tag")
    texts, at = _fields(text, head.end())
    end = _END.match(text, at)
    if end is None:
        raise BadLine("no timestamp")
    tags = {_plain(key): _plain(value) for key, value in _TAG.findall(head[2])}
    return Line(_plain(head[1]), tags, texts), end.end()


def _fields(text: str, at: int) -> tuple[dict[str, str], int]:
    texts: dict[str, str] = {}
    while True:
        field = _FIELD.match(text, at)
        if field is None:
            raise BadLine("no field, or no end of its value")
        if field[2] is not None:
            texts[_plain(field[1])] = re.sub(r'\\(["\\])', r"\1", field[2])
        at = field.end()
        if text[at : at + 1] != ",":
            return texts, at
        at += 1


def _plain(word: str) -> str:
    return re.sub(r"\\([,= ])", r"\1", word)
