"""Open runs that Slurm has forgotten are named once they are gone for long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from slurmsyncd.model import RunKey

log = structlog.get_logger(__name__)

#: slurmdbd may be that far behind without anything being wrong with a run.
PATIENCE_S = 3600


class MissingRuns:
    """Since when open runs are gone; forgotten at a restart, which begins to count anew."""

    def __init__(self) -> None:
        self._since: dict[RunKey, int] = {}
        self._named: frozenset[RunKey] = frozenset()

    def note(self, gone: frozenset[RunKey] | None, now: int) -> None:
        """Take what one look misses, None if it cannot tell."""
        if gone is None:
            return
        self._since = {key: self._since.get(key, now) for key in gone}
        long = frozenset(key for key, since in self._since.items() if now - since >= PATIENCE_S)
        for key in sorted(long - self._named):
            log.warning(
                "run_unknown_to_slurm",
                cluster=key.cluster,
                job_id=key.job_id,
                start_at=key.start_at,
                remedy="it stays open; see sacct -D -j: purged, or hidden from the daemon's user?",
            )
        self._named = long
