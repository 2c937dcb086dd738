"""
The PID file: holds the pid of the running daemon, and a lock that vanishes with the process.

The lock is what counts. A file without a lock is stale, whatever pid it holds.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from slurmsyncd.errors import AlreadyRunning, ConfigError
from slurmsyncd.host.directories import ensure_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "daemon.pid_file"


@contextmanager
def pid_file(path: Path) -> Iterator[None]:
    """
    Hold the PID file; at the end it is removed, then the lock let go.

    Raises:
        AlreadyRunning: Another process holds it; names its pid.
        ConfigError: The path or its directory cannot be used.
    """
    ensure_directory(path.parent, key=KEY)
    file = _lock(path)
    try:
        os.fchmod(file, 0o644)  # whatever the umask: a pid is no secret
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        yield
        # Not after an error: a file that stays tells of the pid that failed, and is no obstacle.
        if _same_file(file, path):
            path.unlink()
    finally:
        os.close(file)


def _lock(path: Path) -> int:
    while True:
        file = _open(path)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            content = os.pread(file, 32, 0).strip()
            holder = content.decode() if content.isdigit() else "unknown"
            os.close(file)
            raise AlreadyRunning(
                f"another slurmsyncd runs with pid {holder} and holds {path}; "
                f"stop it first, or give this one its own {KEY} and state"
            ) from None
        # A holder that just stopped may have removed the file between our opening and locking it.
        if _same_file(file, path):
            return file
        os.close(file)


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        file = os.open(path, flags, 0o644)
    except OSError as err:
        what = "is a symbolic link" if err.errno == errno.ELOOP else f"cannot be opened: {err.strerror}"
        raise ConfigError([f"{KEY} = {path}: {what}; remove it or choose another path"]) from err
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1 or found.st_uid != os.geteuid():
        os.close(file)
        raise ConfigError([f"{KEY} = {path}: is no plain file of ours; remove it or choose another path"])
    return file


def _same_file(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.lstat())
    except FileNotFoundError:
        return False
