"""The state directory and who has it: rights, marker, lock."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from slurmsyncd.errors import AlreadyRunning, StoreError

if TYPE_CHECKING:
    from pathlib import Path


def claim_directory(directory: Path) -> None:
    """
    Make the directory (0700) if it is missing, and check that nobody else can write to it.

    Others may read it: each file in it has a mode of its own, 0600 but for the checkpoint.

    Raises:
        StoreError: It cannot be used; the message says how it has to be.
        OSError: It cannot be made.
    """
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700, parents=True)
    info = directory.lstat()
    wanted = f"it must be a directory of uid {os.geteuid()} that nobody else can write to, e.g. mode 0700"
    if not stat.S_ISDIR(info.st_mode):
        raise StoreError(f"{directory} is no directory (a symbolic link is not followed): {wanted}")
    if info.st_uid != os.geteuid():
        raise StoreError(f"{directory} belongs to uid {info.st_uid}: {wanted}, or run as that user")
    if info.st_mode & 0o022:
        raise StoreError(f"{directory} is writable by others (mode {info.st_mode & 0o7777:04o}): {wanted}")


class Marker:
    """
    A file that says a store was here, which one, and (by its lock) who has it.

    The lock is the kernel's (flock): it is gone with its process, however that ended.

    Attributes:
        id: Identity of the store that was here last; empty if none was.

    Raises:
        AlreadyRunning: Another process has it.
        OSError: It cannot be made or opened (a symbolic link is not followed).
    """

    def __init__(self, path: Path, wait_s: float) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            self._lock(path, time.monotonic() + wait_s)
            self.id = os.pread(self._fd, 64, 0).decode("ascii", "replace").strip()
        except BaseException:
            self.release()
            raise

    def _lock(self, path: Path, deadline: float) -> None:
        while not _locked(self._fd):
            if time.monotonic() >= deadline:
                raise AlreadyRunning(
                    f"{path.parent} is in use by another process: stop it, or ask the daemon"
                )
            time.sleep(0.02)

    def write(self, identity: str) -> None:
        """Note which store is here, durably."""
        if identity != self.id:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{identity}\n".encode(), 0)
            os.fsync(self._fd)
            self.id = identity

    def release(self) -> None:
        """Let others have the store; once is enough, twice does no harm."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
