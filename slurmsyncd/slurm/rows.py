"""Rows of text that no job name can forge: fields are counted between random tokens. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

FIELD_LIMIT: Final = 4 * 1024 * 1024
"""Bytes of one field; a longer one spoils its row only."""


class Text(Protocol):
    """What a command printed: bytes, or a mapped file."""

    def __len__(self) -> int: ...
    def __getitem__(self, key: slice, /) -> bytes: ...
    def find(self, sub: bytes, start: int = ..., /) -> int:
        """Give the position of ``sub`` from ``start`` on, -1 if it is not there."""


class Rows:
    """
    The rows of a text in which every field, also a row's last, ends with ``token`` and a row with a newline.

    Names may hold newlines, so a row ends where its fields have been counted, not where a line ends. A row
    starts with a job id; what is printed between rows (a banner) is passed over. Iterate once.

    Attributes:
        set_aside: Rows that do not fit.
        truncated: The text does not end with a row's end: it is cut, or no listing at all.
    """

    def __init__(self, text: Text, token: bytes, width: int) -> None:
        self.set_aside = 0
        self.truncated = False
        self._text = text
        self._token = token
        self._width = width

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        position, size = 0, len(self._text)
        while position < size:
            ends = self._ends(position)
            if ends is None or ends[-1] == size:
                self.truncated = True
                return
            row = self._row(position, ends)
            if row is not None:
                position = ends[-1] + 1
                yield row
                continue
            self.set_aside += 1
            following = self._text.find(self._token + b"\n", position)
            position = size if following < 0 else following + len(self._token) + 1

    def _ends(self, position: int) -> list[int] | None:
        ends = []
        for _ in range(self._width):
            found = self._text.find(self._token, position)
            if found < 0:
                return None
            position = found + len(self._token)
            ends.append(position)
        return ends

    def _row(self, start: int, ends: list[int]) -> tuple[str, ...] | None:
        if self._text[ends[-1] : ends[-1] + 1] != b"\n":
            return None
        fields = []
        for end in ends:
            if end - start > FIELD_LIMIT:
                return None
            fields.append(self._text[start : end - len(self._token)].decode("utf-8", "replace"))
            start = end
        fields[0] = fields[0].rpartition("\n")[2]
        return tuple(fields) if fields[0][:1].isdecimal() else None
