"""Host lists such as ``n[1-3,7],m[01-16]-ib[0-1]``. Pure."""

from __future__ import annotations

import itertools
import math
import re
from typing import TYPE_CHECKING, Final

from slurmsyncd.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HOST_LIMIT: Final = 65536
"""Slurm's own limit of nodes (MAX_SLURM_NODES)."""

_TEXT_LIMIT: Final = 4 * 1024 * 1024
_NAME_LIMIT: Final = 255
_WIDTH_LIMIT: Final = 9

_HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,255}", re.ASCII)
_ELEMENT: Final = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9,-]+\])+", re.ASCII)
_PART: Final = re.compile(r"\[([0-9,-]+)\]|([A-Za-z0-9._-]+)", re.ASCII)
_RANGE: Final = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", re.ASCII)
_NUMBERED: Final = re.compile(r"(.*?)([0-9]{1,9})", re.ASCII)

# A host name's part: fixed text, or numbers from low to high padded to a width.
_Range = tuple[int, int, int]
_Part = str | list[_Range]


def expand_hostlist(text: str, limit: int = HOST_LIMIT) -> tuple[str, ...]:
    """
    Expand a host list, in its own order.

    The size is known before anything is expanded: ``n[0-999999999]`` costs nothing (X1).

    Raises:
        DecodeError: It is no host list, or names more than ``limit`` hosts.
    """
    if _HOST.fullmatch(text) and limit:
        return (text,)
    if len(text) > _TEXT_LIMIT:
        raise DecodeError(f"host list of {len(text)} characters")
    if not text:
        return ()
    elements = [_parts(element) for element in _elements(text)]
    if any(_longest(element) > _NAME_LIMIT for element in elements):
        raise DecodeError("host name longer than 255 characters")
    total = sum(map(_size, elements))
    if total > limit:
        raise DecodeError(f"host list of {total} hosts; at most {limit} are taken")
    return tuple(host for element in elements for host in _expand(element))


def _elements(text: str) -> list[str]:
    elements, position = [], 0
    while match := _ELEMENT.match(text, position):
        elements.append(match[0])
        position = match.end()
        if position == len(text):
            return elements
        if text[position] != "," or len(elements) > HOST_LIMIT:
            break
        position += 1
    raise DecodeError(f"host list is not understood: {text[:80]!a}")


def _parts(element: str) -> list[_Part]:
    parts: list[_Part] = []
    for match in _PART.finditer(element):
        inside, fixed = match.groups()
        if len(parts) >= _NAME_LIMIT or (inside and inside.count(",") >= HOST_LIMIT):
            raise DecodeError(f"host list is not understood: {element[:80]!a}")
        parts.append(fixed if fixed is not None else [_range(item) for item in inside.split(",")])
    return parts


def _range(item: str) -> _Range:
    match = _RANGE.fullmatch(item)
    if not match:
        raise DecodeError(f"range of hosts is not understood: {item[:80]!a}")
    low, high = match[1], match[2] or match[1]
    if int(high) < int(low):
        raise DecodeError(f"range of hosts runs backwards: {item[:80]!a}")
    return int(low), int(high), len(low)


def _longest(parts: Sequence[_Part]) -> int:
    """
    Return the length of the longest name, to be looked at before anything is multiplied or expanded.

    A long name times many hosts would not fit into memory, nor the product of many brackets into a number.
    """
    return sum(
        len(part) if isinstance(part, str) else max(max(width, len(str(high))) for _, high, width in part)
        for part in parts
    )


def _size(parts: Sequence[_Part]) -> int:
    return math.prod(
        sum(high - low + 1 for low, high, _ in part) for part in parts if not isinstance(part, str)
    )


def _expand(parts: Sequence[_Part]) -> Iterable[str]:
    choices = [[part] if isinstance(part, str) else list(_numbers(part)) for part in parts]
    return ("".join(choice) for choice in itertools.product(*choices))


def _numbers(ranges: Iterable[_Range]) -> Iterable[str]:
    return (f"{number:0{width}}" for low, high, width in ranges for number in range(low, high + 1))


def compress_hosts(hosts: Iterable[str]) -> str:
    """Write hosts as a host list, keeping their order: neighbours that count up become a range."""
    groups: list[tuple[str, str, str]] = []
    for host in hosts:
        match = _NUMBERED.fullmatch(host)
        prefix, digits = (match[1], match[2]) if match else (host, "")
        if groups and digits and _follows(groups[-1], prefix, digits):
            groups[-1] = (prefix, groups[-1][1], digits)
        else:
            groups.append((prefix, digits, digits))
    return ",".join(
        f"{prefix}{low}" if low == high else f"{prefix}[{low}-{high}]" for prefix, low, high in groups
    )


def _follows(group: tuple[str, str, str], prefix: str, digits: str) -> bool:
    before, low, high = group
    if before != prefix or not low or int(digits) != int(high) + 1:
        return False
    return f"{int(digits):0{len(low)}}" == digits
