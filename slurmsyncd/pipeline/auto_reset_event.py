"""An event that wakes one waiter and resets."""

from __future__ import annotations

import anyio


class AutoResetEvent:
    """An event that wakes one waiter. Setting it several times without a waiter counts once."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def set(self) -> None:
        """Wake the waiter now, or as soon as it waits."""
        self._event.set()

    async def wait(self, at_most_s: float) -> bool:
        """Wait at most ``at_most_s`` seconds for the event; return whether it was set."""
        with anyio.move_on_after(at_most_s):
            await self._event.wait()
        rung = self._event.is_set()
        if rung:
            self._event = anyio.Event()
        return rung
