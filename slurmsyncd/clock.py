"""The time of day. Everything else takes its clock as an argument."""

from __future__ import annotations

import time


class SystemClock:
    """The clock of this host."""

    def now(self) -> float:
        """Return epoch seconds."""
        return time.time()
