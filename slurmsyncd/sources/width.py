"""How wide the next window of accounting is. Pure."""

from __future__ import annotations

from typing import Final

from slurmsyncd.planner.gaps import FLOOR_S

#: Runs of one sacct at most: some 60 MB of its memory, by the captures' scale table.
ROWS: Final = 10_000
#: A busy day may follow a quiet month.
MOST_S: Final = 6 * 3600.0
#: Answers after which a width that failed is tried again. Where the limit is constant (MaxQueryTimeRange, or
#: a window that needs longer than the deadline) one window in nine fails, and not every other one.
PATIENCE: Final = 8


class Width:
    """
    The width of the next window: halved by failures, wider over quiet spans, narrower over busy ones.

    Args:
        first_s: The first one.

    Attributes:
        s: Seconds.
    """

    def __init__(self, first_s: float) -> None:
        self.s = first_s
        self._most_s = max(first_s, MOST_S)
        self._failed_s = float("inf")
        self._answers = 0

    @property
    def is_narrowest(self) -> bool:
        """Whether a failure makes it no narrower."""
        return self.s <= FLOOR_S

    def failed(self, span_s: int) -> None:
        """Follow a window that failed; it may have been too wide for slurmdbd, deadline or output limit."""
        if span_s <= FLOOR_S:
            self.s = max(self.s, FLOOR_S)
            return
        self._failed_s, self._answers = span_s, 0
        self.s = max(FLOOR_S, min(self.s, span_s / 2))

    def answered(self, runs: int, span_s: int) -> None:
        """Follow a window that was answered: sacct's memory follows its rows."""
        if runs > ROWS:
            self.s = max(FLOOR_S, span_s * ROWS / runs / 2)
        elif runs < ROWS / 4 and span_s >= int(self.s):
            self._widen(min(2 * self.s, self._most_s))

    def _widen(self, wider_s: float) -> None:
        if wider_s >= self._failed_s:
            self._answers += 1
            if self._answers < PATIENCE:
                return
            self._failed_s = float("inf")
        self.s = wider_s
