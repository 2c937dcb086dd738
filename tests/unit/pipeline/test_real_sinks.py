"""Queues of the real store, drained by the real REST sink into servers that are slow or out of order."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from slurmsyncd.config import SinkConfig
from slurmsyncd.model import EventKind, JobState, Plan, RunEnded, RunStarted, Trigger
from slurmsyncd.pipeline.deliver import DeliveryLoop
from slurmsyncd.sinks.dialect import V1_5
from slurmsyncd.store import open_store
from tests.fakes import NOW, FakeClock
from tests.unit.pipeline.conftest import POLICY, CountingThread, until
from tests.unit.sinks.parts import CLUSTERS, START, error, job, sink_on, token_file
from tests.unit.sinks.rude import Rude, answer, rude_server

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from slurmsyncd.model import Event
    from slurmsyncd.store import SqliteStore
    from tests.unit.sinks.rude import Seen

pytestmark = pytest.mark.anyio

WEEK = 7 * 86400
RUNS = range(1, 41)
STARTED = answer(201, '{"msg":"success"}')


async def stopped(writer: asyncio.StreamWriter, request: Seen) -> bool:
    """Answer as the backend does: with the run that was stopped."""
    row = {"cluster": "demo", "jobId": json.loads(request.body)["jobId"], "jobState": "completed"}
    return await answer(200, json.dumps(row))(writer, request)


class Archive:
    """Holds up each stop until it is let go, and counts how many it has in hand."""

    def __init__(self) -> None:
        self.open = anyio.Event()
        self.in_hand = self.most = 0

    async def stop(self, writer: asyncio.StreamWriter, request: Seen) -> bool:
        self.in_hand += 1
        self.most = max(self.most, self.in_hand)
        await self.open.wait()
        self.in_hand -= 1
        return await stopped(writer, request)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    made = open_store(tmp_path / "state", ("cc", "dead")).store
    begun = [job(n) for n in RUNS]
    over = [replace(run, state=JobState.COMPLETED, end_at=START + 60) for run in begun]
    events: list[Event] = [RunStarted(run, Trigger.POLL) for run in begun]
    events += [RunEnded(run, Trigger.POLL) for run in over]
    made.record(Plan(cluster="demo", events=tuple(events)), NOW)
    yield made
    made.close()


def plans(stop: Any = stopped) -> dict[str, Any]:
    return {
        "/api/clusters/": [answer(200, json.dumps(CLUSTERS))],
        "/api/nodestate/": [answer(200)],
        "/api/jobs/start_job/": [STARTED],
        "/api/jobs/edit_meta/": [answer(200, "{}")],
        "/api/jobs/stop_job/": [stop],
    }


@asynccontextmanager
async def draining(
    server: Rude, store: SqliteStore, thread: CountingThread, clock: FakeClock, token: Path, name: str = "cc"
) -> AsyncIterator[DeliveryLoop]:
    """Drain one sink's queue into a server, with as many callers as are the default."""
    defaults = SinkConfig(name=name)
    sink = sink_on(server.url, token, dialect=V1_5, name=name, timeout=60.0)
    workers = {EventKind.START: defaults.start_workers, EventKind.STOP: defaults.stop_workers}
    delivery = DeliveryLoop(sink, store, thread, POLICY, clock, workers=workers)
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(delivery.run)
            yield delivery
            delivery.stop()
    finally:
        await sink.aclose()


def told(server: Rude, step: EventKind) -> list[int]:
    """Return the ids that a server was told of, in order."""
    path = f"/api/jobs/{step.value}_job/"
    return [json.loads(request.body)["jobId"] for request in server.seen if request.path.startswith(path)]


def settled(store: SqliteStore, sink: str) -> int:
    """Count the runs of which a sink has nothing more to be told."""
    told = store.delivery_summaries(sink, [job(n).key for n in RUNS])
    return [each.state for each in told.values()].count("done")


async def test_h21_a_slow_archive_has_few_stops_in_hand_and_keeps_no_start_waiting(
    store: SqliteStore, thread: CountingThread, clock: FakeClock, tmp_path: Path
) -> None:
    """Two stops wait for their answer, all starts go meanwhile; nothing is tried twice, and then all is told."""
    archive = Archive()
    async with rude_server() as server:
        server.plans = plans(archive.stop)
        async with draining(server, store, thread, clock, token_file(tmp_path / "token")):
            await until(lambda: len(told(server, EventKind.START)) == len(RUNS), 60)
            await until(lambda: archive.in_hand == 2, 60)
            assert len(told(server, EventKind.STOP)) == 2
            archive.open.set()
            await until(lambda: settled(store, "cc") == len(RUNS), 60)
    assert archive.most == 2
    assert sorted(told(server, EventKind.STOP)) == sorted(told(server, EventKind.START)) == list(RUNS)


async def test_h7_a_backend_that_answers_400_to_every_start_for_a_while_costs_no_run(
    store: SqliteStore, thread: CountingThread, clock: FakeClock, tmp_path: Path
) -> None:
    """Its database was read-only: no dead letter, an alarm, one probe at a time; then every run arrives once."""
    async with rude_server() as server:
        readonly = answer(400, error("attempt to write a readonly database"))
        server.plans = {**plans(), "/api/jobs/start_job/": [readonly]}
        async with draining(server, store, thread, clock, token_file(tmp_path / "token")) as delivery:
            await until(lambda: delivery.health.pause_reason == "http_400", 60)
            asked = len(told(server, EventKind.START))
            await until(lambda: len(told(server, EventKind.START)) > asked + 2, 60)
            assert delivery.health.pause.action_required
            assert not store.list_deliveries(state="dead")
            server.plans = plans()
            clock.at += 300
            await until(lambda: settled(store, "cc") == len(RUNS), 60)
            assert delivery.health.pause_reason is None
    assert sorted(told(server, EventKind.STOP)) == list(RUNS)


async def test_h26_a_sink_that_is_dead_for_a_week_holds_up_no_other_and_loses_nothing(
    store: SqliteStore, thread: CountingThread, clock: FakeClock, tmp_path: Path
) -> None:
    """The other is told of everything; the dead one's queue outlives pruning, uncharged, and is sent in the end."""
    token = token_file(tmp_path / "token")
    async with rude_server() as well, rude_server() as ill:
        well.plans, ill.plans = plans(), {"/api/": [answer(401, error("token", "Unauthorized"))]}
        async with (
            draining(well, store, thread, clock, token),
            draining(ill, store, thread, clock, token, "dead") as dead,
        ):
            await until(lambda: settled(store, "cc") == len(RUNS), 60)
            await until(lambda: dead.health.pause_reason, 60)
            clock.at += WEEK
            await thread(store.prune, clock.now(), WEEK / 2)
            assert settled(store, "dead") == 0
            ill.plans = plans()
            await until(lambda: settled(store, "dead") == len(RUNS), 60)
    assert sorted(told(well, EventKind.START)) == sorted(told(well, EventKind.STOP)) == list(RUNS)
    assert set(told(ill, EventKind.START)) == set(told(ill, EventKind.STOP)) == set(RUNS)
    assert not store.list_deliveries()
