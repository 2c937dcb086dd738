"""Servers that are away, die in mid-publish, stand still, lose answers, or change their mind about us."""

from __future__ import annotations

import json
import signal
import ssl
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from slurmsyncd.delivery import OutcomeKind
from slurmsyncd.model import EventKind
from slurmsyncd.pipeline.store_thread import StoreThread
from slurmsyncd.sinks.nats.connection import ConnectionFailed, NatsConnection
from slurmsyncd.store import open_store
from tests.fakes import FakeSink
from tests.system.nats.proxy import between
from tests.system.nats.server import JETSTREAM, NatsServer, running
from tests.unit.sinks.nats.parts import (
    SUBJECT,
    delivering,
    delivery,
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
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from nats.aio.msg import Msg

    from slurmsyncd.delivery import Outcome
    from slurmsyncd.sinks.nats.sink import NatsSink
    from slurmsyncd.store import SqliteStore

pytestmark = pytest.mark.anyio


def tally(events: list[dict[str, Any]], count: int) -> tuple[int, int]:
    """Return how many events of so many whole runs are missing, and how many are there twice."""
    seen = Counter(key_of(event) for event in events)
    return 2 * count - len(seen), sum(seen.values()) - len(seen)


async def again_until(told: NatsSink, wanted: Callable[[Outcome], bool]) -> None:
    """Tell the same start again until the outcome is the wanted one."""
    with anyio.fail_after(60):
        while not wanted(await told.deliver(entry())):  # noqa: ASYNC110 - it is in the server
            await anyio.sleep(0.05)


@pytest.mark.parametrize("mode", ["core", "jetstream"])
async def test_n1_a_server_that_is_away_at_the_start_delays_nobody(
    nats_package: None, tmp_path: Path, mode: str
) -> None:
    """Another sink is told everything meanwhile; when the server comes, it is told everything, too."""
    (tmp_path / "nats").mkdir()
    server = NatsServer(tmp_path / "nats")
    server.start()  # to have its port
    await make_stream(server.url)
    server.kill()
    store = open_store(tmp_path / "state", ("nats", "rest")).store
    record(store, runs(20), ended=True)
    other = FakeSink()
    thread = StoreThread()
    try:
        async with sink(server.url, mode=mode) as told, delivering(told, store, thread) as loop:
            async with delivering(other, store, thread):
                await until(lambda: not sum(store.counts("rest").states.values()))
            await until(lambda: loop.health.pause_reason == "unreachable")
            assert open_steps(store) == 20
            server.start()
            await until(lambda: not open_steps(store))
            assert loop.health.pause_reason is None
    finally:
        store.close()
        server.stop()


@pytest.mark.parametrize("mode", ["core", "jetstream"])
async def test_n2_the_server_is_killed_in_mid_publish(
    server: NatsServer, store: SqliteStore, mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """By JetStream nothing is lost and nothing is there twice; by core NATS the loss is counted."""
    count, kills = 600, (150, 350, 500)
    await make_stream(server.url)
    record(store, runs(count), ended=True)
    async with listener(server.url) as heard, sink(server.url, mode=mode) as told:
        async with delivering(told, store) as loop:
            for left in kills:
                await until(lambda left=left: open_steps(store) <= count - left)  # type: ignore[misc]
                server.kill()
                server.start()
            await until(lambda: not open_steps(store))
        interrupted = loop.health.results.get("connection_lost", 0)
        heard_events = [json.loads(message.data) for message in heard]
    events = await stored(server.url) if mode == "jetstream" else heard_events
    lost, doubled = tally(events, count)
    with capsys.disabled():
        told_twice = loop.health.results.get("duplicate", 0)
        print(  # noqa: T201 - these figures are what the test is for
            f"\nN2 {mode}: {2 * count} events, kill -9 x{len(kills)}, {interrupted} interrupted: "
            f"{lost} lost, {doubled} doubled, {told_twice} duplicates recognised"
        )
    if mode == "jetstream":
        assert (lost, doubled) == (0, 0)
        order = [key_of(event) for event in events]
        assert all(order.index((n, "start")) < order.index((n, "stop")) for n in range(1, count + 1))


async def test_n2_a_failed_flush_keeps_the_event(server: NatsServer) -> None:
    """Core NATS: what was written and not confirmed is no success, and charged to no entry."""
    async with between(server.port) as proxy, sink(proxy.url, timeout=0.5) as told:
        assert (await told.deliver(entry())).result is OutcomeKind.ACCEPTED
        proxy.mute = True
        async with listener(server.url) as heard:
            outcome = await told.deliver(entry())
            assert (outcome.result, outcome.reason) == (OutcomeKind.SINK_UNAVAILABLE, "connection_lost")
            proxy.mute = False
            assert (await told.deliver(entry())).result is OutcomeKind.ACCEPTED
            await until(lambda: len(heard) == 2)  # it had been read after all: told twice, never not at all


@pytest.mark.parametrize("how", ["cut", "mute"])
async def test_n3_an_acknowledgement_that_is_lost_is_asked_for_again(server: NatsServer, how: str) -> None:
    """Within the window the repeat is a duplicate, which is success, and is stored once."""
    await make_stream(server.url)
    async with between(server.port) as proxy, sink(proxy.url, mode="jetstream", timeout=0.5) as told:
        assert (await told.probe()).result is OutcomeKind.ACCEPTED
        setattr(proxy, how, True)
        first = await told.deliver(entry())
        assert first.result in (OutcomeKind.FAILED, OutcomeKind.SINK_UNAVAILABLE)
        proxy.mute = False
        again = await told.deliver(entry())
    assert b"JOBS" in proxy.lost  # the server had acknowledged it
    assert (again.result, again.reason) == (OutcomeKind.ALREADY_DELIVERED, "duplicate")
    assert len(await stored(server.url)) == 1


async def test_n3_after_the_window_it_is_stored_again(server: NatsServer) -> None:
    """That is what the window has to be long for; consumers can still tell by the id."""
    await make_stream(server.url, duplicate_window=0.1)
    async with sink(server.url, mode="jetstream") as told:
        assert (await told.deliver(entry())).reason == "stored"
        await again_until(told, lambda outcome: outcome.reason == "stored")
    assert len(await stored(server.url)) == 2


@pytest.mark.parametrize("mode", ["core", "jetstream"])
async def test_n6_credentials_that_are_revoked_while_connected(
    nats_package: None, tmp_path: Path, store: SqliteStore, mode: str
) -> None:
    """The sink is paused, loudly, and nothing is lost; with the new password in the file it goes on."""
    folder, password = tmp_path / "nats", tmp_path / "password"
    folder.mkdir()
    password.write_text("old")
    password.chmod(0o600)

    def login(word: str) -> str:
        return JETSTREAM + f'authorization {{ user: "sync", password: "{word}" }}\n'

    with running(folder, login("old")) as server:
        made: dict[str, Any] = {"mode": mode, "user": "sync", "password_file": str(password)}
        if mode == "jetstream":
            made |= {"stream": "JOBS", "manage_stream": True}
        record(store, runs(10))
        async with sink(server.url, **made) as told, delivering(told, store) as loop:
            await until(lambda: loop.health.answers == 10)
            server.reload(login("new"))
            record(store, runs(10, first=100))
            loop.wake()
            await until(lambda: loop.health.pause_reason == "credentials")
            assert loop.health.pause.action_required
            assert store.counts("nats").states["ready"] == 10
            password.write_text("new")
            await until(lambda: loop.health.answers == 20)
            assert loop.health.pause_reason is None


@pytest.mark.parametrize("way", ["publish", "ask", "tell", "listen"])
async def test_n2_a_connection_that_breaks_right_before_a_call_is_lost(server: NatsServer, way: str) -> None:
    """Whatever asyncio makes of it: the sink is down, and nothing else ends."""
    link = NatsConnection("nats", 5.0)
    await link.open(server.url, ssl.create_default_context(), {}, tls_wanted=False)

    async def hear(_: Msg) -> None:
        return None

    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "publish": lambda: link.publish(SUBJECT, b"x", {}),
        "ask": lambda: link.request(SUBJECT, b"x"),
        "tell": lambda: link.publish_unconfirmed(SUBJECT, b"x"),
        "listen": lambda: link.subscribe(hear),
    }
    link._client._transport._io_writer.transport.close()  # type: ignore[union-attr]
    with suppress(ConnectionFailed):
        while link.alive:  # the first call may only end the task of nats-py that writes
            await calls[way]()
            await anyio.lowlevel.checkpoint()
    await link.close()


@pytest.mark.parametrize("mode", ["core", "jetstream"])
async def test_n8_a_server_that_stands_still_fills_no_buffer(
    server: NatsServer, store: SqliteStore, mode: str
) -> None:
    """What is not acknowledged is not followed by more: few messages wait, however many are due."""
    await make_stream(server.url)
    record(store, [replace(run, script="x" * 60_000) for run in runs(300)])
    async with sink(server.url, mode=mode, timeout=1.0) as told, delivering(told, store) as loop:
        await until(lambda: loop.health.answers > 0)
        server.signal(signal.SIGSTOP)
        highest = 0

        def in_trouble() -> bool:
            nonlocal highest
            highest = max(highest, _waiting(told))
            return loop.health.pause_reason is not None

        await until(in_trouble)
        server.signal(signal.SIGCONT)
        await until(lambda: open_steps(store) == store.counts("nats").states.get("idle", 0))
    assert highest <= 6 * 70_000


def _waiting(told: NatsSink) -> int:
    """Return the bytes that nats-py holds back for us; its own limit is 2 MiB."""
    link = told._connector._link
    return link._client.pending_data_size if link is not None else 0


async def test_a_connection_that_ends_between_two_events_costs_nothing(server: NatsServer) -> None:
    """It is noticed, and the next event finds a new one."""
    async with sink(server.url) as told:
        assert (await told.deliver(entry())).result is OutcomeKind.ACCEPTED
        server.kill()
        server.start()
        await again_until(told, lambda outcome: outcome.result is OutcomeKind.ACCEPTED)


async def test_a_stop_amid_an_exchange_leaves_a_usable_sink(server: NatsServer) -> None:
    """An attempt that is cancelled takes its connection along, so no answer is taken for another's."""
    async with sink(server.url) as told:
        assert (await told.deliver(entry())).result is OutcomeKind.ACCEPTED
        server.signal(signal.SIGSTOP)
        with anyio.move_on_after(0.2):
            await told.deliver(entry())
        server.signal(signal.SIGCONT)
        async with listener(server.url) as heard:
            assert (await told.deliver(entry(run=job(job_id=8)))).result is OutcomeKind.ACCEPTED
            await until(lambda: any(b'"job_id":8' in message.data for message in heard))


async def test_n1_what_cannot_be_told_waits_with_its_start_first(
    server: NatsServer, store: SqliteStore
) -> None:
    """No stop is due before its start has been told."""
    record(store, runs(5), ended=True)
    server.kill()
    async with sink(server.url) as told:
        loop = delivery(told, store)
        await loop.run(until_idle=True)
        assert loop.health.pause_reason == "unreachable"
        assert len(store.due("nats", EventKind.START, 2e9, 100)) == 5
        assert len(store.due("nats", EventKind.STOP, 2e9, 100)) == 0
