"""Two small clusters and a backend, and the daemon's own loops between them."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from slurmsyncd.delivery import DeliveryPolicy, Outcome, OutcomeKind
from slurmsyncd.model import (
    EventKind,
    Job,
    JobAnswers,
    JobState,
    ListedJob,
    NodeAllocation,
    Observation,
    RunKey,
)
from slurmsyncd.pipeline.checkpoint import CheckpointFile
from slurmsyncd.pipeline.collect import Collector, CollectPolicy
from slurmsyncd.pipeline.deliver import DeliveryLoop
from slurmsyncd.pipeline.store_thread import StoreThread
from slurmsyncd.store import open_store
from tests.fakes import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from slurmsyncd.model import JobQuestions, NodeState, OutboxEntry, Plan
    from slurmsyncd.store import Opened, SqliteStore

T0 = 1_700_000_000
CLUSTERS = ("alpha", "beta")
SINK = "rest"
LASTRUN = "lastrun"
_POLICY = CollectPolicy(poll_s=60.0, overlap_s=60.0, max_span_s=7 * 86400.0)


@dataclass
class World:
    """
    The truth, and what the backend has of it.

    Attributes:
        runs: As they end; each runs from its start to its end on the clock.
        silent: Clusters whose Slurm is not asked for now.
        taken: What the backend has: each run's start and stop.
        refused: Runs whose start it never takes.
        unmapped: Runs that it takes once somebody has changed its configuration.
        failing: Runs that it fails on once.
        repeats: Requests for what it had already.
        looks: Clusters that were asked, and since when.
    """

    runs: list[Job]
    clock: FakeClock = field(default_factory=lambda: FakeClock(T0))
    silent: set[str] = field(default_factory=set)
    taken: dict[RunKey, tuple[Job, Job | None]] = field(default_factory=dict)
    refused: set[RunKey] = field(default_factory=set)
    unmapped: set[RunKey] = field(default_factory=set)
    failing: set[RunKey] = field(default_factory=set)
    repeats: int = 0
    looks: list[tuple[str, int]] = field(default_factory=list)

    def copy(self) -> World:
        return World(
            runs=self.runs,
            clock=FakeClock(self.clock.at),
            taken=dict(self.taken),
            refused=set(self.refused),
            unmapped=set(self.unmapped),
            failing=set(self.failing),
        )

    def begun(self, cluster: str) -> Iterator[Job]:
        """Return the runs of a cluster that have begun, as they are now."""
        for run in self.runs:
            if run.key.cluster == cluster and run.key.start_at <= self.clock.at:
                assert run.end_at is not None
                over = run.end_at <= self.clock.at
                yield run if over else replace(run, state=JobState.RUNNING, end_at=None)


class Slurm:
    """One cluster behind the port."""

    doubted_from: float | None = None
    is_narrowest = False

    def __init__(self, world: World, cluster: str) -> None:
        self.cluster = cluster
        self._world = world

    async def poll(
        self, since: int, until: int, *, listing: bool = True, accounting: bool = True
    ) -> Observation:
        self._world.looks.append((self.cluster, since))
        runs = list(self._world.begun(self.cluster))
        listed = [
            ListedJob(run.key.job_id, run.state, run.key.start_at) for run in runs if run.end_at is None
        ]
        return Observation(
            cluster=self.cluster,
            observed_at=int(self._world.clock.at),
            job_list=tuple(listed) if listing else None,
            ended_runs=tuple(run for run in runs if accounting and since <= (run.end_at or 0) <= until),
            accounting_read_until=until if accounting else None,
        )

    async def query_jobs(self, questions: JobQuestions) -> JobAnswers:
        runs = list(self._world.begun(self.cluster))
        node = NodeAllocation("n1", ((0, 0), (1, 5)), 4, 2048)
        shown = [run for run in runs if run.end_at is None and run.key.job_id in questions.details]
        return JobAnswers(
            details=tuple(replace(run, allocation=(node,)) for run in shown),
            accounting=tuple(run for run in runs if run.key.job_id in questions.accounting),
        )

    async def queued_messages(self) -> int | None:
        return None

    async def detail_batch_size(self) -> int:
        return 500

    async def node_states(self) -> tuple[NodeState, ...]:
        return ()


class Backend:
    """Takes each run once, and a stop only after its start."""

    name = SINK

    def __init__(self, world: World) -> None:
        self._world = world

    async def deliver(self, entry: OutboxEntry) -> Outcome:
        world, key = self._world, entry.start.key
        if key in world.failing:
            world.failing.discard(key)
            return Outcome(result=OutcomeKind.FAILED, reason="http_500")
        if key in world.unmapped:
            return Outcome(result=OutcomeKind.REJECTED_UNTIL_FIXED, reason="no_subcluster")
        if key in world.refused:
            return Outcome(result=OutcomeKind.REJECTED, reason="http_400", certain=True)
        start, stop = world.taken.get(key, (None, None))
        if entry.kind is EventKind.STOP and start is None:
            return Outcome(result=OutcomeKind.START_MISSING, reason="not_found")
        if (start if entry.kind is EventKind.START else stop) is not None:
            world.repeats += 1
            return Outcome(result=OutcomeKind.ALREADY_DELIVERED, reason="listed_already")
        world.taken[key] = (start or entry.start, entry.stop if entry.kind is EventKind.STOP else None)
        return Outcome(result=OutcomeKind.ACCEPTED, reason="accepted")

    async def send_node_states(self, cluster: str, nodes: Sequence[NodeState]) -> Outcome:
        return Outcome(result=OutcomeKind.ACCEPTED, reason="accepted")

    async def aclose(self) -> None:
        pass


class Daemon:
    """One life: the store as it is opened, a collector for each cluster, and the delivery."""

    def __init__(self, directory: Path, world: World) -> None:
        self.opened: Opened = open_store(directory, (SINK,), reserve_bytes=4096)
        self.store: SqliteStore = self.opened.store
        self._world = world
        self._thread = StoreThread()
        self._checkpoint = CheckpointFile(directory / LASTRUN, self.store, self._thread, CLUSTERS)
        self._collectors = [self._collector(cluster) for cluster in CLUSTERS]

    def _collector(self, cluster: str) -> Collector:
        async def recorded(plan: Plan) -> None:
            await self._checkpoint.advance(plan)

        source = Slurm(self._world, cluster)
        return Collector(source, self.store, self._thread, _POLICY, self._world.clock, recorded=recorded)

    async def begin(self) -> None:
        if not self.opened.recovered:
            await self._checkpoint.apply_at_start()

    async def look(self) -> None:
        for each in self._collectors:
            if each.cluster not in self._world.silent:
                await each.poll()
                while each.is_catching_up:
                    await each.catch_up()

    async def deliver(self) -> None:
        workers = {EventKind.START: 16, EventKind.STOP: 16}  # many settle in one go
        sink, clock = Backend(self._world), self._world.clock
        delivery = DeliveryLoop(sink, self.store, self._thread, DeliveryPolicy(), clock, workers=workers)
        await delivery.run(until_idle=True)

    async def keep_house(self, keep_s: float = _POLICY.max_span_s + 86400.0) -> None:
        await self._thread(self.store.check_files)
        await self._thread(self.store.prune, self._world.clock.at, keep_s)

    def closing(self) -> closing[SqliteStore]:
        return closing(self.store)
