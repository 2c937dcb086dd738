"""How much happened in each of the last minutes: bounded, read off counters that only ever grow. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Minutes that are kept: some 6 hours.
KEPT = 360


@dataclass(frozen=True, slots=True)
class Minute:
    """
    One minute.

    Attributes:
        at: Its beginning (epoch seconds).
        counts: What happened in it, by name: ``starts`` and ``stops`` that were written down, ``start_told``
            and ``stop_told`` that sinks took, ``start_ms`` that the starts among them had waited, ``failed``
            attempts, ``commands`` of Slurm.
    """

    at: int
    counts: dict[str, int] = field(default_factory=dict)


class MinuteCounters:
    """The last ``KEPT`` minutes, from counters that are read every few seconds."""

    def __init__(self) -> None:
        self._minutes: deque[Minute] = deque(maxlen=KEPT)
        self._seen: Mapping[str, int] = {}

    def sample(self, counters: Mapping[str, int], now: float) -> None:
        """Take the counters as they stand now (epoch seconds)."""
        grown = {}
        for name, count in counters.items():
            # One that is smaller than before began anew, as after a reload.
            before = self._seen.get(name, 0)
            if more := count - before if count >= before else count:
                grown[name] = more
        self._seen = dict(counters)
        if grown:
            counts = self._minute(int(now) // 60 * 60).counts
            for name, more in grown.items():
                counts[name] = counts.get(name, 0) + more

    def last(self, minutes: int, now: float) -> tuple[Minute, ...]:
        """Return the last minutes, oldest first; minutes without any change are left out."""
        since = now - 60 * min(minutes, KEPT)
        return tuple(Minute(each.at, dict(each.counts)) for each in self._minutes if since < each.at <= now)

    def _minute(self, at: int) -> Minute:
        # A clock that was set back counts into the minute that is there; nothing is counted twice.
        if not self._minutes or self._minutes[-1].at < at:
            self._minutes.append(Minute(at))
        return self._minutes[-1]
