"""Read old accounting and have it written down, no faster than the sinks take it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from slurmsyncd.commands.backfill.progress import Progress
from slurmsyncd.console.accounting_windows import slices
from slurmsyncd.control.run_requests import GetStoredRuns, RecordRuns
from slurmsyncd.control.store_requests import GetTotals
from slurmsyncd.errors import SlurmsyncdError
from slurmsyncd.planner.gaps import merged
from slurmsyncd.sources.command_source import CommandSource
from slurmsyncd.sources.selection import chosen_clusters

if TYPE_CHECKING:
    import argparse

    from slurmsyncd.commands.backfill.resume_file import ResumeFile
    from slurmsyncd.config import ClusterConfig, Config
    from slurmsyncd.control.client import ControlClient
    from slurmsyncd.model import Gap, Job

#: Runs in one request: some hundred kilobytes.
BATCH = 200
#: Between two looks at a queue that is full.
FULL_S = 1.0


@dataclass(slots=True)
class BackfillCounts:
    """
    What one cluster came to: runs of accounting, those of them that were new, jobs that never started.

    Attributes:
        unread: Spans of accounting that could not be read, and why.
    """

    cluster: str
    read: int = 0
    new: int = 0
    never_started: int = 0
    set_aside: int = 0
    unread: tuple[Gap, ...] = ()


async def backfill(
    desk: ControlClient, config: Config, args: argparse.Namespace, position: ResumeFile | None
) -> list[BackfillCounts]:
    """
    Work through all clusters that are wanted.

    Args:
        desk: The running daemon; for a dry run also the store alone.
        config: The configuration.
        args: since, until, cluster, rate, depth.
        position: Where to go on, and to note how far it came; None: a dry run, only counting.
    """
    clusters = (await chosen_clusters(config, args.cluster)).values()
    return [await _ClusterBackfill(desk, config, args, position, cluster).run() for cluster in clusters]


class _ClusterBackfill:
    """One cluster."""

    def __init__(
        self,
        desk: ControlClient,
        config: Config,
        args: argparse.Namespace,
        position: ResumeFile | None,
        cluster: ClusterConfig,
    ) -> None:
        self._desk = desk
        self._position = position
        self._depth = args.depth
        self._per_run_s = 60.0 / args.rate if args.rate else 0.0
        self._next_at = time.monotonic()
        self._until = args.until
        self._since = args.since if position is None else position.load(cluster.name)
        self._source = CommandSource(
            cluster.name, config.slurm, slurm_conf=cluster.slurm_conf, remote=cluster.remote
        )
        self._result = BackfillCounts(cluster.name)
        self._progress = Progress(cluster.name, args.since, args.until)

    async def run(self) -> BackfillCounts:
        """Read it slice by slice; each is told before the next is read."""
        try:
            async for part in slices(self._source, self._since, self._until):
                self._result.never_started += part.never_started
                self._result.set_aside += part.set_aside
                if part.unread is not None:
                    self._result.unread = merged(self._result.unread, part.unread)
                for at in range(0, len(part.runs), BATCH):
                    await self._take(part.runs[at : at + BATCH], part.until)
                if self._position is not None:
                    self._position.save(self._result.cluster, part.until)
                self._progress.came_to(part.until)
        finally:
            self._progress.clear()
        return self._result

    async def _take(self, runs: tuple[Job, ...], at: int) -> None:
        if self._position is None:
            new = await self._count_new(runs)
        else:
            await self._wait_for_room(at)
            new = await self._ask_record(runs)
        self._result.read += len(runs)
        self._result.new += new
        self._progress.read, self._progress.new = self._result.read, self._result.new

    async def _ask_record(self, runs: tuple[Job, ...]) -> int:
        new = self._desk.ask(RecordRuns(cluster=self._result.cluster, jobs=runs))
        self._next_at = max(self._next_at, time.monotonic()) + new * self._per_run_s
        return new

    async def _count_new(self, runs: tuple[Job, ...]) -> int:
        ids = tuple({run.key.job_id for run in runs})
        written = self._desk.ask(GetStoredRuns(cluster=self._result.cluster, job_ids=ids, sinks=()))
        known = {each.key for each in written.runs}
        return sum(run.key not in known for run in runs)

    async def _wait_for_room(self, at: int) -> None:
        """Wait until the rate allows for more, and the sinks have taken enough of what waits."""
        await anyio.sleep(max(0.0, self._next_at - time.monotonic()))
        while (waiting := self._waiting()) > self._depth:
            self._progress.came_to(at, waiting=waiting)
            await anyio.sleep(FULL_S)

    def _waiting(self) -> int:
        if not self._desk.running:
            raise SlurmsyncdError("the daemon has stopped: start it, and give the same command again")
        totals = self._desk.ask(GetTotals())
        return max((sink.states.get("ready", 0) for sink in totals.sinks.values()), default=0)
