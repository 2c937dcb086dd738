"""A relay in hard times: large and poisoned messages, a signal amid a delivery, a backend that is away for long."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest
from nats.js.api import AckPolicy, ConsumerConfig

from slurmsyncd.delivery import OutcomeKind
from slurmsyncd.model import EventKind
from slurmsyncd.relay.in_flight import MOST_BYTES
from tests.system.nats.server import JETSTREAM, NatsServer, running
from tests.unit.relay.parts import (
    DURABLE,
    Relay,
    all_settled,
    assert_once_and_in_order,
    backend,
    ended,
    make_consumer,
    publish,
    relay,
    sink_of,
)
from tests.unit.sinks.nats.parts import STREAM, SUBJECT, client, runs, stored, until

if TYPE_CHECKING:
    from slurmsyncd.model import Job

pytestmark = pytest.mark.anyio

START_AT = 1_700_000_000
PATIENCE_S = 240.0


def event(job_id: int, **more: object) -> bytes:
    run = {"cluster": "demo", "job_id": job_id, "start_at": START_AT, "state": "RUNNING", "user": "ada"}
    return json.dumps({"version": 1, "kind": "start", "run": {**run, "nodes": ["cn001"], **more}}).encode()


async def put(server: NatsServer, *bodies: bytes) -> None:
    async with client(server.url) as other:
        for body in bodies:
            await other.jetstream().publish(SUBJECT, body)


def resident_mib(at: Relay) -> int:
    (line,) = [line for line in Path(f"/proc/{at.pid}/status").read_text().splitlines() if "VmHWM" in line]
    return int(line.split()[1]) // 1024


async def test_x1_many_large_messages_take_little_memory(server: NatsServer, tmp_path: Path) -> None:
    """Few of them are in hand at a time, however many wait; all 60 of these would take half a gigabyte."""
    wide = [event(n, tres={f"x{word}": 1 for word in range(60_000)}) for n in range(1, 61)]
    async with backend() as at:
        at.knobs.delay_s = 0.2
        await make_consumer([server.url], ack_wait_s=60.0)
        await put(server, *wide)
        with relay(tmp_path, at, server.url) as (only,):
            await until(lambda: len(at.rows()) == len(wide), at_most_s=PATIENCE_S)
            assert resident_mib(only) < 250
            await all_settled(server.url)


async def test_a_message_that_is_larger_than_all_room_is_taken_alone(
    nats_package: None, tmp_path: Path
) -> None:
    """It holds up nothing that comes after it, and is a dead letter if it is no event."""
    (tmp_path / "nats").mkdir()
    with running(tmp_path / "nats", JETSTREAM + "max_payload: 8M\n") as server:
        async with backend() as at:
            await make_consumer([server.url], ack_wait_s=60.0)
            await put(server, event(1), b"x" * (MOST_BYTES + 1000), event(2), b"[" * 100_000, event(3))
            with relay(tmp_path, at, server.url) as (only,):
                await until(lambda: {row["job_id"] for row in at.rows()} == {1, 2, 3})
                await until(lambda: len(only.dead) == 2)
                await all_settled(server.url)
                assert "stream_unavailable" not in only.log


async def test_p1_sigterm_amid_a_delivery_settles_it_and_gives_the_rest_to_another_at_once(
    server: NatsServer, tmp_path: Path
) -> None:
    """With hundreds in hand and a slow backend: status 0, and the next relay waits for no ack_wait."""
    jobs = runs(150)
    async with backend() as at:
        at.knobs.delay_s = 0.3
        await make_consumer([server.url], ack_wait_s=3600.0)
        await publish([server.url], jobs)
        with relay(tmp_path, at, server.url) as (first,):
            await until(at.rows)
            assert await anyio.to_thread.run_sync(first.stop) == 0
            assert "Traceback" not in first.log
            at.knobs.delay_s = 0.0
            with relay(tmp_path / "second", at, server.url):
                await until(lambda: len(ended(at)) == len(jobs))
                await all_settled(server.url)
        assert_once_and_in_order(at, jobs)


async def test_b1_a_backend_that_is_away_for_many_ack_waits_gets_each_run_once(
    server: NatsServer, tmp_path: Path
) -> None:
    """Two relays go on saying that they are at it; what is given to others and back is told once."""
    jobs = runs(40)
    async with backend() as at:
        at.knobs.bad_gateways = 2**31
        await make_consumer([server.url], ack_wait_s=1.0)
        await publish([server.url], jobs)
        with relay(tmp_path, at, server.url, count=2) as both:
            before = at.knobs.bad_gateways
            await until(lambda: before - at.knobs.bad_gateways > 20)
            await anyio.sleep(4.0)  # several times ack_wait: what is being tested is that time passes
            at.knobs.bad_gateways = 0
            await until(lambda: len(ended(at)) == len(jobs))
            await all_settled(server.url)
            assert not any(each.dead for each in both)
        assert_once_and_in_order(at, jobs)


async def test_a_stop_waits_for_a_start_that_another_relay_has_in_hand(
    server: NatsServer, tmp_path: Path
) -> None:
    """Starts that take long at one relay, stops that meet the other: still each run once and in order."""
    jobs: list[Job] = [replace(run, script="x" * 100) for run in runs(12)]
    async with backend() as at:
        at.knobs.delay_s = 1.5
        await make_consumer([server.url], ack_wait_s=60.0)
        with relay(tmp_path, at, server.url, count=2):
            await publish([server.url], jobs, EventKind.START)
            await until(lambda: len(at.requests) > 0)
            await publish([server.url], jobs, EventKind.STOP)
            await until(lambda: len(ended(at)) == len(jobs))
            await all_settled(server.url)
        assert_once_and_in_order(at, jobs)
    assert len(await stored(server.url)) == 2 * len(jobs)


async def test_a_consumer_that_gives_up_is_refused(server: NatsServer, tmp_path: Path) -> None:
    """It would drop a run after so many deliveries, and held stops and outages use them up."""
    async with sink_of([server.url]) as made:
        assert (await made.probe()).result is OutcomeKind.ACCEPTED
    limited = ConsumerConfig(durable_name=DURABLE, ack_policy=AckPolicy.EXPLICIT, max_deliver=5)
    async with backend() as at:
        async with client(server.url) as other:
            await other.jetstream().add_consumer(STREAM, limited)
        with relay(tmp_path, at, server.url) as (only,):
            await publish([server.url], runs(1))
            await until(lambda: "wrong_consumer" in only.log)
            assert "max_deliver" in only.log
            async with client(server.url) as other:
                await other.jetstream().delete_consumer(STREAM, DURABLE)
            await until(lambda: len(ended(at)) == 1)
