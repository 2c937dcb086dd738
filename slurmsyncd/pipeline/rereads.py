"""
Which accounting is read again, because slurmctld may have reported it to slurmdbd late. Pure.

slurmdbd answers at once when it is back; slurmctld delivers what it holds some seconds later (up to 18 s were
measured). So after an outage of one of them, and of the daemon, the span since both were known to agree is in
doubt. sdiag counts the messages that slurmctld holds. Once there are none, the span is read again, and is
settled. Where sdiag does not say, the span is read again several times. Between outages a row may be late,
too. The position up to which they agreed is in the store, so that a restart continues.
"""

from __future__ import annotations

from typing import Final

#: Seconds after both halves of Slurm answer again at which the span of the outage is read again in any case.
AFTER_S: Final = (60.0, 300.0, 900.0)
#: Seconds between two more, while slurmctld is known to hold messages.
HELD_S: Final = 3600.0
#: A row that is later than this, while Slurm answers and slurmctld holds nothing, is not found.
LATE_S: Final = 900
#: Seconds from an empty queue to a read that has all of it. slurmdbd commits before it acknowledges, unless
#: CommitDelay is set (the manual page speaks of 1 s). Source: slurmdbd's proc_req.c, 22.05 to 25.11.
COMMITTED_S: Final = 30.0


class Rereads:
    """
    When accounting is read again, and from where. Times without another word are monotonic seconds.

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
        self._holds = False  # slurmctld held messages when it was asked last
        self._empty_at: float | None = None  # it held none, and both halves answered
        self._unknown = False  # it did not say

    def doubt(self) -> None:
        """Note that a half did not answer."""
        self._begin_doubt(None)

    def agree(self, now: float) -> None:
        """Note that both halves answer."""
        if self._agreed_at is None:
            self._agreed_at = self._read_at = now

    def asks(self, now: float) -> bool:
        """Return whether slurmctld is asked how many messages it holds."""
        if self._empty_at is not None or self._unknown:
            return False
        return self._in_doubt or now >= self._read_at + LATE_S

    def note_queue(self, queued: int | None, now: float) -> None:
        """Note how many messages slurmctld holds for slurmdbd, None if it does not say."""
        self._holds = bool(queued)
        if self._agreed_at is None:
            return
        if queued == 0:
            self._empty_at = now
        elif not self._in_doubt:
            self._unknown = queued is None
            if queued:
                self._begin_doubt(now)

    def is_due(self, now: float) -> bool:
        """Return whether accounting must be read again now, from the settled time on."""
        if self._agreed_at is None:
            return False
        if self._empty_at is not None and now >= self._empty_at + COMMITTED_S:
            return True
        return now >= self._agreed_at + self._after_s() if self._in_doubt else self._unknown

    def read(self, began_at: float, now: float, until: int) -> bool:
        """
        Note that accounting has been read again.

        Args:
            began_at: When the read began.
            now: Its end.
            until: Read up to here (epoch seconds), the present.

        Returns:
            Whether ``settled`` moved.
        """
        self._read_at = now
        is_proved = self._empty_at is not None and began_at >= self._empty_at + COMMITTED_S
        if self._in_doubt and not is_proved:
            self._round += 1
            if self._round < len(AFTER_S) or self._holds:
                return False
        self._in_doubt = self._unknown = False
        self._round, self._empty_at = 0, None
        self.settled = max(self.settled, until - LATE_S)
        return True

    def _begin_doubt(self, agreed_at: float | None) -> None:
        self._in_doubt, self._unknown = True, False
        self._agreed_at, self._empty_at, self._round = agreed_at, None, 0

    def _after_s(self) -> float:
        return AFTER_S[self._round] if self._round < len(AFTER_S) else self._later_s()

    def _later_s(self) -> float:
        return AFTER_S[-1] + HELD_S * (self._round - len(AFTER_S) + 1)
