"""The embedded backend that reads from NATS, and the sink that speaks to it: the contract's NATS cases."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from slurmsyncd.delivery import OutcomeKind
from slurmsyncd.model import EventKind, NodeState
from slurmsyncd.sandbox.backend.line_protocol import BadLine, read_lines
from slurmsyncd.sandbox.backend.server import BackendConfig, EmbeddedBackend
from slurmsyncd.sinks.nats.line_protocol import job_line
from tests.unit.sandbox.backend.client import J, S, http
from tests.unit.sandbox.backend.conftest import CLUSTERS
from tests.unit.sinks.nats.parts import (
    client,
    delivering,
    listener,
    open_steps,
    over,
    record,
    runs,
    sink,
    until,
)
from tests.unit.sinks.parts import entry, job

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from nats.aio.client import Client

    from slurmsyncd.store import SqliteStore
    from tests.system.nats.server import NatsServer

pytestmark = pytest.mark.anyio

CC = {"format": "cc", "job_subject": "cc.jobs", "node_subject": "cc.nodes"}
GARBAGE = b"job,function=start_job event={} 1\n"


@pytest.fixture
async def backend(server: NatsServer) -> AsyncIterator[EmbeddedBackend]:
    config = BackendConfig(clusters=CLUSTERS, commit_interval=None, test_api=True, nats=server.url)
    async with EmbeddedBackend.open(config) as running:
        yield running


def start(job_id: int = 1, **changes: Any) -> bytes:
    return job_line(EventKind.START, json.dumps(J(job_id, **changes)).encode(), 1)


def stop(job_id: int = 1, **changes: Any) -> bytes:
    return job_line(EventKind.STOP, json.dumps(S(job_id, **changes)).encode(), 1)


@asynccontextmanager
async def publishing(server: NatsServer) -> AsyncIterator[Client]:
    async with client(server.url) as other:
        yield other


async def taken(server: NatsServer, backend: EmbeddedBackend, *messages: bytes) -> None:
    """Publish, and wait until a message that came later has been dealt with; another may be about to be."""
    async with publishing(server) as other:
        for message in messages:
            await other.publish("cc.jobs", message)
        await other.publish("cc.jobs", start(999))
        await other.flush()
    await until(lambda: any(row["job_id"] == 999 for row in backend.rows()))


def states(backend: EmbeddedBackend) -> dict[int, str]:
    """Return state by job id."""
    return {row["job_id"]: row["job_state"] for row in backend.rows() if row["job_id"] != 999}


@pytest.mark.parametrize(
    ("message", "jobs"),
    [
        pytest.param(start(), {1: "running"}, id="N1"),
        pytest.param(start().rpartition(b" ")[0], {}, id="N2-without"),
        pytest.param(start().rpartition(b" ")[0] + b" 0", {1: "running"}, id="N2-zero"),
        pytest.param(start().replace(b",function=start_job", b""), {}, id="N3-no-function"),
        pytest.param(start().replace(b"start_job", b"other"), {}, id="N3-other"),
        pytest.param(start().replace(b"job,", b"jobs,", 1), {}, id="N3-measurement"),
        pytest.param(json.dumps(J()).encode(), {}, id="N4-bare"),
        pytest.param(GARBAGE + start(), {}, id="N4-garbage-first"),
        pytest.param(start() + GARBAGE + start(2), {1: "running"}, id="N4-garbage-later"),
        pytest.param(
            start().replace(b" event=", b' n=1,b=t,s="x,y z",event='), {1: "running"}, id="more-fields"
        ),
        pytest.param(start() + start(2), {1: "running", 2: "running"}, id="N5"),
        pytest.param(start().replace(b"start_job", b"start_job,x="), {}, id="N7-empty"),
        pytest.param(start().replace(b"start_job", b"start_job,x=a b"), {}, id="N7-blank"),
        pytest.param(start().replace(b"start_job", b"start_job,x=a\\ b"), {1: "running"}, id="N7-escaped"),
        pytest.param(start(exclusive=1), {}, id="N8"),
        pytest.param(start() + stop(), {1: "completed"}, id="N10"),
        pytest.param(start(tags=[{"type": "a", "name": "b"}]), {1: "running"}, id="N11"),
        pytest.param(stop() + start(), {1: "running"}, id="an-error-ends-no-message"),
    ],
)
async def test_contract_messages(
    server: NatsServer, backend: EmbeddedBackend, message: bytes, jobs: dict[int, str]
) -> None:
    """Case N1 to N11 of the contract: what is kept of a message, and what is only a line in the log."""
    await taken(server, backend, message)
    await until(lambda: states(backend) == jobs)


async def test_contract_n6_texts_arrive_unchanged(server: NatsServer, backend: EmbeddedBackend) -> None:
    """Quotes, backslashes, line ends and UTF-8 in metaData."""
    text = 'a "b" \\ \\" \n\t ü,=  '
    await taken(server, backend, start(metaData={"jobScript": text}))
    await until(lambda: states(backend))
    row = next(row for row in backend.rows() if row["job_id"] == 1)
    assert json.loads(row["meta_data"]) == {"jobScript": text}


async def test_contract_n9_two_messages_may_overtake_each_other(
    server: NatsServer, backend: EmbeddedBackend
) -> None:
    """A start that a worker takes up late has lost its stop."""
    backend.knobs.nats_late = 1
    async with publishing(server) as other:
        await other.publish("cc.jobs", start())
        await other.flush()
        await until(lambda: backend.knobs.nats_late == 0)
        await other.publish("cc.jobs", stop())
        await other.flush()
    await until(lambda: len(backend.rows()) == 1)
    assert backend.rows()[0]["job_state"] == "running"


async def test_contract_n12_node_states(server: NatsServer, backend: EmbeddedBackend) -> None:
    """A line of the measurement nodestate is stored; the sink writes such."""
    async with sink(server.url, **CC) as told:
        nodes = (NodeState("cn001", "idle", 0, 0, 0, 0),)
        assert (await told.send_node_states("demo", nodes)).result is OutcomeKind.ACCEPTED
    database = backend._core.database
    await until(lambda: database.all("SELECT hostname, state FROM node_state"))
    assert database.all("SELECT hostname, state FROM node_state") == [{"hostname": "cn001", "state": "idle"}]


async def test_by_nats_the_routes_that_take_jobs_are_not_mounted(backend: EmbeddedBackend) -> None:
    """404 for starts and stops; reading stays."""
    async with http(backend.url) as connection:
        head = {"X-Auth-Token": backend.token()}
        for path in ("start_job", "stop_job"):
            assert (await connection.post(f"/api/jobs/{path}/", json=J(), headers=head)).status_code == 404
        assert (await connection.get("/api/jobs/", headers=head)).status_code == 200


async def test_without_a_broker_it_runs_on_and_takes_nothing(server: NatsServer) -> None:
    """Neither by NATS nor by REST, as the original does until it is restarted."""
    server.kill()
    config = BackendConfig(clusters=CLUSTERS, commit_interval=None, nats=server.url)
    async with EmbeddedBackend.open(config) as backend, http(backend.url) as connection:
        head = {"X-Auth-Token": backend.token()}
        assert (await connection.post("/api/jobs/start_job/", json=J(), headers=head)).status_code == 404
        assert (await connection.get("/api/jobs/", headers=head)).status_code == 200


@pytest.mark.parametrize("text", [b'job event="' + b"\\" * 300_001, b"a," * 200_000, b'a b="c",' * 100_000])
def test_a_hostile_line_costs_no_time(text: bytes) -> None:
    """No line makes the parser go over it again and again."""
    with pytest.raises(BadLine):
        list(read_lines(text))


async def test_runs_arrive_by_nats_only(
    server: NatsServer, backend: EmbeddedBackend, store: SqliteStore
) -> None:
    """Started ones as running; those that were over when their start was due, as two lines, all stopped."""
    backend.knobs.nats_late = 10
    record(store, runs(40))
    record(store, runs(40, first=100), ended=True)
    async with listener(server.url, "cc.jobs") as heard, sink(server.url, **CC) as told:
        async with delivering(told, store) as loop:
            await until(lambda: store.counts("nats").states == {"idle": 40})
            await until(lambda: len(backend.rows()) == 80)
        assert loop.health.results == {"published": 80, "sent_with_start": 40}
    await until(lambda: sum(row["job_state"] == "completed" for row in backend.rows()) == 40)
    ended = {row["job_id"] for row in backend.rows() if row["job_state"] == "completed"}
    assert ended == set(range(100, 140))
    assert len(heard) == 80


async def test_a_stop_that_was_sent_with_its_start_and_forgotten_is_repeated(
    server: NatsServer, backend: EmbeddedBackend
) -> None:
    """After a restart of ours the stop goes out once more, and changes nothing there."""
    run = job()
    whole = replace(entry(run=run), stop=over(run))
    stop_again = replace(whole, kind=EventKind.STOP)
    async with sink(server.url, **CC) as told:
        assert (await told.deliver(whole)).result is OutcomeKind.ACCEPTED
        assert (await told.deliver(stop_again)).reason == "sent_with_start"
        assert (await told.deliver(stop_again)).reason == "published"  # the audit wants it again
    async with sink(server.url, **CC) as restarted:
        assert (await restarted.deliver(stop_again)).reason == "published"
    await until(lambda: [row["job_state"] for row in backend.rows()] == ["completed"])


async def test_by_jetstream_the_backend_reads_along(
    server: NatsServer, backend: EmbeddedBackend, store: SqliteStore
) -> None:
    """A stream on its subject keeps what it missed; the backend itself reads core NATS."""
    record(store, runs(10), ended=True)
    settings = {**CC, "mode": "jetstream", "stream": "CC", "manage_stream": True}
    async with sink(server.url, **settings) as told, delivering(told, store):
        await until(lambda: not open_steps(store))
    await until(lambda: len(backend.rows()) == 10)


async def test_what_the_backend_missed_is_lost_by_core_nats(server: NatsServer, store: SqliteStore) -> None:
    """Nobody listens, and all is settled: at most once. The audit is what finds it."""
    record(store, runs(5))
    async with sink(server.url, **CC) as told, delivering(told, store) as loop:
        await until(lambda: store.counts("nats").states == {"idle": 5})
    assert loop.health.results == {"published": 5}
