"""The side of Slurm: a collector for each cluster, woken by its hints."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import anyio
import structlog

from slurmsyncd.clock import SystemClock
from slurmsyncd.config import ClusterConfig
from slurmsyncd.daemon.hookwatch import HookWatch
from slurmsyncd.errors import SourceUnavailable
from slurmsyncd.pipeline.announced import NotificationMonitor
from slurmsyncd.pipeline.checkpoint import CheckpointFile
from slurmsyncd.pipeline.collect import Collector, CollectPolicy
from slurmsyncd.pipeline.rhythm import Half
from slurmsyncd.sources.command_source import CommandSource
from slurmsyncd.sources.discovery import discover, only_cluster
from slurmsyncd.triggers.notification_queue import NotificationQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from anyio.abc import TaskGroup

    from slurmsyncd.config import Config
    from slurmsyncd.model import Notification, Plan
    from slurmsyncd.pipeline.store_thread import StoreThread
    from slurmsyncd.store.sqlite_store import SqliteStore

log = structlog.get_logger(__name__)

#: Names of other clusters that are said at most.
STRANGERS = 20


class Collectors:
    """
    Everything that looks at Slurm.

    Attributes:
        sources: One for each cluster, once the names of the clusters are known.
        collectors: Likewise.
        announced: Cluster → whether its hooks announce what polls see.
        waiting_for_slurm: Why they are not known yet, None if they are or Slurm was not asked.
    """

    def __init__(
        self,
        config: Config,
        store: SqliteStore,
        thread: StoreThread,
        *,
        recovered: bool,
        ring: Callable[[], None],
    ) -> None:
        self.sources: list[CommandSource] = []
        self.collectors: list[Collector] = []
        self.announced: dict[str, NotificationMonitor] = {}
        self.waiting_for_slurm: str | None = None
        self._config = config
        self._store = store
        self._thread = thread
        self._recovered = recovered
        self._ring = ring
        self._wakeups: dict[str, NotificationQueue] = {}
        self._strangers: set[str] = set()

    async def run(self, and_then: Callable[[TaskGroup], None]) -> None:
        """Look for ever; ``and_then`` starts what needs the sources beside it."""
        await self._begin(patient=True)
        async with anyio.create_task_group() as group:
            for collector, source in zip(self.collectors, self.sources, strict=True):
                wakeup = NotificationQueue(self._config.daemon.query_delay)
                self._wakeups[collector.cluster] = wakeup
                group.start_soon(collector.run, wakeup, name=f"collect-{collector.cluster}")
                watch = HookWatch(source, self.announced[collector.cluster], self._config.hook)
                group.start_soon(watch.run, self._config.daemon.poll_interval)
            and_then(group)

    async def poll_once(self) -> bool:
        """Take one full look at every cluster. Returns whether all of Slurm answered."""
        await self._begin(patient=False)

        async def look(collector: Collector) -> None:
            await collector.poll()
            while collector.is_catching_up and not collector.tally.error:
                await collector.catch_up()

        async with anyio.create_task_group() as group:
            for collector in self.collectors:
                group.start_soon(look, collector)
        return not any(collector.tally.error for collector in self.collectors)

    def notify(self, hint: Notification) -> None:
        """Pass a hint to its cluster; one of a cluster that is not ours is said once and dropped."""
        if (wakeup := self._wakeups.get(hint.cluster)) is not None:
            self.announced[hint.cluster].hear(hint, time.time())
            wakeup.put(hint)
        elif not hint.cluster:
            return  # a test of the way here, which is counted, and speaks of nothing
        elif self._wakeups and hint.cluster not in self._strangers and len(self._strangers) < STRANGERS:
            self._strangers.add(hint.cluster)
            log.warning("hint_of_other_cluster", cluster=hint.cluster, ours=sorted(self._wakeups))

    def has_polled(self, cluster: str) -> bool:
        """Return whether the first look at a cluster, as far back as it goes, is over."""
        return any(each.cluster == cluster and each.has_polled for each in self.collectors)

    async def _begin(self, *, patient: bool) -> None:
        """Build one collector for each cluster; which cluster this host has, Slurm may have to say first."""
        daemon = self._config.daemon
        clusters = self._config.clusters or await self._discover(patient=patient)
        sources = [
            CommandSource(
                name,
                self._config.slurm,
                slurm_conf=each.slurm_conf,
                remote=each.remote,
                accelerators=each.accelerator_gres,
                directory=daemon.state_dir,
            )
            for name, each in clusters.items()
        ]
        await self._note_orphans(clusters)
        checkpoint = CheckpointFile(daemon.lastrun_file, self._store, self._thread, clusters)
        if not self._recovered:  # else the whole look-back has to be read again
            await checkpoint.apply_at_start()
        policy = CollectPolicy(
            poll_s=daemon.poll_interval, overlap_s=daemon.overlap, max_span_s=daemon.max_span
        )

        async def recorded(plan: Plan) -> None:
            await checkpoint.advance(plan)
            self.announced[plan.cluster].note(plan.events)
            if plan.events:
                self._ring()

        self.announced = {name: NotificationMonitor(time.time()) for name in clusters}
        # Both at once: whoever asks how we are doing takes them in pairs.
        self.collectors = [
            Collector(source, self._store, self._thread, policy, SystemClock(), recorded=recorded)
            for source in sources
        ]
        self.sources = sources

    async def _discover(self, *, patient: bool) -> Mapping[str, ClusterConfig]:
        slurm = Half()
        while True:
            try:
                name, release = await self._find_cluster()
            except SourceUnavailable as err:
                if not patient:
                    raise
                self.waiting_for_slurm = str(err)
                if not slurm.failures:
                    log.warning("cluster_unknown", reason=str(err))
                failed_at = time.monotonic()
                slurm.failed((str(err),), failed_at, self._config.daemon.poll_interval, random.random())  # noqa: S311 - no secret
                await anyio.sleep(slurm.next_at - failed_at)
            else:
                self.waiting_for_slurm = None
                log.info("slurm_found", cluster=name, release=release)
                return {name: ClusterConfig(name=name)}

    async def _find_cluster(self) -> tuple[str, str]:
        """Return name and release of the cluster; accounting is read without slurmctld, too."""
        slurm, directory = self._config.slurm, self._config.daemon.state_dir
        try:
            found = await discover(slurm, directory=directory)
        except SourceUnavailable:
            before = await self._thread(self._store.cursors)
            if (name := await only_cluster(slurm, before, directory=directory)) is None:
                raise
            return name, "unknown"
        return found.cluster, found.version

    async def _note_orphans(self, clusters: Collection[str]) -> None:
        """Name the clusters whose runs are open and that nobody asks any more."""
        for cluster, runs in (await self._thread(self._store.open_runs)).items():
            if cluster not in clusters:
                log.warning(
                    "cluster_not_configured",
                    cluster=cluster,
                    open_runs=runs,
                    remedy=f"put [clusters.{cluster}] back until they have ended",
                )
