"""
All exceptions that cross packages. Each class exists because a caller reacts to it differently.

SlurmsyncdError
├── ConfigError            the operator must act: key, value and remedy; exit status 78, no restart
├── AlreadyRunning         another process holds the lock and is named; exit status 75
├── SourceError
│   ├── SourceUnavailable  Slurm does not answer: conclude nothing, query again later
│   └── DecodeError        output cannot be parsed: skip and count the record, use all others
├── StoreError             the stored state is unusable: exit, never guess
│   └── DiskFull           no space: record nothing, query again later, continue to deliver
└── NotificationError      invalid bytes on a hook socket: drop and count
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class SlurmsyncdError(Exception):
    """Base class of all errors of slurmsyncd; the message is one line and ends with the remedy."""


class ConfigError(SlurmsyncdError):
    """
    The configuration cannot be used.

    Attributes:
        problems: All problems found, each ``KEY = VALUE: WHAT IS WRONG; ALLOWED VALUES``.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class AlreadyRunning(SlurmsyncdError):
    """Another daemon holds the PID file or the store."""


class SourceError(SlurmsyncdError):
    """A query of Slurm failed."""


class SourceUnavailable(SourceError):
    """
    Slurm does not answer. The caller must conclude nothing and query again later.

    Attributes:
        disk_full: Whether a full disk of this host prevented reading the answer.
    """

    def __init__(self, message: str = "", *, disk_full: bool = False) -> None:
        super().__init__(message)
        self.disk_full = disk_full


def is_disk_full(said: object) -> bool:
    """Return whether a query failed because a disk of this host is full."""
    return isinstance(said, SourceUnavailable) and said.disk_full


class DecodeError(SourceError):
    """Output of Slurm, or one record of it, that cannot be parsed."""


class StoreError(SlurmsyncdError):
    """The stored state is unusable. The daemon must exit and never guess."""


class DiskFull(StoreError):
    """The disk is full. Nothing was changed; record no events and continue to deliver."""


class NotificationError(SlurmsyncdError):
    """Bytes on a hook socket that are not a valid notification."""
