"""A real store, the real REST sink, the embedded backend, and accounting that says what a test wants."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from slurmsyncd.config import ClusterConfig
from slurmsyncd.delivery import DeliveryPolicy, RemoteState
from slurmsyncd.errors import SourceUnavailable
from slurmsyncd.model import (
    EventKind,
    Job,
    JobAnswers,
    JobQuestions,
    JobState,
    NodeState,
    Observation,
    OutboxEntry,
    Plan,
    RunEnded,
    RunKey,
    RunStarted,
    Trigger,
)
from slurmsyncd.pipeline.audit import Auditor, AuditPolicy
from slurmsyncd.pipeline.deliver import DeliveryLoop
from slurmsyncd.sandbox.backend.server import BackendConfig, EmbeddedBackend
from slurmsyncd.store import SqliteStore, open_store
from tests.fakes import FakeClock
from tests.unit.pipeline.conftest import CountingThread
from tests.unit.sinks.parts import CLUSTERS, START, job, sink_on, token_file

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from slurmsyncd.delivery import Differing, Outcome
    from slurmsyncd.ports import Inventory, Sink
    from slurmsyncd.sinks.rest.sink import RestSink

CLUSTER = "demo"
GRACE_S = 300.0
POLICY = DeliveryPolicy(backoff_s=0.01, backoff_max_s=0.05, stop_hold_s=0.0)


def key(job_id: int, start_at: int = START) -> RunKey:
    return RunKey(CLUSTER, job_id, start_at)


def ended(run: Job, after_s: int = 60, state: JobState = JobState.COMPLETED) -> Job:
    return replace(run, state=state, end_at=run.key.start_at + after_s)


@dataclass
class Accounting:
    """A source of which only accounting is ever asked; ``rows`` None: it does not answer."""

    rows: list[Job] | None = field(default_factory=list)
    asked: list[frozenset[int]] = field(default_factory=list)
    cluster: str = CLUSTER
    doubted_from: float | None = None
    is_narrowest = False

    async def poll(
        self, since: int, until: int, *, listing: bool = True, accounting: bool = True
    ) -> Observation:
        raise AssertionError("the audit does not look")

    async def query_jobs(self, questions: JobQuestions) -> JobAnswers:
        assert not questions.details
        self.asked.append(questions.accounting)
        if self.rows is None:
            raise SourceUnavailable("slurmdbd does not answer")
        return JobAnswers(
            accounting=tuple(row for row in self.rows if row.key.job_id in questions.accounting)
        )

    async def queued_messages(self) -> int | None:
        return None

    async def detail_batch_size(self) -> int:
        raise AssertionError("the audit asks for no details")

    async def node_states(self) -> tuple[NodeState, ...]:
        return ()


class Skipping:
    """What a backend lists, but for the runs that a page boundary skipped, and starts that cannot be read."""

    def __init__(
        self, inner: Inventory, *, skipped: Sequence[RunKey] = (), broken: Outcome | None = None
    ) -> None:
        self._inner = inner
        self._skipped = frozenset(skipped)
        self._broken = broken
        self.unreadable: set[int] = set()

    @property
    def doubtful_since(self) -> float | None:
        return self._inner.doubtful_since

    @property
    def name(self) -> str:
        return self._inner.name

    async def list_running(
        self, cluster: str, each_page: Callable[[Sequence[RunKey]], Awaitable[None]]
    ) -> Outcome:
        async def shortened(keys: Sequence[RunKey]) -> None:
            await each_page([each for each in keys if each not in self._skipped])

        return await self._inner.list_running(cluster, shortened)

    async def find_runs(self, cluster: str, start_at: int) -> Mapping[int, RemoteState] | Outcome:
        if self._broken is not None and start_at in self.unreadable:
            return self._broken
        return await self._inner.find_runs(cluster, start_at)

    async def differing(self, cluster: str, stops: Mapping[RunKey, Job]) -> Sequence[Differing] | Outcome:
        return await self._inner.differing(cluster, stops)

    async def remove(self, key: RunKey) -> Outcome:
        return await self._inner.remove(key)


class World:
    """Everything of one sink, and the time."""

    def __init__(self, backend: EmbeddedBackend, sink: RestSink, store: SqliteStore) -> None:
        self.backend = backend
        self.sink = sink
        self.store = store
        self.clock = FakeClock(START + 10_000)
        self.thread = CountingThread()
        self.slurm = Accounting()
        self.rings = 0
        self.auditor = self.audits(sink)

    def audits(self, inventory: Inventory, *, settled_s: float = 0.0) -> Auditor:
        policy = AuditPolicy(interval_s=3600.0, grace_s=GRACE_S, settled_s=settled_s)
        return Auditor(inventory, self.store, self.thread, policy, self.clock, repaired=self._ring)

    def _ring(self) -> None:
        self.rings += 1

    # What Slurm does, as the collector writes it down

    def begin(self, *runs: Job) -> None:
        self.store.record(
            Plan(cluster=CLUSTER, events=tuple(RunStarted(run, Trigger.POLL) for run in runs)),
            self.clock.now(),
        )

    def end(self, *runs: Job) -> None:
        events = tuple(RunEnded(ended(run), Trigger.POLL) for run in runs)
        self.store.record(Plan(cluster=CLUSTER, events=events), self.clock.now())

    # What the daemon and the backend do

    async def deliver(self, sink: Sink | None = None) -> None:
        """Tell all that is due, and let the backend commit."""
        await self.deliver_uncommitted(sink)
        await self.backend.tick()

    async def deliver_uncommitted(self, sink: Sink | None = None) -> None:
        workers = {EventKind.START: 2, EventKind.STOP: 1}
        delivery = DeliveryLoop(
            sink or self.sink, self.store, self.thread, POLICY, self.clock, workers=workers
        )
        await delivery.run(until_idle=True)

    async def tell_as_other(self, run: Job, *, over: bool = False) -> None:
        """Tell the backend of a run behind the store's back."""
        assert (await self.sink.deliver(OutboxEntry(id=1, sink="cc", kind=EventKind.START, start=run))).result
        await self.backend.tick()
        if over:
            await self.sink.deliver(
                OutboxEntry(id=1, sink="cc", kind=EventKind.STOP, start=run, stop=ended(run))
            )

    async def audit(self, after_s: float = 2 * GRACE_S) -> dict[str, int]:
        """Let time pass and audit. Gives what was found by this audit."""
        self.clock.at += after_s
        before = self.auditor.tally.findings.copy()
        self.whole = await self.auditor.audit(self.slurm)
        return {finding.value: number for finding, number in (self.auditor.tally.findings - before).items()}

    # What there is

    def remove(self, *job_ids: int) -> None:
        """Delete rows in the backend, as an admin may."""
        for job_id in job_ids:
            self.backend._core.database.link.execute("DELETE FROM job WHERE job_id = ?", (job_id,))

    def there(self) -> dict[tuple[int, int], tuple[str, int | None]]:
        """Return (job id, start) → (state, duration of what has ended) of the backend's rows."""
        rows = self.backend.rows()
        assert len(rows) == len({(row["job_id"], row["start_time"], row["cluster"]) for row in rows})
        return {
            (row["job_id"], row["start_time"]): (
                row["job_state"],
                None if row["job_state"] == "running" else row["duration"],
            )
            for row in rows
        }

    def asked(self, path: str) -> list[dict[str, Any]]:
        """Return the requests below a path."""
        return [request for request in self.backend.requests if request["path"].startswith(path)]

    def history(self, run: Job) -> list[str]:
        """Return the reasons in the history of a run's delivery."""
        (story,) = [each for each in self.store.run_histories(run.key.job_id) if each.key == run.key]
        return [line[2] for line in story.deliveries[0].history]


def site() -> list[dict[str, Any]]:
    demo, star = json.loads(json.dumps(CLUSTERS["clusters"]))
    demo["subClusters"][0]["topology"].pop("accelerators")
    star["subClusters"][0]["topology"] = {"node": [0, 1]}
    return [demo, star]


@asynccontextmanager
async def world_in(path: Path, *sinks: str, ignore: tuple[str, ...] = ()) -> AsyncIterator[World]:
    """Return a world in a directory."""
    config = BackendConfig(clusters=site(), commit_interval=None, test_api=True)
    store = open_store(path / "state", sinks or ("cc",)).store
    try:
        async with EmbeddedBackend.open(config) as backend:
            clusters = {CLUSTER: ClusterConfig(name=CLUSTER, ignore_hosts=ignore)}
            token = token_file(path / "token", backend.token())
            sink = sink_on(backend.url, token, clusters, stop_hold=POLICY.stop_hold_s)
            try:
                yield World(backend, sink, store)
            finally:
                await sink.aclose()
    finally:
        store.close()


__all__ = ["CLUSTER", "GRACE_S", "Accounting", "Skipping", "World", "ended", "job", "key", "world_in"]
