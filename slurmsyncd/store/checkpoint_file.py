"""
The checkpoint beside the store: a file whose modification time is what accounting was read up to.

It is written after the store's commit, so at start the earlier of the two wins: an operator looks
further back with ``touch -d``, and a store that was lost is re-read from here.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from slurmsyncd.errors import DiskFull, StoreError

if TYPE_CHECKING:
    from pathlib import Path


def read(path: Path) -> int | None:
    """
    Return the checkpoint in epoch seconds, None if there is none. It may lie in the future.

    Raises:
        StoreError: It is no plain file, or cannot be looked at.
    """
    try:
        info = path.lstat()
    except FileNotFoundError:
        return None
    except OSError as err:
        raise _failed(path, err) from err
    if not stat.S_ISREG(info.st_mode):
        raise _foreign(path)
    return int(info.st_mtime)


def write(path: Path, at: int) -> None:
    """
    Set the checkpoint; the file is made (0640) if it is missing.

    Raises:
        StoreError: It is no plain file, or cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, 0o640)
    except OSError as err:
        raise _failed(path, err) from err
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise _foreign(path)
        os.utime(fd, (at, at))
    except OSError as err:
        raise _failed(path, err) from err
    finally:
        os.close(fd)


def _foreign(path: Path) -> StoreError:
    return StoreError(f"{path} is not a plain file: remove it, or set daemon.lastrun_file to another path")


def _failed(path: Path, err: OSError) -> StoreError:
    if err.errno in {errno.ENOSPC, errno.EDQUOT}:
        return DiskFull(f"{path}: {err.strerror}: make room")
    hint = "give the daemon's user write access, or set daemon.lastrun_file to another path"
    return StoreError(f"{path}: {err.strerror}: {hint}")
