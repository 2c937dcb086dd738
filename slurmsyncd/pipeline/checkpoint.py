"""The lastRun file beside the store: set after each commit, and obeyed at start if it is the earlier one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from slurmsyncd.store import lastrun

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from slurmsyncd.model import Plan
    from slurmsyncd.pipeline.storage import StoreThread
    from slurmsyncd.ports import Store

log = structlog.get_logger(__name__)


class Checkpoint:
    """
    How far accounting has been read, over all clusters.

    Args:
        path: The lastRun file; its modification time is the earliest cursor.
        clusters: All that are read; the file is written once each of them has a cursor.
    """

    def __init__(self, path: Path, store: Store, thread: StoreThread, clusters: Iterable[str]) -> None:
        self._path = path
        self._store = store
        self._thread = thread
        self._cursors: dict[str, int | None] = dict.fromkeys(clusters)

    async def begin(self) -> None:
        """Take the earlier of file and store for each cluster, so that `touch -d` looks further back."""
        at = await self._thread(lastrun.read, self._path)
        for cluster in self._cursors:
            stored = await self._thread(self._store.cursor, cluster)
            if at is not None and (stored is None or at < stored):
                log.info("checkpoint_from_file", cluster=cluster, file=str(self._path), at=at, stored=stored)
                await self._thread(self._store.set_cursor, cluster, at)
                stored = at
            self._cursors[cluster] = stored

    async def advance(self, plan: Plan) -> None:
        """Follow a plan that has been written down."""
        if plan.cursor is None:
            return
        self._cursors[plan.cluster] = await self._thread(self._store.cursor, plan.cluster)
        reached = [at for at in self._cursors.values() if at is not None]
        if len(reached) == len(self._cursors):
            await self._thread(lastrun.write, self._path, min(reached))
