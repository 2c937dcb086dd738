"""The lastRun file beside the store: set after each commit, and obeyed at start if it is the earlier one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from slurmsyncd.store import checkpoint_file as lastrun

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from slurmsyncd.model import Plan
    from slurmsyncd.pipeline.store_thread import StoreThread
    from slurmsyncd.ports import Store

log = structlog.get_logger(__name__)


class CheckpointFile:
    """
    How far accounting has been read, over all clusters.

    Args:
        path: The lastRun file; its modification time is the earliest cursor of these clusters.
        clusters: All that are read. One that has not been read yet has no cursor and holds nothing up.
    """

    def __init__(self, path: Path, store: Store, thread: StoreThread, clusters: Iterable[str]) -> None:
        self._path = path
        self._store = store
        self._thread = thread
        self._cursors: dict[str, int | None] = dict.fromkeys(clusters)

    async def apply_at_start(self) -> None:
        """
        Take the earlier of file and store for each cluster, so that `touch -d` looks further back.

        A file that says what was written last moves nothing: of several clusters it is the slowest one's, and
        an outage of that one must not have the others read again. A cluster added to others has no cursor
        and is looked back at as far as at the first start.
        """
        at = await self._thread(lastrun.read, self._path)
        for cluster in self._cursors:
            self._cursors[cluster] = await self._thread(self._store.cursor, cluster)
        earliest = self._earliest()
        if at is None or at == earliest:
            return
        if earliest is not None and at > earliest:
            # The file is set after the store's commit, so it never comes first by itself.
            log.warning(
                "store_older_than_checkpoint",
                file=str(self._path),
                at=at,
                stored=earliest,
                hint="the store was put back or has lost its log, or the file was touched; "
                "Slurm is read again from where the store stands",
            )
        for cluster, stored in self._cursors.items():
            if (at < stored) if stored is not None else earliest is None:
                log.info("checkpoint_from_file", cluster=cluster, file=str(self._path), at=at, stored=stored)
                await self._thread(self._store.set_cursor, cluster, at)
                self._cursors[cluster] = at

    async def advance(self, plan: Plan) -> None:
        """Follow a plan that has been written down."""
        if plan.cursor is None:
            return
        self._cursors[plan.cluster] = await self._thread(self._store.cursor, plan.cluster)
        if (earliest := self._earliest()) is not None:
            await self._thread(lastrun.write, self._path, earliest)

    def _earliest(self) -> int | None:
        return min((at for at in self._cursors.values() if at is not None), default=None)
