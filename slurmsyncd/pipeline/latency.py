"""How long it takes from what was seen to what a sink has: counts in buckets, of fixed size. Pure."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slurmsyncd.model import OutboxEntry

#: Upper bounds in seconds; the last one has none.
BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0)


@dataclass(slots=True)
class Histogram:
    """
    Counts by bound.

    Attributes:
        counts: How many were at most that bound and above the one before; one more than there are bounds.
        sum_s: All of them together, in seconds.
    """

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    sum_s: float = 0.0

    def observe(self, seconds: float) -> None:
        """Count one; a clock that was set back counts as nothing."""
        seconds = max(0.0, seconds)
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.sum_s += seconds


class Latency:
    """One sink's, by step and by what made us look."""

    def __init__(self) -> None:
        self.histograms: dict[tuple[str, str], Histogram] = {}

    def of(self, step: str) -> Histogram:
        """Return the histogram of one event kind, over all triggers."""
        found = [each for (of, _), each in self.histograms.items() if of == step]
        counts = [sum(column) for column in zip(*(each.counts for each in found), strict=True)]
        return Histogram(counts or Histogram().counts, sum(each.sum_s for each in found))

    def note(self, entry: OutboxEntry, now: float) -> None:
        """Count a step that was taken now (epoch seconds)."""
        if entry.recorded_at is not None and entry.trigger is not None:
            key = entry.kind.value, entry.trigger.value
            self.histograms.setdefault(key, Histogram()).observe(now - entry.recorded_at)
