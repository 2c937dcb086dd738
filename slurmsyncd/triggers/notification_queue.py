"""Many rings, one answer: hints are collected, and given away together after a short delay."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable

    from slurmsyncd.model import Notification

#: Hints that are kept at most; what comes beyond them is counted and left to the timer.
LIMIT = 100_000


class NotificationQueue:
    """
    Collects hints for one waiter.

    Args:
        delay_s: Seconds from the first ring to the answer. Measured from the first, so that a steady
            stream of hints cannot put it off.
        limit: How many different hints are kept.
        clock: Monotonic seconds.

    Attributes:
        dropped: Hints beyond the limit so far.
    """

    def __init__(
        self, delay_s: float, *, limit: int = LIMIT, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.dropped = 0
        self._delay_s = delay_s
        self._limit = limit
        self._clock = clock
        self._hints: set[Notification] = set()
        self._first_at: float | None = None
        self._rung = anyio.Event()

    def __len__(self) -> int:
        return len(self._hints)

    def put(self, hint: Notification) -> None:
        """Keep a hint for the next answer. Call it from the event loop's thread."""
        if len(self._hints) >= self._limit and hint not in self._hints:
            self.dropped += 1
        else:
            self._hints.add(hint)
        if self._first_at is None:
            self._first_at = self._clock()
            self._rung.set()

    async def wait(self, at_most_s: float) -> frozenset[Notification]:
        """
        Wait for hints.

        Returns:
            All that came, ``delay_s`` after the first of them; nothing if none came within ``at_most_s``.
            A cancelled wait loses none.
        """
        with anyio.move_on_after(at_most_s):
            await self._rung.wait()
        if self._first_at is None:
            return frozenset()
        await anyio.sleep(max(0.0, self._first_at + self._delay_s - self._clock()))
        return self._take()

    def _take(self) -> frozenset[Notification]:
        hints, self._hints = frozenset(self._hints), set()
        self._first_at = None
        self._rung = anyio.Event()
        return hints
