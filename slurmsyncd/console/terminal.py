"""
What the commands show to people: colours, tables, ages in words.

Whatever goes through here is escaped: a job's name can move no cursor, colour nothing and hide nothing.
"""

from __future__ import annotations

import enum
import json
import os
import shutil
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO, Union

import msgspec

from slurmsyncd.text import cut, safe, width

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_LEAST_COLUMNS = 40


class Colour(enum.Enum):
    """What a colour means; the value is the terminal's code for it."""

    GOOD = "32"
    WARN = "33"
    BAD = "1;31"
    DIM = "2"
    STRONG = "1"


@dataclass(frozen=True, slots=True)
class Styled:
    """A text in a colour, where there are colours; None: in the terminal's own."""

    text: str
    colour: Colour | None = None


#: Numbers stand on the right of their column.
Cell = Union[str, int, Styled]


class Terminal:
    """
    Where a command's lines go.

    Args:
        stream: None for standard output.
        environ: For NO_COLOR and TERM; None for the process's.

    Attributes:
        interactive: Somebody watches.
        colours: It is a terminal, and nobody asked for none (NO_COLOR, TERM=dumb).
        columns: How wide it is; None where lines may be of any length.
    """

    def __init__(self, stream: TextIO | None = None, environ: Mapping[str, str] | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        environ = os.environ if environ is None else environ
        self._page: list[str] | None = None
        self.interactive = self._stream.isatty()
        self.colours = self.interactive and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
        self.columns = max(_LEAST_COLUMNS, shutil.get_terminal_size().columns) if self.interactive else None

    def print_line(self, *parts: Cell, indent: int = 0, hang: int = 2) -> None:
        """
        Print one line; on a terminal that is too narrow it goes on below, in the first part's colour.

        Args:
            parts: What it says.
            indent: Blanks before it.
            hang: More blanks before what goes on below.
        """
        cells = [_cell(part) for part in parts]
        if self.columns is None or indent + sum(width(cell.text) for cell in cells) <= self.columns:
            self._put(" " * indent + "".join(map(self._painted, cells)))
            return
        text = "".join(cell.text for cell in cells)
        for number, line in enumerate(_wrapped(text, self.columns - indent - hang)):
            hanging = " " * (indent + hang * bool(number))
            self._put(hanging + self._painted(Styled(line, cells[0].colour)))

    def table(self, rows: Iterable[Sequence[Cell]], headings: Sequence[str] = (), *, indent: int = 2) -> None:
        """
        Print rows with aligned columns; on a terminal the last column is cut to the room there is.

        Args:
            rows: All of one length; without any, nothing is printed.
            headings: One for each column; none: no heading line.
            indent: Blanks before each line.
        """
        body = [tuple(row) for row in rows]
        if not body:
            return
        numeric = [all(isinstance(cell, int) for cell in column) for column in zip(*body, strict=True)]
        lines = [[_cell(cell) for cell in row] for row in body]
        if headings:
            lines.insert(0, [_cell(Styled(text, Colour.DIM)) for text in headings])
        widths = [max(width(cell.text) for cell in column) for column in zip(*lines, strict=True)]
        for line in lines:
            self._put(" " * indent + self._row(line, widths, numeric, indent))

    def json(self, value: object) -> None:
        """Print a value as one line of JSON; on a terminal, too, it does nothing there."""
        # ASCII keeps direction marks and the like out; they come back where it is decoded.
        self._put(json.dumps(msgspec.to_builtins(value)))

    @contextmanager
    def redraw(self) -> Iterator[None]:
        """Show what is printed meanwhile at once, in the place of the page before; a long one is cut."""
        self._page = []
        try:
            yield
            lines = self._page
        finally:
            self._page = None
        if self.interactive:
            height = shutil.get_terminal_size().lines
            self._stream.write(
                "\x1b[H" + "".join(f"{line}\x1b[K\n" for line in lines[: height - 1]) + "\x1b[J"
            )
        else:
            self._stream.write("".join(f"{line}\n" for line in [*lines, ""]))
        self._stream.flush()

    def _row(
        self, line: Sequence[Styled], widths: Sequence[int], numeric: Sequence[bool], indent: int
    ) -> str:
        shown: list[str] = []
        used = indent
        for cell, room, to_right in zip(line, widths, numeric, strict=True):
            left = room if self.columns is None else max(10, self.columns - used)
            text = cut(cell.text, left) if len(shown) == len(line) - 1 else cell.text
            blanks = " " * (room - width(text))
            painted = self._painted(Styled(text, cell.colour))
            shown.append(blanks + painted if to_right else painted + blanks)
            used += room + 2
        return "  ".join(shown).rstrip()

    def _painted(self, cell: Styled) -> str:
        if not self.colours or cell.colour is None or not cell.text:
            return cell.text
        return f"\x1b[{cell.colour.value}m{cell.text}\x1b[0m"

    def _put(self, line: str) -> None:
        encoding = self._stream.encoding or "utf-8"  # what the locale cannot say is escaped, too
        line = line.encode(encoding, "backslashreplace").decode(encoding)
        if self._page is None:
            self._stream.write(line + "\n")
        else:
            self._page.append(line)


def _cell(cell: Cell) -> Styled:
    if isinstance(cell, Styled):
        return Styled(safe(cell.text), cell.colour)
    return Styled(f"{cell:,}" if isinstance(cell, int) else safe(cell))


def _wrapped(text: str, columns: int) -> Iterator[str]:
    """Break between words, and within one only where it has no room on a line of its own."""
    line = ""
    for word in text.split(" "):
        joined = f"{line} {word}" if line else word
        if width(joined) <= columns:
            line = joined
            continue
        if line:
            yield line
        line = word
        while width(line) > columns:
            head = cut(line, columns + 1).removesuffix("…")[: max(1, columns)]
            yield head
            line = line[len(head) :]
    yield line
