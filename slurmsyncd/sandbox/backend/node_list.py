"""
Node lists of cluster.json: ``cn[001-100,201-300],gpu[1-4]``. Pure.

A group's indexes are matched with the width they are written in: ``cn[001-100]`` holds ``cn007``,
not ``cn7``. Single indexes in brackets, unequal widths, dots, underscores and blanks are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Union

_LITERAL = re.compile(r"[A-Za-z0-9-]+")
_GROUP = re.compile(r"\[([^\[\]]*)\]")
_RANGE = re.compile(r"([0-9]+)-([0-9]+)")
_COMMA = re.compile(r",(?![^\[]*\])")


class BadNodeList(ValueError):
    """A node list is not in a form that cc-backend would start with."""


@dataclass(frozen=True, slots=True)
class _Range:
    low: int
    high: int
    width: int


_Part = Union[str, tuple[_Range, ...]]


@dataclass(frozen=True, slots=True)
class NodeList:
    """A parsed node list; ``name in node_list`` asks for a whole name."""

    terms: tuple[tuple[_Part, ...], ...]

    @classmethod
    def parse(cls, text: str) -> NodeList:
        """
        Parse a list.

        Raises:
            BadNodeList: cc-backend would refuse to start with it.
        """
        return cls(tuple(_term(term) for term in _COMMA.split(text)))

    def __contains__(self, host: str) -> bool:
        return any(_matches(term, host) for term in self.terms)


def _term(text: str) -> tuple[_Part, ...]:
    parts: list[_Part] = []
    rest = text
    while rest:
        if literal := _LITERAL.match(rest):
            parts.append(literal[0])
            rest = rest[literal.end() :]
        elif group := _GROUP.match(rest):
            parts.append(tuple(_range(piece, text) for piece in group[1].split(",")))
            rest = rest[group.end() :]
        else:
            raise BadNodeList(f"node list term {text!r}: unexpected {rest[0]!r}; use e.g. cn[001-100]")
    if not parts:
        raise BadNodeList("node list with an empty term; use e.g. cn[001-100],gpu[1-4]")
    return tuple(parts)


def _range(piece: str, term: str) -> _Range:
    found = _RANGE.fullmatch(piece)
    if found is None or len(found[1]) != len(found[2]):
        raise BadNodeList(f"node list term {term!r}: {piece!r} is not from-to with equally many digits")
    return _Range(int(found[1]), int(found[2]), len(found[1]))


def _matches(parts: tuple[_Part, ...], name: str) -> bool:
    if not parts:
        return not name
    head, rest = parts[0], parts[1:]
    if isinstance(head, str):
        return name.startswith(head) and _matches(rest, name[len(head) :])
    return any(_in_range(span, name[: span.width]) and _matches(rest, name[span.width :]) for span in head)


def _in_range(span: _Range, digits: str) -> bool:
    whole = len(digits) == span.width and digits.isascii() and digits.isdigit()
    return whole and span.low <= int(digits) <= span.high
