"""How late the event loop is: whatever keeps it from its other tasks shows here (P6, S10)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
import structlog

if TYPE_CHECKING:
    from typing import NoReturn

log = structlog.get_logger(__name__)

#: From one measurement to the next: a stall as long as this is never missed, and four a second cost nothing.
EVERY_S = 0.25
#: From here on a stall is worth a line: hooks wait, and the watchdog is not far.
WARN_S = 1.0
#: "Recent" is the last one to two of these; so long without a stall ends an episode.
WINDOW_S = 60.0


@dataclass(slots=True)
class LoopLag:
    """
    How late the loop was, in seconds; read by status and metrics, written by ``run`` alone.

    Attributes:
        max_s: The worst ever.
        stalls: How often it was ``WARN_S`` late or more.
        stalling: Whether that happened so recently that it is still the same episode.
    """

    max_s: float = 0.0
    stalls: int = 0
    stalling: bool = False
    _window_at: float = float("-inf")
    _window_s: float = 0.0
    _before_s: float = 0.0
    _stalled_at: float = 0.0
    _worst_s: float = 0.0

    @property
    def recent_s(self) -> float:
        """The worst of the last minute or two."""
        return max(self._window_s, self._before_s)

    async def run(self) -> NoReturn:
        """Measure for ever. Runs until cancelled."""
        while True:
            due_at = time.monotonic() + EVERY_S
            await anyio.sleep(EVERY_S)
            now = time.monotonic()
            self.note(max(0.0, now - due_at), now)

    def note(self, late_s: float, now: float) -> None:
        """Take one measurement, made at ``now`` (monotonic seconds)."""
        if now >= self._window_at + WINDOW_S:
            # What was measured longer ago than a whole window is recent no more, as after a suspension.
            stale = now >= self._window_at + 2 * WINDOW_S
            self._window_at, self._before_s, self._window_s = now, 0.0 if stale else self._window_s, 0.0
        self._window_s = max(self._window_s, late_s)
        self.max_s = max(self.max_s, late_s)
        if late_s >= WARN_S:
            self._note_stall(late_s, now)
        elif self.stalling and now >= self._stalled_at + WINDOW_S:
            self.stalling = False
            log.info("loop_in_time_again", worst_s=round(self._worst_s, 3))

    def _note_stall(self, late_s: float, now: float) -> None:
        self.stalls += 1
        self._stalled_at = now
        self._worst_s = max(self._worst_s, late_s) if self.stalling else late_s
        if not self.stalling:
            log.warning("loop_stalled", late_s=round(late_s, 3), hint="an overloaded host, or a huge answer")
        self.stalling = True
