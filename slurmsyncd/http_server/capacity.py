"""What all connections of a server share: a number of places, and memory for bodies."""

from __future__ import annotations

from collections import Counter, deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio

from slurmsyncd.http_server.accept import affordable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slurmsyncd.http_server.messages import ServerLimits


class ConnectionCapacity:
    """
    Places for connections, and bytes for bodies.

    Where all places are taken, the next client gets that of the connection which has kept the server waiting
    longest, among those of the peer with the most. Slow clients therefore lock out only themselves.
    """

    def __init__(self, limits: ServerLimits) -> None:
        self.limits = limits
        self._free = affordable(limits.connections)
        self._queue: deque[anyio.Event] = deque()
        self._waiting: dict[anyio.CancelScope, str] = {}
        self._leaving = 0
        self._body_bytes = limits.body_bytes

    @property
    def is_contested(self) -> bool:
        """Whether a client waits for a place."""
        return len(self._queue) > self._leaving

    async def enter(self) -> None:
        """Take a place; wait until there is one."""
        if self._free:
            self._free -= 1
            return
        self._queue.append(turn := anyio.Event())
        self._evict()
        await turn.wait()

    def leave(self) -> None:
        """Return the place."""
        if self._queue:
            self._queue.popleft().set()
        else:
            self._free += 1

    @contextmanager
    def waiting(self, seconds: float | None, peer: str) -> Iterator[None]:
        """
        Wait for the other side within the block.

        Raises:
            TimeoutError: It took longer than ``seconds``.
            anyio.BrokenResourceError: Another client got the place.
        """
        deadline = anyio.current_time() + seconds if seconds is not None else float("inf")
        scope = anyio.CancelScope(deadline=deadline)
        self._waiting[scope] = peer
        self._evict()
        try:
            with scope:
                yield
        finally:
            evicted = self._waiting.pop(scope, None) is None
            self._leaving -= evicted
        if scope.cancelled_caught:
            raise anyio.BrokenResourceError if evicted else TimeoutError

    def reserve(self, size: int) -> bool:
        """Reserve bytes for a body; False if there are not that many left."""
        if size > self._body_bytes:
            return False
        self._body_bytes -= size
        return True

    def release(self, size: int) -> None:
        """Release what was reserved."""
        self._body_bytes += size

    def _evict(self) -> None:
        while self.is_contested and self._waiting:
            counts = Counter(self._waiting.values())
            victim = max(self._waiting, key=lambda scope: counts[self._waiting[scope]])
            del self._waiting[victim]
            self._leaving += 1
            victim.cancel()
