"""
When a backend has committed a start, so that its stop is safe. Pure: the clock is an argument.

cc-backend keeps a started job in a cache until its next commit tick. A stop that meets the tick is
acknowledged and lost, and may end another job (race R1 of the contract). The tick counts from the start of
the backend, so no time since the acknowledgement proves the commit; an edit of the job's metadata does, since
it finds committed jobs only.

Source:
    Contract sections 6, 8, 9 and 17.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: First estimate of the commit interval: the shipped configuration's. Built in are 120 s.
FIRST_S: Final = 60.0
LEAST_S: Final = 5.0
#: Added to an estimate that was too short. Each question before the commit leaves a warning in its log.
MARGIN_S: Final = 10.0
#: Between two questions for the same run.
AGAIN_S: Final = 30.0
#: Answers at the first question after which the estimate is lowered: the interval may have been shortened.
PROVEN: Final = 100


@dataclass(slots=True)
class CommitWatch:
    """
    What is known of one backend's commits.

    Args:
        hold_s: Seconds after which a stop is sent without proof (``stop_hold``).

    Attributes:
        wait_s: Seconds from an acknowledged start to the first question for it.
        answering_since: When the backend first answered after it had not (epoch seconds); None: it does not.
    """

    hold_s: float
    wait_s: float = FIRST_S
    answering_since: float | None = None
    _proven: int = 0

    def __post_init__(self) -> None:
        self.wait_s = min(FIRST_S, self.hold_s)

    def note_exchange(self, *, answered: bool, now: float) -> None:
        """Follow whether the backend answers: one that was away may have been restarted."""
        if not answered:
            self.answering_since = None
        elif self.answering_since is None:
            self.answering_since = now

    def note_committed(self) -> None:
        """Note that a start was committed when it was asked for."""
        self._proven += 1
        if self._proven >= PROVEN:
            self._proven, self.wait_s = 0, max(min(LEAST_S, self.hold_s), 0.9 * self.wait_s)

    def note_uncommitted(self, acked_at: float, now: float) -> None:
        """Note that a start was not committed yet when it was asked for."""
        self._proven = 0
        self.wait_s = min(self.hold_s, max(self.wait_s, now - acked_at + MARGIN_S))

    def unproven_s(self, acked_at: float | None, now: float) -> float:
        """
        Return for how many seconds a stop has to wait that no proof releases.

        The hold counts from the acknowledgement and again from the first answer after an outage: the tick
        counts from the restart then.
        """
        if acked_at is None:  # a run that the backend itself lists
            return 0.0
        since = max(acked_at, now if self.answering_since is None else self.answering_since)
        return min(self.hold_s, max(0.0, since + self.hold_s - now))  # also if the clock was set back
