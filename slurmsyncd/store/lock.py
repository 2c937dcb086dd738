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

# Words below the identity, a line each.
_READ, _SUSPECT = "read", "suspect"


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


class StoreLock:
    """
    A file that names the store that was here last, and (by its lock) has one holder.

    The lock is the kernel's (flock): it is gone with its process, however that ended.

    Attributes:
        id: Identity of that store; empty if none was.
        read: A store here has had a cursor. One that has none now has lost it.
        suspect: That store was found to be damaged in use.

    Raises:
        AlreadyRunning: Another process holds the lock.
        OSError: It cannot be made or opened (a symbolic link is not followed).
    """

    def __init__(self, path: Path, wait_s: float) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            self._lock(path, time.monotonic() + wait_s)
            self.id, *words = os.pread(self._fd, 64, 0).decode("ascii", "replace").split() or [""]
        except BaseException:
            self.release()
            raise
        self.read, self.suspect = _READ in words, _SUSPECT in words

    def _lock(self, path: Path, deadline: float) -> None:
        while not _locked(self._fd):
            if time.monotonic() >= deadline:
                raise AlreadyRunning(
                    f"{path.parent} is in use by another process: stop it, or ask the daemon"
                )
            time.sleep(0.02)

    def store_identity(self, identity: str) -> None:
        """Record durably which store is here. It is sound."""
        if identity != self.id or self.suspect:
            self._write(identity, read=self.read, suspect=False)

    def note_read(self) -> None:
        """Record durably that the store has a cursor."""
        if not self.read:
            self._write(self.id, read=True, suspect=self.suspect)

    def note_damage(self) -> None:
        """Record durably that the store is damaged, so that the next start sets it aside."""
        if not self.suspect:
            self._write(self.id, read=self.read, suspect=True)

    def _write(self, identity: str, *, read: bool, suspect: bool) -> None:
        words = (identity, *[_READ] * read, *[_SUSPECT] * suspect)
        size = os.pwrite(self._fd, "".join(f"{word}\n" for word in words).encode(), 0)
        os.ftruncate(self._fd, size)
        os.fsync(self._fd)
        self.id, self.read, self.suspect = identity, read, suspect

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
