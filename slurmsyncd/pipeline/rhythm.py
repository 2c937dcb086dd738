"""When each half of Slurm is asked: at each poll, and again after a failure. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: An outage shorter than this is over within 5 s of Slurm's return: until then, the waits stay short.
BRIEF_S: Final = 60.0
#: Longest wait within a brief outage; with all of the jitter 5 s.
BRIEF_WAIT_S: Final = 4.0
#: Share of a wait that is added at random at most, so that the daemons of many clusters do not ask in step.
JITTER: Final = 0.25


@dataclass(slots=True)
class Half:
    """
    One of the two that a poll asks: the controller, or accounting.

    Attributes:
        trouble: What it did not answer last, a line each; empty if it answered.
        disk_full: The trouble is that a disk of this host is full.
        failures: How often it has failed since its last answer.
        next_at: When it is asked next (monotonic seconds).
    """

    trouble: tuple[str, ...] = ()
    disk_full: bool = False
    failures: int = 0
    next_at: float = float("-inf")
    _failed_at: float = 0.0

    def answered(self, next_poll: float, trouble: tuple[str, ...] = (), *, disk_full: bool = False) -> None:
        """Note an answer; what was left out of it by name is trouble, and asked for by the next poll."""
        self.trouble, self.failures, self.next_at = trouble, 0, next_poll
        self.disk_full = disk_full and bool(trouble)

    def failed(
        self,
        trouble: tuple[str, ...],
        now: float,
        poll_s: float,
        fraction: float,
        *,
        disk_full: bool = False,
    ) -> None:
        """
        Note that there was no answer: asked again after 1, 2, 4, 4 … s for a minute, then as often as polls.

        Args:
            trouble: Why.
            now: Monotonic seconds.
            poll_s: Seconds from one poll to the next.
            fraction: From 0 to 1, at random.
            disk_full: Whether the answer found no room on a disk of this host.
        """
        if not self.failures:
            self._failed_at = now
        longest = BRIEF_WAIT_S if now < self._failed_at + BRIEF_S else max(poll_s, BRIEF_WAIT_S)
        wait = min(2.0 ** min(self.failures, 30), longest)
        self.trouble, self.failures, self.disk_full = trouble, self.failures + 1, disk_full
        self.next_at = now + wait * (1 + JITTER * fraction)


def next_poll_at(began: float, ended: float, poll_s: float) -> float:
    """
    Return when to look again, after a look from ``began`` to ``ended`` (monotonic seconds).

    From beginning to beginning, so that whatever runs longer than the interval is seen while it runs. Where
    Slurm needs long to answer it gets its rest: nine tenths of the interval from the end.
    """
    return max(began + poll_s, ended + 0.9 * poll_s)
