"""Where a bit may flip. Kinds of places take turns, so that small ones are hit as often as large ones."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_PAGE = 4096
_KINDS = {2: "index interior", 5: "table interior", 10: "index leaf", 13: "table leaf"}


class Place(NamedTuple):
    """One bit of one file."""

    kind: str
    file: str
    offset: int
    bit: int


NOWHERE = Place("", "", 0, 0)
Span = tuple[str, int, int]


def spans(directory: Path) -> dict[str, list[Span]]:
    """Return the parts of a state directory's files that mean anything, by kind."""
    found: dict[str, list[Span]] = {}
    data = (directory / "store.sqlite").read_bytes()
    for number in range(len(data) // _PAGE):
        for kind, start, end in _of_page(data[number * _PAGE : (number + 1) * _PAGE], number):
            found.setdefault(kind, []).append(("store.sqlite", number * _PAGE + start, number * _PAGE + end))
    for name, kind in (("store.sqlite-wal", "log"), ("store.id", "marker")):
        if (directory / name).exists() and (directory / name).stat().st_size:
            found[kind] = [(name, 0, (directory / name).stat().st_size)]
    return found


def _of_page(page: bytes, number: int) -> list[tuple[str, int, int]]:
    at = 0 if number else 100
    kind = _KINDS.get(page[at])
    if kind is None:
        return [("free or overflow", 0, _PAGE)]
    kind = kind if number else "schema"
    cells = int.from_bytes(page[at + 3 : at + 5], "big")
    content = int.from_bytes(page[at + 5 : at + 7], "big")
    head = at + (12 if page[at] in (2, 5) else 8) + 2 * cells
    file_header = [] if number else [("file header", 0, 100)]
    return [*file_header, (kind, at, head), (kind, content, _PAGE)]


def drawing(seed: int, number: int) -> Callable[[Path], Place]:
    """Return what draws a bit of a directory's files: the same each time, of the kind whose turn it is."""

    def draw(directory: Path) -> Place:
        dice = Random(f"{seed} {number}")
        found = spans(directory)
        kind = sorted(found)[number // 3 % len(found)]
        file, start, end = dice.choices(found[kind], [end - start for _, start, end in found[kind]])[0]
        return Place(kind, file, dice.randrange(start, end), dice.randrange(8))

    return draw


def flip(directory: Path, place: Place) -> None:
    """Flip it."""
    path = directory / place.file
    with path.open("r+b") as file:
        file.seek(place.offset)
        (byte,) = file.read(1)
        file.seek(place.offset)
        file.write(bytes([byte ^ 1 << place.bit]))
