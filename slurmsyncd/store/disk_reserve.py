"""Room on the disk: a reserve that is given up to go on draining, and whether an error means "full"."""

from __future__ import annotations

import errno
import os
import resource
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

#: What is kept back. Settling one entry takes a few pages of 4 KiB; the write-ahead log turns over at 4 MiB.
RESERVE_BYTES = 8 * 2**20

# Less free than this is full, whatever a single small write may still find.
_PROBE_BYTES = 256 * 2**10

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class DiskReserve:
    """
    A file of blocks that are ours already.

    Attributes:
        held: Whether the file is there in full.
    """

    def __init__(self, path: Path, size: int = RESERVE_BYTES) -> None:
        self._path = path
        self._size = size
        self.held = False

    def allocate(self) -> bool:
        """Hold the reserve; False if there is no room for it."""
        if not self.held:
            self.held = _fill(self._path, self._size)
        return self.held

    def release(self) -> bool:
        """Let go of the reserve; False if there was none."""
        there = self._path.exists()
        self._path.unlink(missing_ok=True)
        self.held = False
        return there


def is_disk_full(store: Path) -> bool:
    """Whether the disk, a quota or the process's file size limit leaves no room beside ``store``."""
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if limit != resource.RLIM_INFINITY and _largest(store) + _PROBE_BYTES > limit:
        return True
    probe = store.with_name(store.name + ".probe")
    try:
        room = _fill(probe, _PROBE_BYTES)
        probe.unlink(missing_ok=True)
    except OSError:
        return False  # the disk is in trouble, but not full
    return not room


def _largest(store: Path) -> int:
    wal = store.with_name(store.name + "-wal")
    return max((path.stat().st_size for path in (store, wal) if path.exists()), default=0)


def _fill(path: Path, size: int) -> bool:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, 0o600)
    except OSError as err:
        if err.errno in _FULL:
            return False
        raise
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as err:
        path.unlink(missing_ok=True)
        if err.errno in _FULL:
            return False
        raise
    finally:
        os.close(fd)
    return True
