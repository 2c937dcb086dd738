"""Rows of text that no job name can forge: fields are counted between random tokens. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

FIELD_LIMIT: Final = 4 * 1024 * 1024
"""Bytes of one field; a longer one spoils its row only."""

_PORTION: Final = 65536
"""Bytes split at once, which takes a quarter of the time of looking for one token after the other."""


class TextBuffer(Protocol):
    """Output of a command: bytes, or a file that is read piece by piece."""

    def __len__(self) -> int: ...
    def __getitem__(self, key: slice, /) -> bytes: ...
    def find(self, sub: bytes, start: int = ..., /) -> int:
        """Return the position of ``sub`` from ``start`` on, -1 if it is not there."""


class DelimitedRows:
    """
    The rows of a text in which every field, also a row's last, ends with ``token`` and a row with a newline.

    Names may hold newlines, so a row ends where its fields have been counted, not where a line ends. A row
    starts with a job id; what is printed between rows (a banner) is passed over. Iterate once.

    Attributes:
        set_aside: Rows that do not fit.
        truncated: The text does not end with a row's end: it is cut, or no listing at all.
    """

    def __init__(self, text: TextBuffer, token: bytes, width: int) -> None:
        self.set_aside = 0
        self.truncated = False
        self._text = text
        self._token, self._word = token, token.decode()
        self._width = width

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        position, size = 0, len(self._text)
        while position < size:
            rows, position = self._plain(position)
            yield from rows
            if rows:
                continue
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

    def _plain(self, position: int) -> tuple[list[tuple[str, ...]], int]:
        """Return the rows of a portion up to the first that does not fit or is cut, and where they end."""
        data = self._text[position : position + _PORTION]
        fields = data.decode("utf-8", "replace").split(self._word)
        rows: list[tuple[str, ...]] = []
        start = 0
        for end in range(self._width, len(fields), self._width):
            job_id = fields[start].rpartition("\n")[2]
            if fields[end][:1] != "\n" or not job_id[:1].isdecimal():
                break
            rows.append((job_id, *fields[start + 1 : end]))
            start = end
        if rows:
            left = data.split(self._token, start)[start]
            position += len(data) - len(left) + 1  # and the newline
        return rows, position

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
