"""
Which accounting is read again, because slurmctld may have reported it to slurmdbd late. Pure.

slurmdbd answers at once when it is back; slurmctld delivers what it kept some seconds later (up to 18 s were
measured). Nothing shows whether it has, so after an outage of one of them, and of the daemon, the span since
both last answered is read again, several times. Between outages a row may be late, too.
"""

from __future__ import annotations

from typing import Final

#: Seconds after both halves of Slurm answer again at which the span of the outage is read again.
AFTER_S: Final = (60.0, 300.0, 900.0)
#: A row that is later than this, while Slurm answers, is not found.
LATE_S: Final = 900


class Rereads:
    """When accounting is read again, and from where."""

    def __init__(self) -> None:
        self._since: int | None = None  # where the two halves last agreed, while that is in doubt
        self._agreed_at: float | None = None
        self._round = 0
        self._read_at = float("-inf")

    def doubt(self, since: int) -> None:
        """Note that a half did not answer when accounting was read from ``since`` (epoch seconds)."""
        since -= LATE_S
        self._since = since if self._since is None else min(self._since, since)
        self._agreed_at, self._round = None, 0

    def agree(self, now: float) -> None:
        """Note that both halves answer (monotonic seconds)."""
        if self._agreed_at is None:
            self._agreed_at = self._read_at = now

    def due(self, now: float, until: int) -> int | None:
        """Return from where to read again at once (epoch seconds), None if not now."""
        if self._agreed_at is None:
            return None
        if self._since is None:
            return until - 2 * LATE_S if now >= self._read_at + LATE_S else None
        return self._since if now >= self._agreed_at + AFTER_S[self._round] else None

    def read(self, now: float) -> None:
        """Note that what was due has been read, up to the present."""
        self._read_at = now
        self._round += 1
        if self._round >= len(AFTER_S):
            self._since, self._round = None, 0
