"""
Every failure we name. A class exists because somebody reacts to it differently.

SlurmsyncdError
├── ConfigError            the operator must act: key path, value, hint; exit 78, no restart
├── AlreadyRunning         another daemon holds the lock; exit 75, naming the holder
├── SourceError
│   ├── SourceUnavailable  Slurm cannot answer now: look again later
│   └── DecodeError        Slurm said what we do not understand: set that record aside, go on, count it
├── StoreError             our state is unusable: exit, never guess
│   └── DiskFull           no room: look again later, go on draining
└── HintError              bytes on the hook socket that are no hint: drop, count
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class SlurmsyncdError(Exception):
    """Anything that slurmsyncd itself reports; the message is one line and ends in what to do."""


class ConfigError(SlurmsyncdError):
    """
    The configuration cannot be used.

    Attributes:
        problems: All of them, each "path = value: what is wrong; what is allowed".
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class AlreadyRunning(SlurmsyncdError):
    """Another daemon holds the PID file or the store."""


class SourceError(SlurmsyncdError):
    """Slurm did not give what was asked."""


class SourceUnavailable(SourceError):
    """
    Slurm cannot answer now. Nothing may be concluded; look again later.

    Attributes:
        disk_full: The answer found no room on a disk of this host.
    """

    def __init__(self, message: str = "", *, disk_full: bool = False) -> None:
        super().__init__(message)
        self.disk_full = disk_full


def is_disk_full(said: object) -> bool:
    """Return whether an answer failed because it found no room on a disk of this host."""
    return isinstance(said, SourceUnavailable) and said.disk_full


class DecodeError(SourceError):
    """Slurm's answer, or one record of it, is not understood."""


class StoreError(SlurmsyncdError):
    """The state on disk cannot be used. Exit; never guess."""


class DiskFull(StoreError):
    """There is no room to write down more. Nothing was changed; take in nothing, go on draining."""


class NotificationError(SlurmsyncdError):
    """Bytes on the hook socket are no hint."""
