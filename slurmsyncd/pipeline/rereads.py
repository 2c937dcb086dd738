"""
Which accounting is read again, because slurmctld may have reported it to slurmdbd late. Pure.

slurmdbd answers at once when it is back; slurmctld delivers what it kept some seconds later (up to 18 s were
measured). So after an outage of one of them, and of the daemon, the span since both were known to agree is
read again, several times. Between outages a row may be late, too. The position up to which they agreed is in
the store, so that a restart continues.
"""

from __future__ import annotations

from typing import Final

#: Seconds after both halves of Slurm answer again at which the span of the outage is read again.
AFTER_S: Final = (60.0, 300.0, 900.0)
#: A row that is later than this, while Slurm answers, is not found.
LATE_S: Final = 900


class Rereads:
    """
    When accounting is read again, and from where.

    Begins in doubt: the halves, too, may have been away while no daemon ran.

    Attributes:
        settled: Up to where slurmctld and slurmdbd agreed (epoch seconds).
    """

    def __init__(self, settled: int) -> None:
        self.settled = settled
        self._in_doubt = True
        self._agreed_at: float | None = None
        self._round = 0
        self._read_at = float("-inf")

    def doubt(self) -> None:
        """Note that a half did not answer."""
        self._in_doubt = True
        self._agreed_at, self._round = None, 0

    def agree(self, now: float) -> None:
        """Note that both halves answer (monotonic seconds)."""
        if self._agreed_at is None:
            self._agreed_at = self._read_at = now

    def is_due(self, now: float) -> bool:
        """Return whether accounting is to be read again now, from where it is settled (monotonic seconds)."""
        if self._agreed_at is None:
            return False
        if self._in_doubt:
            return now >= self._agreed_at + AFTER_S[self._round]
        return now >= self._read_at + LATE_S

    def read(self, now: float, until: int) -> bool:
        """
        Note that accounting has been read again.

        Args:
            now: Monotonic seconds.
            until: Read up to here (epoch seconds), the present.

        Returns:
            Whether ``settled`` moved.
        """
        self._read_at = now
        if self._in_doubt:
            self._round += 1
            if self._round < len(AFTER_S):
                return False
        self._in_doubt, self._round = False, 0
        self.settled = max(self.settled, until - LATE_S)
        return True
