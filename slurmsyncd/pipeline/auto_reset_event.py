"""Many rings, one answer."""

from __future__ import annotations

import anyio


class AutoResetEvent:
    """Wakes one waiter; rings while nobody waits are remembered as one."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def set(self) -> None:
        """Wake the waiter, now or when it comes to wait."""
        self._event.set()

    async def wait(self, at_most_s: float) -> bool:
        """Wait for a ring. Returns whether there was one."""
        with anyio.move_on_after(at_most_s):
            await self._event.wait()
        rung = self._event.is_set()
        if rung:
            self._event = anyio.Event()
        return rung
