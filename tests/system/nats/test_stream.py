"""What a stream can do to events: not be there, be full, forget, refuse; and what a user may not do."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from nats.js.api import DiscardPolicy, RetentionPolicy
from structlog.testing import capture_logs

from slurmsyncd.config import SinkConfig
from slurmsyncd.delivery import OutcomeKind
from slurmsyncd.sinks.nats.connection import ConnectionFailed
from slurmsyncd.sinks.nats.publish import _judged
from slurmsyncd.sinks.nats.stream import longest_retry_s, subject_covers
from tests.system.nats.server import JETSTREAM, NatsServer, running
from tests.unit.sinks.nats.parts import (
    STREAM,
    SUBJECT,
    client,
    delivering,
    key_of,
    listener,
    make_stream,
    open_steps,
    record,
    runs,
    sink,
    stored,
    until,
)
from tests.unit.sinks.parts import entry, job

if TYPE_CHECKING:
    from pathlib import Path

    from slurmsyncd.store import SqliteStore

pytestmark = pytest.mark.anyio


async def said(server: NatsServer, **settings: Any) -> str:
    """Return what is said of the stream when we connect, all lines in one; twice connected, said once."""
    with capture_logs() as logs:
        async with sink(server.url, mode="jetstream", **settings) as told:
            assert (await told.probe()).result is OutcomeKind.ACCEPTED
            await told._connector.aclose()
            assert (await told.probe()).result is OutcomeKind.ACCEPTED
    lines = [line["detail"] for line in logs if line["event"] == "nats_stream"]
    assert len(set(lines)) == len(lines)
    return "\n".join(lines)


async def test_n3_a_window_shorter_than_the_longest_retry_is_warned_of(server: NatsServer) -> None:
    """With the window that is wanted, and the command that sets it; a long enough one is no matter."""
    await make_stream(server.url, duplicate_window=120.0)
    wanted = longest_retry_s(SinkConfig())
    assert wanted > 3600
    assert f"after 120 s, but it may be sent again after {wanted} s" in (text := await said(server))
    assert f"nats stream edit JOBS --dupe-window={wanted}s" in text
    assert "window" not in await said(server, park_interval=60.0, backoff_max=30.0)


async def test_a_good_stream_is_worth_no_word(server: NatsServer) -> None:
    """No warning where nothing can be lost."""
    await make_stream(server.url, discard=DiscardPolicy.NEW, max_bytes=10**8)
    assert await said(server) == ""


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"max_msgs": 100}, "drops its oldest events when it is full: nats stream edit JOBS --discard=new"),
        ({"max_bytes": 10**7}, "drops its oldest"),
        ({"max_msgs_per_subject": 1}, "drops its oldest"),
        ({"retention": RetentionPolicy.INTEREST}, "only while a consumer wants them"),
        ({"max_msg_size": 5000}, "takes messages up to 5000 bytes"),
        ({"subjects": ["slurm.alpha.job"]}, "does not take all of slurm.*.job"),
    ],
)
async def test_n7_what_may_cost_events_is_said_at_connect(
    server: NatsServer, changes: dict[str, Any], warning: str
) -> None:
    """Each with its remedy; among them a stream that discards the old ones."""
    await make_stream(server.url, **changes)
    assert warning in await said(server, stream=STREAM)


async def test_n4_no_stream_pauses_the_sink_and_drops_nothing(server: NatsServer, store: SqliteStore) -> None:
    """An alarm that says what to do; when somebody makes the stream, all arrives."""
    record(store, runs(20), ended=True)
    async with sink(server.url, mode="jetstream") as told, delivering(told, store) as loop:
        await until(lambda: loop.health.pause_reason == "no_stream")
        assert loop.health.pause.action_required
        assert open_steps(store) == 20
        await make_stream(server.url)
        await until(lambda: not open_steps(store))
    assert len(await stored(server.url)) == 40


async def test_n4_a_stream_that_is_removed_while_we_are_connected(server: NatsServer) -> None:
    """Nobody answers on the subject: the same alarm, and the sink goes on when it is there again."""
    await make_stream(server.url)
    async with sink(server.url, mode="jetstream") as told, client(server.url) as other:
        assert (await told.deliver(entry())).result is OutcomeKind.ACCEPTED
        await other.jetstream().delete_stream(STREAM)
        outcome = await told.deliver(entry())
        assert (outcome.result, outcome.reason, outcome.action_required) == (
            OutcomeKind.SINK_UNAVAILABLE,
            "no_stream",
            True,
        )
        assert "manage_stream" in outcome.detail
        await make_stream(server.url)
        assert (await told.deliver(entry())).result is OutcomeKind.ACCEPTED


async def test_n4_another_stream_on_the_subject_is_not_ours(server: NatsServer) -> None:
    """What it acknowledges is not where the operator wants it."""
    await make_stream(server.url)
    async with sink(server.url, mode="jetstream", stream=STREAM) as told, client(server.url) as other:
        assert (await told.probe()).result is OutcomeKind.ACCEPTED
        await other.jetstream().delete_stream(STREAM)
        await make_stream(server.url, name="OTHER")
        outcome = await told.deliver(entry())
        assert (outcome.result, outcome.reason) == (OutcomeKind.SINK_UNAVAILABLE, "wrong_stream")


async def test_n4_without_jetstream_it_says_so(nats_package: None, tmp_path: Path) -> None:
    """The remedy is another than a missing stream's."""
    with running(tmp_path, "") as server:
        async with sink(server.url, mode="jetstream") as told:
            outcome = await told.deliver(entry())
    assert (outcome.result, outcome.reason, outcome.action_required) == (
        OutcomeKind.SINK_UNAVAILABLE,
        "no_jetstream",
        True,
    )


async def test_a_stream_is_made_only_if_asked_and_never_changed(server: NatsServer) -> None:
    """What we make lets nothing be lost; what is there stays as it is."""
    async with sink(server.url, mode="jetstream", stream=STREAM) as told:
        assert (await told.probe()).reason == "no_stream"
    made = {
        "stream": STREAM,
        "manage_stream": True,
        "clusters": {"demo": {}, "b": {"backend_name": "beta", "remote": True}},
    }
    async with client(server.url) as other:
        js = other.jetstream()
        assert await said(server, **made) == ""
        config = (await js.stream_info(STREAM)).config
        assert config.subjects == ["slurm.demo.job", "slurm.beta.job"]
        assert config.discard == DiscardPolicy.NEW
        assert config.duplicate_window == longest_retry_s(SinkConfig())
        await js.update_stream(replace(config, max_msgs=5))
        assert await said(server, **made) == ""
        assert (await js.stream_info(STREAM)).config.max_msgs == 5


async def test_n7_a_full_stream_that_refuses_new_events(server: NatsServer, store: SqliteStore) -> None:
    """Attempts fail and are made again, slower; nothing is lost when there is room again."""
    await make_stream(server.url, discard=DiscardPolicy.NEW, max_msgs=10)
    record(store, runs(10), ended=True)
    async with sink(server.url, mode="jetstream") as told, delivering(told, store) as loop:
        await until(lambda: loop.health.results.get("stream_full", 0) >= 5)
        assert loop.health.results["stored"] == 10
        async with client(server.url) as other:
            js = other.jetstream()
            config = (await js.stream_info(STREAM)).config
            await js.update_stream(replace(config, max_msgs=1000))
        await until(lambda: not open_steps(store))
    assert sorted(map(key_of, await stored(server.url))) == sorted(
        (n, kind) for n in range(1, 11) for kind in ("start", "stop")
    )


async def test_n7_a_full_stream_that_drops_old_events_takes_new_ones(server: NatsServer) -> None:
    """It was warned of; the delivery cannot know."""
    await make_stream(server.url, max_msgs=2)
    async with sink(server.url, mode="jetstream") as told:
        for n in range(1, 6):
            assert (await told.deliver(entry(run=job(job_id=n)))).result is OutcomeKind.ACCEPTED
    assert [key_of(event) for event in await stored(server.url)] == [(4, "start"), (5, "start")]


@pytest.mark.parametrize(
    ("mode", "limit"), [("core", "max_payload"), ("jetstream", "max_payload"), ("jetstream", "max_msg_size")]
)
async def test_n5_what_is_over_the_limit_goes_without_its_script_or_not_at_all(
    nats_package: None, tmp_path: Path, store: SqliteStore, mode: str, limit: str
) -> None:
    """A long script is cut, others are told all the same, and then a run on too many nodes is a dead letter."""
    (tmp_path / "nats").mkdir()
    settings = JETSTREAM + ("max_payload: 5000\n" if limit == "max_payload" else "")
    with running(tmp_path / "nats", settings) as server:
        await make_stream(server.url, **({"max_msg_size": 5000} if limit == "max_msg_size" else {}))
        long_script = job(job_id=1, script="x" * 50_000)
        many_nodes = job(job_id=2, nodes=tuple(f"node{n}" for n in range(2000)))
        record(store, [long_script, many_nodes, job(job_id=3)])
        async with (
            listener(server.url) as heard,
            sink(server.url, mode=mode) as told,
            delivering(told, store) as loop,
        ):
            await until(lambda: len(heard) == 2 and loop.health.results.get("too_large"))
            fine = [1, 3]
            with anyio.fail_after(60):
                # An attempt that overlaps the acceptance of another run proves nothing: the next one does.
                while not store.list_deliveries():
                    fine.append(max(fine) + 1)
                    record(store, [job(job_id=fine[-1])])
                    loop.wake()
                    await until(lambda: len(heard) == len(fine))
        assert dict(store.counts("nats").states) == {"dead": 1, "idle": len(fine)}
        told_of = {event["run"]["job_id"]: event["run"] for event in (json.loads(m.data) for m in heard)}
        assert sorted(told_of) == fine
        assert 3000 < len(told_of[1]["script"]) < 5000


async def test_n5_a_limit_below_every_event_is_the_streams_fault_and_costs_no_run(
    server: NatsServer, store: SqliteStore
) -> None:
    """It was set by mistake while we are connected: an alarm, no dead letter; raised again, all arrives."""
    await make_stream(server.url)
    record(store, runs(20), ended=True)
    async with (
        sink(server.url, mode="jetstream") as told,
        client(server.url) as admin,
        delivering(told, store) as loop,
    ):
        await until(lambda: not open_steps(store))
        limited = (await admin.jetstream().stream_info(STREAM)).config
        await admin.jetstream().update_stream(limited.evolve(max_msg_size=64))
        record(store, runs(103, first=101), ended=True)
        loop.wake()
        await until(lambda: loop.health.pause_reason == "too_large")
        assert loop.health.pause.action_required
        assert not store.list_deliveries()
        await admin.jetstream().update_stream(limited)
        await until(lambda: not open_steps(store))
        assert loop.health.pause_reason is None
    assert len(await stored(server.url)) == 2 * (20 + 103)


PERMISSIONS = """
authorization {{ users: [
  {{ user: "sync", password: "x", permissions: {{ publish: {publish}, subscribe: {subscribe} }} }},
  {{ user: "admin", password: "x" }}
] }}
"""
ALL = '[">"]'
NOBODY = '{ deny: [">"] }'


@pytest.mark.parametrize(
    ("mode", "publish", "subscribe"),
    [
        ("core", '["other"]', ALL),
        ("jetstream", '["$JS.API.>"]', ALL),
        ("jetstream", '["slurm.>"]', ALL),
        ("jetstream", ALL, NOBODY),
    ],
)
async def test_n6_a_user_who_may_not_is_an_alarm_at_once(
    nats_package: None, tmp_path: Path, mode: str, publish: str, subscribe: str
) -> None:
    """
    Whether publishing, asking JetStream or reading the answer is forbidden: paused, with the server's words.

    Once it is allowed, the next attempt succeeds.
    """
    password = tmp_path / "password"
    password.write_text("x")
    password.chmod(0o600)
    settings = JETSTREAM + PERMISSIONS.replace("{publish}", publish).replace("{subscribe}", subscribe)
    (tmp_path / "nats").mkdir()
    with running(tmp_path / "nats", settings) as server:
        await make_stream(server.url.replace("//", "//admin:x@"))
        made = {"user": "sync", "password_file": str(password), "mode": mode}
        async with sink(server.url, **made) as told:
            outcome = await told.deliver(entry())
            assert (outcome.result, outcome.reason, outcome.action_required) == (
                OutcomeKind.SINK_UNAVAILABLE,
                "not_permitted",
                True,
            )
            assert "permissions violation" in outcome.detail.lower()
            server.reload(JETSTREAM + PERMISSIONS.replace("{publish}", ALL).replace("{subscribe}", ALL))
            assert (await told.deliver(entry())).result is OutcomeKind.ACCEPTED


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b'{"stream":"JOBS","seq":1}', (OutcomeKind.ACCEPTED, "stored")),
        (b'{"stream":"JOBS","seq":1,"duplicate":true}', (OutcomeKind.ALREADY_DELIVERED, "duplicate")),
        (
            b'{"error":{"code":503,"err_code":10077,"description":"full"}}',
            (OutcomeKind.FAILED, "stream_full"),
        ),
        (
            b'{"error":{"code":400,"err_code":10054,"description":"large"}}',
            (OutcomeKind.REJECTED, "too_large"),
        ),
        (b'{"error":{"code":503,"err_code":10008}}', (OutcomeKind.FAILED, "stream_error")),
        (b'{"error":{"code":400,"err_code":10060}}', (OutcomeKind.SINK_UNAVAILABLE, "wrong_stream")),
        (b"", (OutcomeKind.SINK_UNAVAILABLE, "no_acknowledgement")),
        (b"ok", (OutcomeKind.SINK_UNAVAILABLE, "no_acknowledgement")),
        (b"{}", (OutcomeKind.SINK_UNAVAILABLE, "no_acknowledgement")),
        (b'{"stream":"JOBS"}', (OutcomeKind.SINK_UNAVAILABLE, "no_acknowledgement")),
        (b"\xff" * 100, (OutcomeKind.SINK_UNAVAILABLE, "no_acknowledgement")),
    ],
)
def test_only_an_acknowledgement_is_success(answer: bytes, expected: tuple[OutcomeKind, str]) -> None:
    """Anybody may subscribe to our subject and answer; what is no stream's word settles nothing."""
    try:
        outcome = _judged(answer)
    except ConnectionFailed as err:
        outcome = err.outcome
    assert (outcome.result, outcome.reason) == expected


@pytest.mark.parametrize(
    ("pattern", "subject", "expected"),
    [
        (SUBJECT, SUBJECT, True),
        ("slurm.*.job", SUBJECT, True),
        ("slurm.>", SUBJECT, True),
        (">", SUBJECT, True),
        ("slurm.*", SUBJECT, False),
        ("slurm.demo.job.>", SUBJECT, False),
        ("slurm.alpha.job", SUBJECT, False),
        ("slurm.*.job", "slurm.*.job", True),
        ("slurm.demo.job", "slurm.*.job", False),
    ],
)
def test_which_subjects_a_stream_takes(pattern: str, subject: str, expected: bool) -> None:
    """As the server matches them; a cluster that is not named yet needs a wildcard."""
    assert subject_covers(pattern, subject) is expected
