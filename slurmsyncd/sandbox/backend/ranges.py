"""Short forms of long lists: ``cn[001-016]``, ``0-7,16-23``. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_NUMBERED = re.compile(r"(.*?)([0-9]{1,9})", re.DOTALL)


def fold_numbers(numbers: Iterable[int], width: int = 0) -> str:
    """Return numbers as ascending ranges."""
    return ",".join(
        f"{low:0{width}}" if low == high else f"{low:0{width}}-{high:0{width}}"
        for low, high in _runs(sorted(set(numbers)))
    )


def _runs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    start = 0
    for end in range(1, len(numbers) + 1):
        if end == len(numbers) or numbers[end] != numbers[end - 1] + 1:
            yield numbers[start], numbers[end - 1]
            start = end


def fold_hosts(hosts: Iterable[str]) -> str:
    """Return host names with their trailing numbers folded, in order of first appearance."""
    groups: dict[tuple[str, int], list[int]] = {}
    for host in hosts:
        found = _NUMBERED.fullmatch(host)
        prefix, digits = (found[1], found[2]) if found else (host, "")
        groups.setdefault((prefix, len(digits)), []).extend([int(digits)] if digits else [])
    return ",".join(_group(prefix, width, numbers) for (prefix, width), numbers in groups.items())


def _group(prefix: str, width: int, numbers: list[int]) -> str:
    if not numbers:
        return prefix
    folded = fold_numbers(numbers, width)
    return f"{prefix}{folded}" if folded.isdecimal() else f"{prefix}[{folded}]"
