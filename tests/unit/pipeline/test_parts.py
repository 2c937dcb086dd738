"""The small parts of the loops: bell, rechecks, checkpoint, node states."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

import anyio
import pytest
from structlog.testing import capture_logs

from slurmsyncd.delivery import Outcome, OutcomeKind
from slurmsyncd.errors import SourceUnavailable
from slurmsyncd.model import NodeState, Notification, Plan
from slurmsyncd.pipeline.auto_reset_event import AutoResetEvent
from slurmsyncd.pipeline.checkpoint import CheckpointFile
from slurmsyncd.pipeline.node_states import report_node_states
from slurmsyncd.pipeline.rechecks import ROUNDS, Rechecks
from slurmsyncd.pipeline.rhythm import next_poll_at
from slurmsyncd.pipeline.store_thread import StoreThread
from tests.fakes import ACCEPTED, NOW, FakeSink, FakeSlurm, FakeSource
from tests.unit.pipeline.conftest import until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from slurmsyncd.store import SqliteStore

HINT = Notification("alpha", 1, "epilog")


class TestBell:
    @pytest.mark.anyio
    async def test_rings_before_the_wait_are_remembered_as_one(self) -> None:
        """And used up by it."""
        bell = AutoResetEvent()
        bell.set()
        bell.set()
        assert await bell.wait(0)
        assert not await bell.wait(0)

    @pytest.mark.anyio
    async def test_a_ring_wakes_the_waiter(self) -> None:
        """At once."""
        bell = AutoResetEvent()
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(bell.wait, 3600)
                await anyio.wait_all_tasks_blocked()
                bell.set()


class TestRechecks:
    def test_each_item_has_its_own_backoff(self) -> None:
        """1, 2, 4, … seconds; a new one does not renew the old."""
        rechecks = Rechecks()
        rechecks.settle((), [7], 0.0)
        due: list[float] = []
        now = 0.0
        while (at := rechecks.next_at()) is not None and len(due) < 20:
            now = at
            due.append(at)
            rechecks.add([1000 + len(due)], now)
            rechecks.settle(rechecks.take(now), [7], now)
        assert due == [1, 3, 7, 15, 31, 63]

    def test_after_its_rounds_an_id_waits_for_the_polls_and_a_hint_is_dropped(self) -> None:
        """The polls ask for everything that is open."""
        rechecks = Rechecks()
        rechecks.add([HINT], 0.0)
        rechecks.settle([HINT], [HINT, 7], 0.0)
        for now in range(1, ROUNDS + 2):
            rechecks.settle(rechecks.take(None), rechecks.take(None), float(now))
        assert rechecks.next_at() is None
        assert rechecks.take(None) == {7}
        rechecks.settle([7], [], 100.0)
        assert len(rechecks) == 0

    def test_what_is_due_almost_now_is_asked_along(self) -> None:
        """One question for many."""
        rechecks = Rechecks()
        rechecks.add([1], 10.0)
        rechecks.add([2], 10.4)
        rechecks.add([3], 11.0)
        assert rechecks.take(10.0) == {1, 2}


class TestCheckpoint:
    def checkpoint(self, path: Path, store: SqliteStore, *clusters: str) -> CheckpointFile:
        return CheckpointFile(path, store, StoreThread(), clusters or ("alpha",))

    @pytest.mark.anyio
    async def test_it_follows_what_is_written_down(self, tmp_path: Path, store: SqliteStore) -> None:
        """The file's time is the store's cursor, also when that was put back."""
        path = tmp_path / "lastrun"
        checkpoint = self.checkpoint(path, store)
        for at in (NOW, NOW + 60):
            store.record(Plan(cluster="alpha", cursor=at), NOW)
            await checkpoint.advance(Plan(cluster="alpha", cursor=at))
            assert path.stat().st_mtime == at
        store.set_cursor("alpha", NOW - 500)
        await checkpoint.advance(Plan(cluster="alpha", cursor=NOW - 400))
        assert path.stat().st_mtime == NOW - 500

    @pytest.mark.anyio
    async def test_a_plan_without_a_cursor_moves_nothing(self, tmp_path: Path, store: SqliteStore) -> None:
        """A hint's answer reads no window."""
        path = tmp_path / "lastrun"
        await self.checkpoint(path, store).advance(Plan(cluster="alpha"))
        assert not path.exists()

    @pytest.mark.anyio
    async def test_of_several_clusters_the_slowest_counts(self, tmp_path: Path, store: SqliteStore) -> None:
        """The file says what was read of all of them; one that never answered has no position to keep."""
        path = tmp_path / "lastrun"
        checkpoint = self.checkpoint(path, store, "alpha", "beta")
        for cluster, at, expected in (
            ("alpha", NOW, NOW),
            ("beta", NOW - 9, NOW - 9),
            ("beta", NOW + 9, NOW),
        ):
            store.record(Plan(cluster=cluster, cursor=at), NOW)
            await checkpoint.advance(Plan(cluster=cluster, cursor=at))
            assert (path.stat().st_mtime if path.exists() else None) == expected

    @pytest.mark.parametrize(
        ("stored", "touched", "begun"),
        [
            (NOW, NOW - 500, NOW - 500),
            (NOW, NOW + 500, NOW),
            (None, NOW - 500, NOW - 500),
            (NOW, None, NOW),
            (None, None, None),
        ],
    )
    @pytest.mark.anyio
    async def test_at_start_the_earlier_wins(
        self, tmp_path: Path, store: SqliteStore, stored: int | None, touched: int | None, begun: int | None
    ) -> None:
        """`touch -d` looks further back, and a store that was lost is read again from the file."""
        path = tmp_path / "lastrun"
        if stored is not None:
            store.set_cursor("alpha", stored)
        if touched is not None:
            path.touch()
            os.utime(path, (touched, touched))
        await self.checkpoint(path, store).apply_at_start()
        assert store.cursor("alpha") == begun


class Nodes(FakeSource):
    """A cluster with one node, or none that answers."""

    def __init__(self, cluster: str, *, up: bool = True) -> None:
        super().__init__(FakeSlurm())
        self.cluster = cluster
        self.up = up

    async def node_states(self) -> tuple[NodeState, ...]:
        if not self.up:
            raise SourceUnavailable("no answer")
        return (NodeState("n1", "idle", 0, 0, 0, 0),)


class NodeSink(FakeSink):
    """Notes the clusters that it was told of."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []
        self.outcome = ACCEPTED

    async def send_node_states(self, cluster: str, nodes: Sequence[NodeState]) -> Outcome:
        self.told.append(cluster)
        return self.outcome


@pytest.mark.anyio
async def test_i5_one_dead_cluster_does_not_keep_the_nodes_of_another() -> None:
    """The others are told, and the trouble is said once."""
    sink, dead = NodeSink(), Nodes("alpha", up=False)
    with capture_logs() as lines:
        async with anyio.create_task_group() as group:
            group.start_soon(report_node_states, [dead, Nodes("beta")], sink, 0.001)
            await until(lambda: len(sink.told) >= 3)
            assert set(sink.told) == {"beta"}
            dead.up = True
            await until(lambda: "alpha" in sink.told)
            sink.outcome = Outcome(result=OutcomeKind.FAILED, reason="http_500")
            await until(lambda: len(lines) == 4)
            group.cancel_scope.cancel()
    assert [line["event"] for line in lines] == [
        "node_states_not_sent",
        "node_states_sent_again",
        "node_states_not_sent",
        "node_states_not_sent",
    ]
    assert (lines[0]["cluster"], lines[0]["reason"]) == ("alpha", "no answer")
    assert {line["cluster"] for line in lines[2:]} == {"alpha", "beta"}


@pytest.mark.anyio
async def test_an_accepted_report_of_nodes_is_told_to_the_delivery() -> None:
    """One that fails is not: a paused sink is probed when it is heard of again, and not before."""
    sink, heard = NodeSink(), list[int]()
    sink.outcome = Outcome(result=OutcomeKind.SINK_UNAVAILABLE, reason="unreachable")
    async with anyio.create_task_group() as group:
        report = partial(report_node_states, heard=lambda: heard.append(len(sink.told)))
        group.start_soon(report, [Nodes("alpha")], sink, 0.001)
        await until(lambda: len(sink.told) >= 3)
        assert not heard
        sink.outcome = ACCEPTED
        await until(lambda: heard)
        group.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("took", "gap"), [(0.0, 60.0), (0.3, 60.0), (6.0, 60.0), (50.0, 104.0), (600.0, 654.0)]
)
def test_s6_polls_are_an_interval_apart_and_a_slow_slurm_gets_its_rest(took: float, gap: float) -> None:
    """A job of 61 s cannot fall between two polls of 60 s; a look of 50 s is not followed by another at once."""
    assert next_poll_at(1000.0, 1000.0 + took, 60.0) == pytest.approx(1000.0 + gap)


def test_z7_polls_that_were_slept_through_are_not_made_up_for() -> None:
    """However long a look took, or seemed to: the next is most of an interval away, and there is one."""
    assert next_poll_at(1000.0, 1000.0 + 5 * 3600, 60.0) >= 1000.0 + 5 * 3600 + 50
