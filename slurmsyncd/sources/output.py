"""Output of a command: read into memory if it is small, read piece by piece from its file if it is large."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio.to_thread

from slurmsyncd.errors import SourceUnavailable

if TYPE_CHECKING:
    from slurmsyncd.slurm.delimited_text import TextBuffer

#: Bytes up to which an output is read into memory at once, and of which `Output.text` is made.
SMALL: Final = 2**20
#: Bytes that `FileText.find` reads first, and the most that it reads at once.
_FIRST_WINDOW: Final = 4096
_LARGEST_WINDOW: Final = 2**18


class FileText:
    """
    A large output in its unlinked file.

    The file is not mapped: a process that the command left behind may still have it open, and a truncated
    mapping ends the daemon by SIGBUS. What has been read is a private copy.

    Args:
        fd: The file; closed with this object.
        size: Bytes that the command had printed when it ended. What is appended later is not read.
    """

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, key: slice) -> bytes:
        start, stop, _ = key.indices(self._size)
        return self._read(start, max(start, stop))

    def find(self, sub: bytes, start: int = 0, /) -> int:
        """Return the position of ``sub`` from ``start`` on, -1 if it is not there."""
        window, overlap = _FIRST_WINDOW, len(sub) - 1
        while start + overlap < self._size:
            stop = min(start + window + overlap, self._size)
            if (found := self._read(start, stop).find(sub)) >= 0:
                return start + found
            start, window = stop - overlap, min(2 * window, _LARGEST_WINDOW)
        return -1

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    __del__ = close

    def _read(self, start: int, stop: int) -> bytes:
        return _read(self._fd, start, stop)


@dataclass(frozen=True, slots=True)
class CommandOutput:
    """
    Output of a command.

    Attributes:
        data: Standard output.
        stderr: The beginning of standard error, printable.
    """

    data: TextBuffer
    stderr: str

    @property
    def text(self) -> str:
        """The first MiB of standard output as text, for answers that are known to be short."""
        return self.data[:SMALL].decode("utf-8", "replace")

    async def close(self) -> None:
        """Close a large output in a thread: the kernel needs 50 ms to free 100 MB."""
        if isinstance(self.data, FileText):
            try:
                await anyio.to_thread.run_sync(self.data.close)
            except RuntimeError:  # no thread can be started
                self.data.close()


def read_output(fd: int, stderr: str) -> CommandOutput:
    """
    Return the output of a command that has ended.

    Args:
        fd: The file of its standard output; the caller closes it.
        stderr: See `Output`.

    Raises:
        OSError: No descriptor is left.
        SourceUnavailable: It cannot be read, or is being truncated.
    """
    size = os.fstat(fd).st_size
    if size > SMALL:
        return CommandOutput(FileText(os.dup(fd), size), stderr)
    return CommandOutput(_read(fd, 0, size), stderr)


def _read(fd: int, start: int, stop: int) -> bytes:
    try:
        data = os.pread(fd, stop - start, start)
    except OSError as err:
        raise SourceUnavailable(f"the output of a command cannot be read: {err.strerror}") from err
    if len(data) < stop - start:
        raise SourceUnavailable(
            "the output of a command was truncated after the command's end; "
            "find out which plugin of Slurm's leaves a process behind that writes to it"
        )
    return data
