"""The REST sink against a server that misbehaves: faults H1-H24 as they apply to a sink."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import logging
import os
import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.abc
import httpx
import pytest
from structlog.testing import capture_logs

from slurmsyncd.config import ClusterConfig
from slurmsyncd.delivery import Outcome, OutcomeKind
from slurmsyncd.errors import ConfigError
from slurmsyncd.model import EventKind, JobState, NodeAllocation, NodeState, RunKey
from slurmsyncd.sinks.dialect import V1_4, V1_5
from slurmsyncd.sinks.rest.client import describe_failure
from slurmsyncd.sinks.rest.responses import FailureKind
from tests.unit.sinks.certificates import make_certificate
from tests.unit.sinks.parts import CLUSTERS, START, FixedClock, entry, error, job, sink_on, token_file
from tests.unit.sinks.rude import Rude, answer, bomb, drip, raw, rude_server, silence

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from slurmsyncd.sinks.rest.sink import RestSink

pytestmark = pytest.mark.anyio

OK = answer(201, '{"msg":"success"}')
OK_EDIT = answer(200, '{"jobId":7}')
STOPPED = answer(200, '{"cluster":"demo","jobId":7,"jobState":"completed"}')
STOPPED_AND_CLOSED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: 51\r\n\r\n"
    b'{"cluster":"demo","jobId":7,"jobState":"completed"}'
)
GONE = answer(404, error("nothing here", "Resource not found"))


@pytest.fixture
async def server() -> AsyncIterator[Rude]:
    """Return a server that is polite until a test tells it otherwise."""
    async with rude_server() as rude:
        rude.plans = polite()
        yield rude


def polite() -> dict[str, Any]:
    return {
        "/api/clusters/": [answer(200, json.dumps(CLUSTERS))],
        "/api/nodestate/": [answer(200)],
        "/api/jobs/start_job/": [OK],
        "/api/jobs/edit_meta/": [OK_EDIT],
        "/api/jobs/stop_job/": [STOPPED],
    }


@pytest.fixture
def token(tmp_path: Path) -> Path:
    return token_file(tmp_path / "token")


@pytest.fixture
async def sink(server: Rude, token: Path) -> AsyncIterator[RestSink]:
    """Return a sink of a known dialect, so that a test's requests are the only ones."""
    made = sink_on(server.url, token, dialect=V1_5)
    yield made
    await made.aclose()


@pytest.fixture
async def sink_1_4(server: Rude, token: Path) -> AsyncIterator[RestSink]:
    """Return a sink of a dialect in which a stop is one request."""
    made = sink_on(server.url, token, dialect=V1_4)
    yield made
    await made.aclose()


async def starts(server: Rude, sink: RestSink, *behaviours: Any) -> Outcome:
    """Deliver a start to these behaviours, one for each request."""
    server.plans["/api/jobs/start_job/"] = list(behaviours)
    return await sink.deliver(entry())


def sent_to(server: Rude, path: str) -> list[Any]:
    return [json.loads(request.body) for request in server.seen if request.path.startswith(path)]


# What is sent


async def test_a_start_finds_out_how_to_speak_first(server: Rude, token: Path) -> None:
    """The first start asks for dialect and topology; the next does not."""
    sink = sink_on(server.url, token)
    assert (await sink.deliver(entry())).result is OutcomeKind.ACCEPTED
    assert server.paths() == ["/api/nodestate/", "/api/clusters/", "/api/jobs/start_job/"]
    body = json.loads(server.seen[-1].body)
    assert body["resources"] == [{"hostname": "cn001", "hwthreads": [2, 6]}]
    assert (await sink.deliver(entry())).result is OutcomeKind.ACCEPTED
    assert len(server.seen) == 4
    await sink.aclose()


async def test_the_token_goes_in_its_own_header(server: Rude, sink: RestSink) -> None:
    """The token is trimmed and sent as X-Auth-Token; nothing compressed is asked for."""
    await sink.deliver(entry(EventKind.STOP))
    headers = server.seen[-1].headers
    assert headers["x-auth-token"] == "a.b.c"
    assert "authorization" not in headers
    assert headers["accept-encoding"] == "identity"


async def test_a_stop_needs_no_topology(server: Rude, sink: RestSink) -> None:
    """The end is written into the record and then the stop is sent, with the start's identity."""
    assert (await sink.deliver(entry(EventKind.STOP))).result is OutcomeKind.ACCEPTED
    assert server.paths() == ["/api/jobs/edit_meta/", "/api/jobs/stop_job/"]
    assert sent_to(server, "/api/jobs/stop_job/") == [
        {"jobId": 7, "cluster": "demo", "startTime": START, "stopTime": START + 60, "jobState": "completed"}
    ]


async def test_node_states_are_told(server: Rude, sink: RestSink) -> None:
    """All nodes of a cluster go in one request; an old backend says so."""
    nodes = (NodeState("cn001", "idle", 0, 0, 0, 0), NodeState("cn002", "mixed", 2, 100, 0, 1))
    assert (await sink.send_node_states("demo", nodes)).result is OutcomeKind.ACCEPTED
    (body,) = sent_to(server, "/api/nodestate/")
    assert [node["states"] for node in body["nodes"]] == [["idle"], ["mixed"]]
    server.plans["/api/nodestate/"] = [GONE]
    outcome = await sink.send_node_states("demo", nodes)
    assert (outcome.result, outcome.reason) == (OutcomeKind.REJECTED, "no_nodestate")


async def test_a_run_that_cannot_be_told_is_refused_without_a_request(server: Rude, sink: RestSink) -> None:
    """What the contract rules out never leaves."""
    outcome = await sink.deliver(entry(run=job(user="")))
    assert (outcome.result, outcome.reason) == (OutcomeKind.REJECTED, "no_user")
    assert "/api/jobs/start_job/" not in server.paths()


async def test_each_kind_of_note_is_said_once_and_counted(server: Rude, sink: RestSink) -> None:
    """A cluster without topology does not fill the log."""
    run = job(nodes=("xx1",), allocation=None)
    with capture_logs() as logs:
        for _ in range(3):
            await sink.deliver(entry(run=run))
    warned = [line["event"] for line in logs if line["log_level"] == "warning"]
    assert sorted(warned) == ["allocation_unknown", "cores_unknown"]
    assert sink.notes["cores_unknown"] == 3


# Topology and dialect


async def test_h7_a_node_that_was_added_is_sent_with_its_threads(server: Rude, sink: RestSink) -> None:
    """A host that the topology lacks makes the sink ask again before it sends: threads cannot be corrected."""
    added = {**CLUSTERS["clusters"][0]["subClusters"][0], "name": "new", "nodes": "new[1-2]"}
    after = {"clusters": [{"name": "demo", "subClusters": [added]}]}
    run = job(nodes=("new1",), allocation=(NodeAllocation("new1", cores=((1, 0),), cpus=2),))
    refused = answer(400, error("no subcluster found for cluster demo and host new1"))
    first = await starts(server, sink, refused, OK)
    assert first.result is OutcomeKind.REJECTED_UNTIL_FIXED
    server.plans["/api/clusters/"] = [answer(200, json.dumps(after))]
    assert (await sink.deliver(entry(run=run))).result is OutcomeKind.ACCEPTED
    assert sent_to(server, "/api/jobs/start_job/")[-1]["resources"] == [
        {"hostname": "new1", "hwthreads": [2, 6]}
    ]


async def test_h7_a_second_node_that_was_added_is_sent_with_its_threads(server: Rude, sink: RestSink) -> None:
    """The backend takes a run by its first host alone, so no answer would show that another one is lacking."""
    await sink.deliver(entry())
    sink._facts._read_at -= 60.0  # read a minute ago
    added = {**CLUSTERS["clusters"][0]["subClusters"][0], "name": "new", "nodes": "new[1-2]"}
    parts = [*CLUSTERS["clusters"][0]["subClusters"], added]
    server.plans["/api/clusters/"] = [
        answer(200, json.dumps({"clusters": [{"name": "demo", "subClusters": parts}]}))
    ]
    first = job().nodes[0]
    held = (NodeAllocation(first, cores=((0, 0),)), NodeAllocation("new1", cores=((1, 0),)))
    run = job(nodes=(first, "new1"), allocation=held)
    assert (await sink.deliver(entry(run=run))).result is OutcomeKind.ACCEPTED
    last = sent_to(server, "/api/jobs/start_job/")[-1]["resources"][1]
    assert last == {"hostname": "new1", "hwthreads": [2, 6]}


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (answer(500, ""), "http_500"),
        (answer(200, "<html>portal</html>"), "wrong_shape"),
        (answer(200, "{}"), "no_topology"),
        (GONE, "no_endpoint"),
        (raw(b""), "broken_off"),
    ],
)
async def test_without_a_topology_no_start_is_sent(
    server: Rude, sink: RestSink, behaviour: Any, reason: str
) -> None:
    """It is the sink's trouble: the start waits, and nobody's attempts are used up."""
    server.plans["/api/clusters/"] = [behaviour]
    outcome = await sink.deliver(entry())
    assert (outcome.result, outcome.reason) == (OutcomeKind.SINK_UNAVAILABLE, reason)
    assert "/api/jobs/start_job/" not in server.paths()
    server.plans["/api/clusters/"] = [answer(200, json.dumps(CLUSTERS))]
    assert (await sink.deliver(entry())).result is OutcomeKind.ACCEPTED


async def test_an_old_topology_serves_while_a_new_one_cannot_be_had(server: Rude, sink: RestSink) -> None:
    """A known host's threads do not change; its start does not wait for the refresh."""
    await sink.deliver(entry())
    sink._facts.forget_topology()
    server.plans["/api/clusters/"] = [answer(500, "")]
    assert (await sink.deliver(entry())).result is OutcomeKind.ACCEPTED
    assert (await sink.deliver(entry())).result is OutcomeKind.ACCEPTED
    assert server.paths().count("/api/clusters/") == 2  # read, failed to renew, and left alone for a while


async def test_an_older_backend_is_spoken_to_in_its_dialect(server: Rude, token: Path) -> None:
    """Without a node-state endpoint it is 1.4: exclusive instead of shared, fewer states."""
    server.plans["/api/nodestate/"] = [GONE]
    sink = sink_on(server.url, token)
    await sink.deliver(entry())
    await sink.deliver(entry(EventKind.STOP, state=JobState.NODE_FAIL))
    assert sent_to(server, "/api/jobs/start_job/")[0]["exclusive"] == 0
    assert sent_to(server, "/api/jobs/stop_job/")[0]["jobState"] == "failed"
    await sink.aclose()


async def test_a_backend_that_was_upgraded_is_found_out(server: Rude, token: Path) -> None:
    """An unknown field makes the sink ask again how to speak, and repeat the start at once."""
    server.plans["/api/nodestate/"] = [GONE, answer(200)]
    server.plans["/api/jobs/start_job/"] = [answer(400, error('json: unknown field "exclusive"')), OK]
    sink = sink_on(server.url, token)
    assert (await sink.deliver(entry())).result is OutcomeKind.ACCEPTED
    assert "shared" in sent_to(server, "/api/jobs/start_job/")[1]
    await sink.aclose()


async def test_an_unknown_field_that_stays_is_parked(server: Rude, token: Path) -> None:
    """Two dialects are tried, not for ever."""
    server.plans["/api/jobs/start_job/"] = [answer(400, error('json: unknown field "shared"'))]
    sink = sink_on(server.url, token)
    assert (await sink.deliver(entry())).result is OutcomeKind.REJECTED_UNTIL_FIXED
    assert server.paths().count("/api/jobs/start_job/") == 1
    await sink.aclose()


async def test_a_state_that_is_not_known_there_is_sent_in_older_words(server: Rude, sink: RestSink) -> None:
    """Once; a state that has no older word is parked at once."""
    refuse = answer(400, error("invalid requested job state"))
    server.plans["/api/jobs/stop_job/"] = [refuse, STOPPED]
    assert (await sink.deliver(entry(EventKind.STOP, state=JobState.DEADLINE))).result is OutcomeKind.ACCEPTED
    assert [body["jobState"] for body in sent_to(server, "/api/jobs/stop_job/")] == ["deadline", "timeout"]
    server.plans["/api/jobs/stop_job/"] = [refuse]
    assert (await sink.deliver(entry(EventKind.STOP))).reason == "unknown_state"
    assert len(sent_to(server, "/api/jobs/stop_job/")) == 3


# Duplicates


def duplicate(dbid: int = 5) -> Any:
    return answer(422, error(f"a job with that jobId, cluster and startTime already exists: dbid: {dbid}"))


def found(start: int, job_id: int = 7) -> Any:
    row = {"jobId": job_id, "cluster": "demo", "startTime": start, "metaData": {"jobScript": "x" * 50_000}}
    return answer(200, json.dumps({"Meta": row, "Data": None}))


async def test_h6_the_same_start_is_already_there(server: Rude, sink: RestSink) -> None:
    """The row that the backend names has our start: success."""
    server.plans["/api/jobs/5"] = [found(START)]
    assert (await starts(server, sink, duplicate())).result is OutcomeKind.ALREADY_DELIVERED


async def test_h6_another_start_is_a_refusal(server: Rude, sink: RestSink) -> None:
    """The row is of another run, and ours is not listed: never reported as success."""
    server.plans["/api/jobs/5"] = [found(START - 3600)]
    server.plans["/api/jobs/?"] = [answer(200, '{"jobs":[],"items":5000,"page":1}')]
    outcome = await starts(server, sink, duplicate())
    assert (outcome.result, outcome.reason) == (OutcomeKind.REPEATED, "repeat_of_earlier_run")
    assert server.paths()[-1].startswith(f"/api/jobs/?start-time={START}-{START}&cluster=demo&")
    assert outcome.other is not None
    assert outcome.other.key == RunKey("demo", 7, START - 3600)


async def test_h6_ours_beside_a_later_run_is_already_there(server: Rude, sink: RestSink) -> None:
    """With two runs of the id the backend may name the other one; the list shows ours."""
    server.plans["/api/jobs/5"] = [found(START + 90_000)]
    row = {"jobId": 7, "cluster": "demo", "startTime": START, "jobState": "running"}
    page = {"jobs": [row], "items": 5000, "page": 1}
    server.plans["/api/jobs/?"] = [answer(200, json.dumps(page))]
    assert (await starts(server, sink, duplicate())).result is OutcomeKind.ALREADY_DELIVERED


@pytest.mark.parametrize(
    "behaviour", [answer(500, ""), answer(200, "<html>"), answer(422, error("no rows in result set"))]
)
async def test_h6_what_cannot_be_looked_up_is_tried_again(
    server: Rude, sink: RestSink, behaviour: Any
) -> None:
    """Without the row nothing is concluded."""
    server.plans["/api/jobs/5"] = [behaviour]
    assert (await starts(server, sink, duplicate())).result is OutcomeKind.FAILED


async def test_h5_the_unique_marker_is_already_there(server: Rude, sink: RestSink) -> None:
    """A start that the backend still caches settles."""
    unique = answer(500, error("insert into database failed: UNIQUE constraint failed: job_cache.job_id"))
    assert (await starts(server, sink, unique)).result is OutcomeKind.ALREADY_DELIVERED


async def test_h12_a_body_that_is_too_large_is_sent_once_without_its_texts(
    server: Rude, sink: RestSink
) -> None:
    """Script and texts are dropped; if that does not help it is refused."""
    server.plans["/api/jobs/start_job/"] = [answer(413, "too large"), OK]
    run = job(script="x" * 10_000)
    assert (await sink.deliver(entry(run=run))).result is OutcomeKind.ACCEPTED
    first, second = sent_to(server, "/api/jobs/start_job/")
    assert "jobScript" in first["metaData"]
    assert "jobScript" not in second["metaData"]
    server.plans["/api/jobs/start_job/"] = [answer(413, "too large")]
    assert (await sink.deliver(entry(run=run))).result is OutcomeKind.REJECTED
    assert len(sent_to(server, "/api/jobs/start_job/")) == 4


# The network


async def test_h1_connection_refused(token: Path) -> None:
    """Nobody listens: the sink's trouble."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound and not listening: nobody else takes the port meanwhile
        sink = sink_on(f"http://127.0.0.1:{held.getsockname()[1]}", token, dialect=V1_5)
        outcome = await sink.deliver(entry(EventKind.STOP))
        assert (outcome.result, outcome.reason) == (OutcomeKind.SINK_UNAVAILABLE, "unreachable")
        await sink.aclose()


async def test_h1_no_such_name(token: Path) -> None:
    """A name that cannot be resolved: the sink's trouble, and it says so."""
    sink = sink_on("http://no-such-host.invalid", token, dialect=V1_5, insecure_http=True)
    outcome = await sink.deliver(entry(EventKind.STOP))
    assert (outcome.result, outcome.reason) == (OutcomeKind.SINK_UNAVAILABLE, "unreachable")
    assert "name not resolved" in outcome.detail
    await sink.aclose()


async def test_h2_the_next_address_is_tried(server: Rude, token: Path) -> None:
    """localhost resolves to ::1 and 127.0.0.1; where the server listens on one only, it is found."""
    sink = sink_on(server.url.replace("127.0.0.1", "localhost"), token, dialect=V1_5)
    assert (await sink.deliver(entry(EventKind.STOP))).result is OutcomeKind.ACCEPTED
    await sink.aclose()


@contextlib.contextmanager
def black_hole(address: str, port: int) -> Iterator[None]:
    """Occupy an address that takes no connection and refuses none: its queue is full."""
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(socket.socket())
        listener.bind((address, port))
        listener.listen(0)
        for _ in range(4):
            client = sockets.enter_context(socket.socket())
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect((address, port))
        yield


async def test_h2_an_address_that_answers_nothing_does_not_use_up_the_deadline(
    server: Rude, token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name's next address is tried while the first one is silent, and the name is looked up anew each time."""
    asked = []

    def resolve(host: str, *_: object, **__: object) -> list[Any]:
        asked.append(host)
        dead, well = "127.0.0.2", "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, server.port)) for each in (dead, well)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    server.plans["/api/jobs/stop_job/"] = [raw(STOPPED_AND_CLOSED)]
    sink = sink_on(
        f"http://backend.example:{server.port}", token, dialect=V1_5, timeout=30.0, insecure_http=True
    )
    with black_hole("127.0.0.2", server.port):
        for count in (1, 2):
            assert (await sink.deliver(entry(EventKind.STOP))).result is OutcomeKind.ACCEPTED
            assert len(asked) == count
    await sink.aclose()


async def test_h3_a_timeout_leaves_the_outcome_open(server: Rude, token: Path) -> None:
    """No answer in time: the same again later."""
    sink = sink_on(server.url, token, dialect=V1_5, timeout=1.0)
    outcome = await starts(server, sink, silence)
    assert (outcome.result, outcome.reason) == (OutcomeKind.FAILED, "timeout")
    await sink.aclose()


@pytest.mark.parametrize("reset", [False, True])
async def test_h4_a_connection_that_breaks_after_the_request_is_repeated_by_the_queue(
    server: Rude, sink_1_4: RestSink, reset: bool
) -> None:
    """On a fresh connection nothing is repeated silently: the outcome is open, and the queue decides."""
    server.plans["/api/jobs/stop_job/"] = [raw(b"", reset=reset)]
    outcome = await sink_1_4.deliver(entry(EventKind.STOP))
    assert (outcome.result, outcome.reason) == (OutcomeKind.FAILED, "broken_off")
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "data",
    [b"HTTP/1.1 20", b"HTTP/1.1 201 Created\r\nContent-Le", b"HTTP/1.1 201 X\r\nContent-Length: 51\r\n\r\n{"],
    ids=["half-status-line", "half-header", "half-body"],
)
async def test_h4_half_an_answer_is_none(server: Rude, sink: RestSink, data: bytes) -> None:
    """A cut answer is not success, whatever its first line says."""
    assert (await starts(server, sink, raw(data))).result is OutcomeKind.FAILED


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01\x02", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 201\x00 X\r\n\r\n"]
)
async def test_h4_what_is_not_http_is_no_answer(server: Rude, sink: RestSink, data: bytes) -> None:
    """Noise is a failed attempt, not a crash."""
    assert (await starts(server, sink, raw(data))).result is OutcomeKind.FAILED


async def test_h4_two_megabytes_of_headers(server: Rude, sink: RestSink) -> None:
    """They are not taken in."""
    head = b"HTTP/1.1 201 Created\r\n" + b"".join(b"X-%d: %s\r\n" % (at, b"y" * 1000) for at in range(2000))
    assert (await starts(server, sink, raw(head))).result is OutcomeKind.FAILED


HEAD = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("head", "drop"),
    [(HEAD + b"Content-Length: 100000\r\n\r\n", b"x"), (HEAD, b"X-A: b\r\n"), (b"", b"H")],
    ids=["body", "headers", "status-line"],
)
async def test_h15_an_answer_that_drips_is_given_up_at_the_deadline(
    server: Rude, token: Path, head: bytes, drop: bytes
) -> None:
    """Every byte comes in time, but the exchange as a whole does not."""
    sink = sink_on(server.url, token, dialect=V1_5, timeout=1.0)
    with anyio.fail_after(20):
        outcome = await starts(server, sink, drip(head, drop))
    assert outcome.result is OutcomeKind.FAILED
    await sink.aclose()


async def test_h16_a_bomb_is_not_read(server: Rude, sink: RestSink) -> None:
    """Of an answer without end only what fits into the sockets is taken, then the connection is closed."""
    taken: list[int] = []
    head = HEAD + b"Content-Length: 314572800\r\n\r\n"
    assert (await starts(server, sink, bomb(head, b"x" * 65536, 4800, taken))).result is OutcomeKind.FAILED
    assert sum(taken) < 32 * 2**20


async def test_h16_nothing_is_unpacked(server: Rude, sink: RestSink) -> None:
    """What comes packed although it was not asked for is not an answer, however good it is inside."""
    packed = gzip.compress(b'{"msg":"success"}')
    outcome = await starts(server, sink, answer(201, packed, Content_Encoding="gzip"))
    assert (outcome.result, outcome.reason) == (OutcomeKind.FAILED, "wrong_shape")


@pytest.mark.parametrize("status", [200, 201])
async def test_h17_a_portals_page_is_no_success(server: Rude, sink: RestSink, status: int) -> None:
    """Status and shape have to fit."""
    page = answer(status, "<html>please log in</html>", "text/html")
    assert (await starts(server, sink, page)).result is OutcomeKind.FAILED
    server.plans["/api/jobs/stop_job/"] = [page]
    assert (await sink.deliver(entry(EventKind.STOP))).result is OutcomeKind.FAILED


async def test_h14_a_redirect_is_not_followed(server: Rude, sink: RestSink) -> None:
    """The target is named and never asked: it would get the token."""
    async with rude_server() as other:
        outcome = await starts(server, sink, answer(307, Location=f"{other.url}/api/jobs/start_job/"))
        assert (outcome.result, outcome.action_required) == (OutcomeKind.SINK_UNAVAILABLE, True)
        assert other.url in outcome.detail
        assert other.seen == []


@pytest.mark.parametrize(
    ("value", "seconds"), [("120", 120.0), ("-5", None), ("soon", None), ("1000000000000", 1e12)]
)
async def test_h13_retry_after_reaches_the_outcome(
    server: Rude, sink: RestSink, value: str, seconds: float | None
) -> None:
    """What the backend asks for is handed on; the queue caps it."""
    outcome = await starts(server, sink, answer(429, "slow down", Retry_After=value))
    assert (outcome.result, outcome.retry_after_s) == (OutcomeKind.SINK_UNAVAILABLE, seconds)


async def test_h18_an_idle_connection_that_dies_at_reuse_is_repeated_silently(
    server: Rude, sink_1_4: RestSink
) -> None:
    """The request goes again on a fresh connection, once, and nobody notices."""
    await sink_1_4.deliver(entry(EventKind.STOP))
    server.plans["/api/jobs/stop_job/"] = [raw(b""), STOPPED]
    assert (await sink_1_4.deliver(entry(EventKind.STOP))).result is OutcomeKind.ACCEPTED
    bodies = sent_to(server, "/api/jobs/stop_job/")
    assert bodies[1] == bodies[2]
    assert server.seen[1].connection != server.seen[2].connection


async def test_h18_it_is_repeated_only_once(server: Rude, sink_1_4: RestSink) -> None:
    """A server that always hangs up is not flooded."""
    await sink_1_4.deliver(entry(EventKind.STOP))
    server.plans["/api/jobs/stop_job/"] = [raw(b"")]
    assert (await sink_1_4.deliver(entry(EventKind.STOP))).result is OutcomeKind.FAILED
    assert len(server.seen) == 3


async def test_h20_the_environment_is_not_asked(
    server: Rude, token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proxies and CA files of the environment are ignored."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent")
    sink = sink_on(server.url, token, dialect=V1_5)
    assert (await sink.deliver(entry(EventKind.STOP))).result is OutcomeKind.ACCEPTED
    await sink.aclose()


async def test_i6_connections_that_a_rush_left_over_are_closed(
    server: Rude, sink: RestSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once they are older than is kept, the next delivery leaves none but its own."""

    def descriptors() -> int:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    await sink.deliver(entry(EventKind.STOP))
    before = descriptors()
    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(sink.deliver, entry(EventKind.STOP, run=job(job_id=number + 1)))
    assert descriptors() >= before + 7
    monkeypatch.setattr("slurmsyncd.sinks.rest.client._IDLE_S", -1.0)
    with anyio.fail_after(10):
        while descriptors() > before:
            await sink.deliver(entry(EventKind.STOP))


async def test_cookies_are_not_kept(server: Rude, sink: RestSink) -> None:
    """The other side cannot fill our memory, or follow us."""
    server.plans["/api/jobs/stop_job/"] = [answer(200, '{"jobId":7}', Set_Cookie="a=b; Path=/")]
    await sink.deliver(entry(EventKind.STOP))
    await sink.deliver(entry(EventKind.STOP))
    assert "cookie" not in server.seen[-1].headers


# TLS


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return make_certificate(tmp_path, "localhost")


def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


async def test_h19_a_trusted_certificate_is_taken(token: Path, certificate: Path) -> None:
    """With its CA in the configuration the backend is spoken to."""
    async with rude_server(tls(certificate)) as server:
        server.plans = polite()
        url = server.url.replace("127.0.0.1", "localhost")
        sink = sink_on(url, token, ca_file=str(certificate), dialect=V1_5)
        assert (await sink.deliver(entry(EventKind.STOP))).result is OutcomeKind.ACCEPTED
        await sink.aclose()


async def test_h18_h19_a_tls_connection_that_dies_at_reuse_is_no_tls_failure(
    token: Path, certificate: Path
) -> None:
    """It ends without a farewell; that is repeated like any other, and no alarm is raised."""
    async with rude_server(tls(certificate)) as server:
        server.plans = polite()
        url = server.url.replace("127.0.0.1", "localhost")
        sink = sink_on(url, token, ca_file=str(certificate), dialect=V1_5)
        await sink.deliver(entry(EventKind.STOP))
        server.plans["/api/jobs/stop_job/"] = [raw(b"", reset=True), STOPPED]
        assert (await sink.deliver(entry(EventKind.STOP))).result is OutcomeKind.ACCEPTED
        server.plans["/api/jobs/stop_job/"] = [raw(b"", reset=True)]
        outcome = await sink.deliver(entry(EventKind.STOP))
        assert (outcome.result, outcome.reason) == (OutcomeKind.FAILED, "broken_off")
        await sink.aclose()


@pytest.mark.parametrize(
    ("host", "trusted", "cause"),
    [("localhost", False, "self-signed certificate"), ("127.0.0.1", True, "IP address mismatch")],
)
async def test_h19_a_certificate_that_does_not_fit_pauses_the_sink(
    token: Path, certificate: Path, host: str, trusted: bool, cause: str
) -> None:
    """Unknown CA or wrong name: the cause is named, the token is not sent, there is no way around."""
    async with rude_server(tls(certificate)) as server:
        url = server.url.replace("127.0.0.1", host)
        sink = sink_on(url, token, ca_file=str(certificate) if trusted else "", dialect=V1_5)
        outcome = await sink.deliver(entry(EventKind.STOP))
        assert (outcome.result, outcome.reason, outcome.action_required) == (
            OutcomeKind.SINK_UNAVAILABLE,
            "tls",
            True,
        )
        assert cause in outcome.detail
        assert server.seen == []
        await sink.aclose()


async def test_h19_an_expired_certificate(token: Path, tmp_path: Path) -> None:
    """Expired is said."""
    expired = make_certificate(tmp_path, "localhost", expired=True)
    async with rude_server(tls(expired)) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        sink = sink_on(url, token, ca_file=str(expired), dialect=V1_5)
        outcome = await sink.deliver(entry(EventKind.STOP))
        assert "expired" in outcome.detail
        await sink.aclose()


async def test_h19_plain_http_behind_https_is_a_tls_failure(token: Path) -> None:
    """An https url to a plain server says TLS, not a mystery."""

    async def plain(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as group,
    ):
        group.start_soon(listener.serve, plain)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        sink = sink_on(f"https://127.0.0.1:{port}", token, dialect=V1_5)
        outcome = await sink.deliver(entry(EventKind.STOP))
        assert (outcome.result, outcome.reason) == (OutcomeKind.SINK_UNAVAILABLE, "tls")
        await sink.aclose()
        group.cancel_scope.cancel()


async def test_h1_a_server_that_does_not_take_part_is_unreachable(server: Rude, token: Path) -> None:
    """A handshake that never ends is no attempt of an entry: nothing was sent."""
    sink = sink_on(server.url.replace("http:", "https:"), token, dialect=V1_5, timeout=1.0)
    outcome = await sink.deliver(entry(EventKind.STOP))
    assert (outcome.result, outcome.reason) == (OutcomeKind.SINK_UNAVAILABLE, "connect_timeout")
    await sink.aclose()


async def test_a_ca_file_that_is_none_is_a_configuration_error(token: Path, tmp_path: Path) -> None:
    """At the start, naming the setting."""
    for path in (token, tmp_path / "missing"):
        with pytest.raises(ConfigError, match=r"sinks\.cc\.ca_file"):
            sink_on("https://localhost", token, ca_file=str(path))


@pytest.mark.parametrize(
    "refusal", [GONE, answer(405), answer(500, error("no meta.json")), answer(400, error("x"))]
)
async def test_an_edit_that_is_not_taken_holds_up_no_stop(server: Rude, sink: RestSink, refusal: Any) -> None:
    """Missing behind a proxy, or failing for good as for a run without an archive: the stop goes all the same."""
    server.plans["/api/jobs/edit_meta/"] = [refusal]
    assert (await sink.deliver(entry(EventKind.STOP))).result is OutcomeKind.ACCEPTED


async def test_an_edit_that_meets_a_sink_in_trouble_is_that_trouble(server: Rude, sink: RestSink) -> None:
    """No stop is tried where the token is refused."""
    server.plans["/api/jobs/edit_meta/"] = [answer(401, error("expired", "Unauthorized"))]
    outcome = await sink.deliver(entry(EventKind.STOP))
    assert (outcome.result, outcome.reason) == (OutcomeKind.SINK_UNAVAILABLE, "credentials")
    assert server.paths() == ["/api/jobs/edit_meta/"]


async def test_h4_a_stop_that_ended_another_run_is_sent_again(server: Rude, sink: RestSink) -> None:
    """Two stops answered with one id (race R1): the audit has something to look at; a repeat of ours is none."""
    server.plans["/api/jobs/stop_job/"] = [
        answer(200, '{"cluster":"demo","jobId":7,"id":5}'),
        answer(200, '{"cluster":"demo","jobId":7,"id":5}'),
        answer(200, '{"cluster":"demo","jobId":8,"id":5}'),
        answer(200, '{"cluster":"demo","jobId":8,"id":6}'),
    ]
    ours, other = entry(EventKind.STOP), entry(EventKind.STOP, run=job(8))
    for _ in range(2):
        assert (await sink.deliver(ours)).result is OutcomeKind.ACCEPTED
    assert sink.doubtful_since is None
    outcome = await sink.deliver(other)
    assert (outcome.result, outcome.reason) == (OutcomeKind.FAILED, "stop_ended_another_run")
    assert "job 7" in outcome.detail
    assert sink.doubtful_since is not None
    assert (await sink.deliver(other)).result is OutcomeKind.ACCEPTED


# The token


async def test_h9_a_new_token_is_taken_without_a_restart(
    server: Rude, sink_1_4: RestSink, token: Path
) -> None:
    """401 pauses with an alarm; once the file has a new token the next request carries it."""
    server.plans["/api/jobs/stop_job/"] = [answer(401, error("expired", "Unauthorized")), STOPPED]
    outcome = await sink_1_4.deliver(entry(EventKind.STOP))
    assert (outcome.result, outcome.reason, outcome.action_required) == (
        OutcomeKind.SINK_UNAVAILABLE,
        "credentials",
        True,
    )
    token_file(token, "d.e.f\n")
    assert (await sink_1_4.deliver(entry(EventKind.STOP))).result is OutcomeKind.ACCEPTED
    assert [request.headers["x-auth-token"] for request in server.seen] == ["a.b.c", "d.e.f"]


async def test_h9_x9_a_replaced_file_is_noticed(server: Rude, sink: RestSink, token: Path) -> None:
    """Even of the same size and time: it is another file."""
    await sink.deliver(entry(EventKind.STOP))
    before = token.stat()  # noqa: ASYNC240
    other = token_file(token.with_name("new"), "x.y.z\n")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.rename(token)
    await sink.deliver(entry(EventKind.STOP))
    assert server.seen[-1].headers["x-auth-token"] == "x.y.z"


async def test_h9_after_a_401_the_file_is_read_again_whatever_its_times(
    server: Rude, sink: RestSink, token: Path
) -> None:
    """A token rewritten in place within one tick of the file system's clock is found."""
    before = token.stat()  # noqa: ASYNC240
    server.plans["/api/jobs/stop_job/"] = [answer(401, error("no", "Unauthorized")), STOPPED]
    await sink.deliver(entry(EventKind.STOP))
    token_file(token, "n.e.w\n")
    os.utime(token, ns=(before.st_atime_ns, before.st_mtime_ns))
    await sink.deliver(entry(EventKind.STOP))
    assert server.seen[-1].headers["x-auth-token"] == "n.e.w"


@pytest.mark.parametrize("text", [None, "", " \n", "two words", "a\x00b", "tök", "Bearer a.b.c"])
async def test_x9_a_token_that_cannot_be_used_is_never_sent(
    server: Rude, sink: RestSink, token: Path, text: str | None
) -> None:
    """Missing, empty or odd: the sink's trouble, an alarm that names the setting, and no request."""
    token.unlink()  # noqa: ASYNC240
    if text is not None:
        token_file(token, text)
    outcome = await sink.deliver(entry(EventKind.STOP))
    assert (outcome.result, outcome.reason, outcome.action_required) == (
        OutcomeKind.SINK_UNAVAILABLE,
        "token",
        True,
    )
    assert "sinks.cc.token_file" in outcome.detail
    assert text is None or len(text) < 3 or text not in outcome.detail
    assert server.seen == []


async def test_x9_a_file_that_others_can_read_is_warned_of_once(sink: RestSink, token: Path) -> None:
    """It is used all the same."""
    token.chmod(0o644)  # noqa: ASYNC240
    with capture_logs() as logs:
        for _ in range(3):
            await sink.deliver(entry(EventKind.STOP))
    warned = [line for line in logs if line["event"] == "token_file"]
    assert len(warned) == 1
    assert "644" in warned[0]["detail"]


def jwt(exp: float) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"sub": "x", "exp": exp}).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJFZERTQSJ9.{claims}.c2lnbmF0dXJl"


@pytest.mark.parametrize(("days", "warnings"), [(1, 1), (6.9, 1), (7.1, 0), (-1, 1)])
async def test_h10_a_token_that_expires_soon_is_warned_of(
    server: Rude, tmp_path: Path, days: float, warnings: int
) -> None:
    """A week ahead, once."""
    clock = FixedClock()
    token = token_file(tmp_path / "jwt", jwt(clock.at + days * 86400))
    sink = sink_on(server.url, token, dialect=V1_5, clock=clock)
    with capture_logs() as logs:
        for _ in range(3):
            await sink.deliver(entry(EventKind.STOP))
    assert len([line for line in logs if line["event"] == "token_file"]) == warnings
    await sink.aclose()


CANARY = "canary.0123456789.secret"


async def test_x8_the_token_is_in_no_log_error_or_repr(
    server: Rude, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even when the backend sends it back, or libraries log what they please above DEBUG."""
    caplog.set_level(logging.INFO)
    sink = sink_on(server.url, token_file(tmp_path / "canary", CANARY), dialect=V1_5)
    echo = error(f"your token {CANARY} is bad")
    texts = [repr(sink), repr(vars(sink)), repr(vars(sink._token))]
    hostile = (
        answer(400, echo),
        answer(401, echo),
        answer(302, Location=f"/{CANARY}"),
        raw(b"HTTP/1.1 " + CANARY.encode()),
    )
    with capture_logs() as logs:
        texts += [repr(await starts(server, sink, behaviour)) for behaviour in hostile]
    assert len(server.seen) >= 5
    assert all(request.headers["x-auth-token"] == CANARY for request in server.seen)
    assert CANARY not in "".join([*texts, str(logs), caplog.text])
    await sink.aclose()


# Errors of the library


def subclasses(kind: type[Exception]) -> list[type[Exception]]:
    return [kind, *(each for sub in kind.__subclasses__() for each in subclasses(sub))]


@pytest.mark.parametrize("kind", subclasses(httpx.TransportError), ids=lambda kind: kind.__name__)
def test_every_error_of_the_library_is_mapped(kind: type[Exception]) -> None:
    """None escapes, and a name that a younger release adds is a failed attempt."""
    assert describe_failure(kind("why")).failure in FailureKind


def test_a_header_that_cannot_be_written_is_not_quoted() -> None:
    """The library's message would have the token in it."""
    assert "secret" not in describe_failure(httpx.LocalProtocolError("Illegal header value b'secret'")).detail


# The probe


async def test_the_probe_changes_nothing_and_tells(server: Rude, sink: RestSink) -> None:
    """A GET of the endpoint of stops is answered with 405 where it exists; other answers say what is wrong."""
    server.plans["/api/jobs/stop_job/"] = [answer(405, "")]
    assert (await sink.probe()).result is OutcomeKind.ACCEPTED
    assert (server.seen[-1].method, server.seen[-1].body) == ("GET", b"")
    server.plans["/api/jobs/stop_job/"] = [GONE]
    assert (await sink.probe()).reason == "jobs_by_nats"
    server.plans["/api/jobs/stop_job/"] = [answer(401, error("no"))]
    assert (await sink.probe()).reason == "credentials"


async def test_i6_many_deliveries_at_once_keep_few_connections(server: Rude, token: Path) -> None:
    """A connection is used again: there are never more of them than deliveries at a time."""
    sink = sink_on(server.url, token, {"demo": ClusterConfig(name="demo")}, dialect=V1_5)
    outcomes: list[Outcome] = []
    workers = anyio.CapacityLimiter(8)

    async def one(number: int) -> None:
        async with workers:
            outcomes.append(await sink.deliver(entry(run=job(job_id=number + 1))))

    async with anyio.create_task_group() as group:
        for number in range(40):
            group.start_soon(one, number)
    assert [outcome.result for outcome in outcomes] == [OutcomeKind.ACCEPTED] * 40
    assert server.connections <= 8
    assert server.paths().count("/api/clusters/") == 1
    await sink.aclose()
