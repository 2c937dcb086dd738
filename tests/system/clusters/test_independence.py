"""Several clusters on one store: none holds up another, and each has its own position."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import pytest

from slurmsyncd.config import ClusterConfig, SinkConfig, load_config
from slurmsyncd.delivery import OutcomeKind
from slurmsyncd.errors import ConfigError
from slurmsyncd.model import (
    EventKind,
    Job,
    JobState,
    Notification,
    OutboxEntry,
    Plan,
    RunKey,
    RunPhase,
    RunStarted,
    Trigger,
)
from slurmsyncd.pipeline.checkpoint import CheckpointFile
from slurmsyncd.pipeline.collect import Collector, CollectPolicy
from slurmsyncd.pipeline.node_states import report_node_states
from slurmsyncd.pipeline.store_thread import StoreThread
from slurmsyncd.sandbox.slurm.faults import clear_faults
from slurmsyncd.sinks.rest.sink import RestSink
from slurmsyncd.store import checkpoint_file as lastrun
from slurmsyncd.triggers.notification_queue import NotificationQueue
from tests.fakes import ACCEPTED, NOW, FakeClock, FakeSink
from tests.unit.pipeline.conftest import until
from tests.unit.store.builders import known

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from slurmsyncd.delivery import Outcome
    from slurmsyncd.model import NodeState
    from slurmsyncd.store import SqliteStore
    from tests.system.clusters.conftest import Pair

pytestmark = pytest.mark.anyio

BOTH = ("alpha", "beta")
AGES_S = 600.0  # longer than any test


class PairClock:
    """The simulation's time."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair

    def now(self) -> float:
        return self._pair.now


class Collecting:
    """The loops of alpha and beta on one store, as the daemon has them."""

    def __init__(self, pair: Pair, store: SqliteStore) -> None:
        self.store = store
        self.lastrun = pair.root / "lastrun"
        self.sources = [pair.source(name, remote=name == "beta", command_timeout=AGES_S) for name in BOTH]
        thread, policy = StoreThread(), CollectPolicy(poll_s=0.05, overlap_s=60, max_span_s=86400)
        self.checkpoint = CheckpointFile(self.lastrun, store, thread, BOTH)
        self.wakeups = {name: NotificationQueue(0.01) for name in BOTH}
        told = self.checkpoint.advance
        self.alpha, self.beta = (
            Collector(source, store, thread, policy, PairClock(pair), recorded=told)
            for source in self.sources
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        await self.checkpoint.apply_at_start()
        async with anyio.create_task_group() as group:
            for collector in (self.alpha, self.beta):
                group.start_soon(collector.run, self.wakeups[collector.cluster])
            yield
            group.cancel_scope.cancel()

    def runs(self, cluster: str) -> dict[int, RunPhase]:
        return {key.job_id: phase for key, phase in known(self.store, cluster, range(1, 9)).items()}


async def test_i5_j5_a_frozen_cluster_holds_up_no_other(modern: Pair, store: SqliteStore) -> None:
    """While beta hangs, alpha's jobs arrive by poll and by hint and end; beta's, under equal ids, come after."""
    loops = Collecting(modern, store)
    modern.beta.fault("ctld", f"frozen:{AGES_S:g}")
    for lab in (modern.alpha, modern.beta):
        lab.submit(duration_s=20)
        lab.submit(duration_s=900)
    modern.pass_(5)
    async with loops.running():
        await until(lambda: loops.runs("alpha") == {1: RunPhase.STARTED, 2: RunPhase.STARTED}, 30)
        modern.pass_(60)
        await until(lambda: loops.runs("alpha") == {1: RunPhase.STOPPED, 2: RunPhase.STARTED}, 30)
        hinted = modern.alpha.submit(duration_s=900)
        modern.pass_(5)
        loops.wakeups["alpha"].put(Notification("alpha", hinted, "prolog_slurmctld"))
        await until(lambda: hinted in loops.runs("alpha"), 30)
        assert loops.alpha.tally.polls
        assert (loops.beta.tally.polls, loops.runs("beta"), store.cursor("beta")) == (0, {}, None)
        await until(lambda: lastrun.read(loops.lastrun) == store.cursor("alpha"))

    modern.beta.fault("ctld", "frozen:0")
    loops = Collecting(modern, store)
    async with loops.running():
        await until(lambda: loops.beta.tally.error, 30)
        clear_faults(modern.beta.state)
        await until(lambda: loops.runs("beta") == {1: RunPhase.STOPPED, 2: RunPhase.STARTED}, 30)
        await until(lambda: loops.beta.tally.error is None, 30)
        await until(lambda: lastrun.read(loops.lastrun) == min(store.cursor(name) or 0 for name in BOTH))
    assert loops.runs("alpha")[1] is RunPhase.STOPPED


class NodeSink(FakeSink):
    """Counts how often it was told of a cluster's nodes."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    async def send_node_states(self, cluster: str, nodes: Sequence[NodeState]) -> Outcome:
        assert nodes
        self.told.append(cluster)
        return ACCEPTED


async def test_i5_nodes_of_one_cluster_are_told_while_the_other_hangs(modern: Pair) -> None:
    """Again and again, and not only until the first one that hangs."""
    modern.beta.fault("ctld", f"frozen:{AGES_S:g}")
    sink = NodeSink()
    sources = [
        modern.source(name, remote=name == "beta", command_timeout=AGES_S) for name in ("beta", "alpha")
    ]
    async with anyio.create_task_group() as group:
        group.start_soon(report_node_states, sources, sink, 0.01)
        await until(lambda: len(sink.told) >= 3, 30)
        group.cancel_scope.cancel()
    assert set(sink.told) == {"alpha"}


class TestCheckpoint:
    """The file is the slowest cluster's position."""

    async def begun(self, store: SqliteStore, path: Path, at: int | None) -> tuple[int | None, ...]:
        if at is not None:
            lastrun.write(path, at)
        await CheckpointFile(path, store, StoreThread(), BOTH).apply_at_start()
        return tuple(store.cursor(name) for name in BOTH)

    async def test_i5_an_outage_sets_no_other_cluster_back(self, tmp_path: Path, store: SqliteStore) -> None:
        """The file says since when beta has been away; at the next start alpha goes on where it was."""
        store.set_cursor("alpha", NOW)
        store.set_cursor("beta", NOW - 86400)
        checkpoint = CheckpointFile(tmp_path / "lastrun", store, StoreThread(), BOTH)
        await checkpoint.apply_at_start()
        store.record(Plan(cluster="alpha", cursor=NOW + 60), NOW)
        await checkpoint.advance(Plan(cluster="alpha", cursor=NOW + 60))
        assert (tmp_path / "lastrun").stat().st_mtime == NOW - 86400
        assert await self.begun(store, tmp_path / "lastrun", None) == (NOW + 60, NOW - 86400)

    @pytest.mark.parametrize("back", [50, 500])
    async def test_a_touched_file_sets_back_whoever_is_further(
        self, tmp_path: Path, store: SqliteStore, back: int
    ) -> None:
        """`touch -d` is for all clusters, and moves none forward."""
        store.set_cursor("alpha", NOW)
        store.set_cursor("beta", NOW - 100)
        expected = (NOW - back, min(NOW - 100, NOW - back))
        assert await self.begun(store, tmp_path / "lastrun", NOW - back) == expected

    async def test_an_added_cluster_is_looked_back_at_in_full(
        self, tmp_path: Path, store: SqliteStore
    ) -> None:
        """What the others have been read up to says nothing about it."""
        store.set_cursor("alpha", NOW)
        assert await self.begun(store, tmp_path / "lastrun", NOW) == (NOW, None)
        assert await self.begun(store, tmp_path / "lastrun", NOW - 9) == (NOW - 9, None)

    async def test_before_the_first_look_the_file_holds_for_all(
        self, tmp_path: Path, store: SqliteStore
    ) -> None:
        """So that an operator can say from when on to read."""
        assert await self.begun(store, tmp_path / "lastrun", NOW) == (NOW, NOW)


async def test_what_is_left_of_a_removed_cluster_waits(tmp_path: Path, store: SqliteStore) -> None:
    """It is not sent under a name that may be wrong, is not lost, and its open runs can be named."""
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text("a.b.c")
    sink = RestSink(
        SinkConfig(name="rest", url="http://127.0.0.1:9", token_file=str(token)),
        {"alpha": ClusterConfig(name="alpha")},
        FakeClock(),
    )
    run = Job(key=RunKey("beta", 1, NOW), state=JobState.RUNNING, nodes=("n1",))
    store.record(Plan(cluster="beta", events=(RunStarted(run, Trigger.POLL),)), NOW)
    assert store.open_runs() == {"beta": 1}
    outcome = await sink.deliver(OutboxEntry(id=1, sink="rest", kind=EventKind.START, start=run))
    await sink.aclose()
    assert (outcome.result, outcome.reason) == (OutcomeKind.REJECTED_UNTIL_FIXED, "cluster_not_configured")
    assert "[clusters.beta]" in outcome.detail


@pytest.mark.parametrize(
    ("clusters", "told"),
    [
        ({"a": {}, "b": {}}, "clusters.b.slurm_conf = '': clusters.a has the same"),
        (
            {"a": {"slurm_conf": "/x"}, "b": {"slurm_conf": "/x"}},
            "clusters.b.slurm_conf = '/x': clusters.a has the same",
        ),
        (
            {"a": {}, "b": {"remote": True, "backend_name": "a"}},
            "clusters.b.backend_name = 'a': clusters.a is called so, too",
        ),
    ],
)
async def test_sections_that_speak_of_one_cluster_are_a_mistake(
    clusters: dict[str, dict[str, object]], told: str
) -> None:
    """Each is named with the setting that tells them apart."""
    with pytest.raises(ConfigError) as raised:
        load_config({"clusters": clusters})
    assert any(line.startswith(told) for line in raised.value.problems)


async def test_sections_that_are_sound() -> None:
    """One slurm.conf serves its own cluster and any number that are asked for by name."""
    clusters = {
        "a": {"backend_name": "A"},
        "b": {"remote": True},
        "c": {"remote": True},
        "d": {"slurm_conf": "/d"},
    }
    assert set(load_config({"clusters": clusters}).clusters) == set(clusters)
