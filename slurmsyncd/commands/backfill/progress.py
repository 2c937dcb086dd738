"""What a backfill says while it works: a bar on a terminal, a line now and then otherwise."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from slurmsyncd.console.times import format_day
from slurmsyncd.text import counted, duration, safe

_BAR = 24
_BAR_EVERY_S, _LINE_EVERY_S = 0.2, 30.0


class Progress:
    """
    Of one cluster.

    Args:
        cluster: Its name.
        since: Where it begins (epoch seconds).
        until: Where it ends (epoch seconds).
    """

    def __init__(self, cluster: str, since: int, until: int, stream: TextIO | None = None) -> None:
        self._cluster = cluster
        self._since = since
        self._until = until
        self._stream = sys.stderr if stream is None else stream
        self._began = time.monotonic()
        self._next_at = 0.0 if self._stream.isatty() else self._began + _LINE_EVERY_S
        self.read = self.new = 0

    def came_to(self, at: int, *, waiting: int = 0) -> None:
        """Show how far it came (epoch seconds), and how many runs wait for the sinks, if it is time to."""
        now = time.monotonic()
        if now < self._next_at:
            return
        terminal = self._stream.isatty()
        self._next_at = now + (_BAR_EVERY_S if terminal else _LINE_EVERY_S)
        line = self.line(at, now - self._began, waiting)
        self._stream.write(f"\r\x1b[K{line}" if terminal else f"{line}\n")
        self._stream.flush()

    def line(self, at: int, took_s: float, waiting: int) -> str:
        """Return the words."""
        share = (at - self._since) / max(1, self._until - self._since)
        done = int(share * _BAR)
        rate = self.read / took_s if took_s > 0 else 0.0
        left = f", {duration(took_s * (1 - share) / share)} left" if share > 0 else ""
        queue = f", {waiting:,} wait" if waiting else ""
        return (
            f"{safe(self._cluster)} [{'#' * done}{'.' * (_BAR - done)}] {share:4.0%} {format_day(at)}: "
            f"{counted(self.read, 'run')} read, {self.new:,} new, {rate:,.0f}/s{queue}{left}"
        )

    def clear(self) -> None:
        """Make way for other lines."""
        if self._stream.isatty():
            self._stream.write("\r\x1b[K")
            self._stream.flush()
