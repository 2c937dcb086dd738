"""``slurmsyncd relay`` as a process: from the stream to the backend, once and in order."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import anyio
import pytest

from slurmsyncd.model import EventKind
from slurmsyncd.sinks.nats.event import job_event
from tests.unit.relay.parts import (
    all_settled,
    assert_once_and_in_order,
    backend,
    ended,
    make_consumer,
    publish,
    relay,
    tally,
    unsettled,
)
from tests.unit.sinks.nats.parts import SUBJECT, client, runs, stored, until

if TYPE_CHECKING:
    from pathlib import Path

    from nats.aio.msg import Msg

    from tests.system.nats.server import NatsServer

pytestmark = pytest.mark.anyio


async def test_starts_and_stops_reach_the_backend_and_are_settled(server: NatsServer, tmp_path: Path) -> None:
    """One relay, started before there is a stream; SIGTERM ends it cleanly, with nothing left to be told."""
    jobs = runs(10)
    async with backend() as at:
        with relay(tmp_path, at, server.url) as (only,):
            await publish([server.url], jobs)
            await until(lambda: len(ended(at)) == len(jobs))
            await all_settled(server.url)
            assert only.stop() == 0
            assert "Traceback" not in only.log
            assert not (only.root / "run" / "relay.pid").exists()
        assert_once_and_in_order(at, jobs)


async def test_p2_relays_are_killed_at_random_under_load(
    server: NatsServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two relays share the consumer, and again and again one is killed: each run arrives once, in order."""
    dice = random.Random(6)
    jobs, killed = runs(200), 0
    async with backend() as at, anyio.create_task_group() as group:
        at.knobs.delay_s = 0.02
        await make_consumer([server.url])
        with relay(tmp_path, at, server.url, count=2) as both:
            group.start_soon(publish, [server.url], jobs)
            await until(lambda: len(at.rows()) > 5)
            while len(ended(at)) < len(jobs) and killed < 5:
                victim = dice.choice(both)
                victim.kill()
                killed += 1
                await anyio.sleep(dice.uniform(0.2, 1.0))
                victim.start()
                await anyio.sleep(dice.uniform(0.2, 1.5))
            await until(lambda: len(ended(at)) == len(jobs))
            await all_settled(server.url)
            assert all("Traceback" not in each.log for each in both)
        with capsys.disabled():
            print(f"\nP2 two relays, one killed x{killed}, {tally(at, jobs)}")  # noqa: T201 - what it is for
        assert killed
        assert_once_and_in_order(at, jobs)
    assert len(await stored(server.url)) == 2 * len(jobs)


async def test_b1_the_backend_is_down_for_a_while(server: NatsServer, tmp_path: Path) -> None:
    """What is published meanwhile stays in the stream, and a relay stopped then loses nothing of it."""
    jobs = runs(30)
    async with backend(state=tmp_path / "backend") as at:
        url = at.url
        with relay(tmp_path, at, server.url) as (only,):
            await until(lambda: '"ready"' in only.log)
            only.stop()
    with relay(tmp_path / "again", at, server.url) as (only,):
        await publish([server.url], jobs)
        await until(lambda: "sink_unavailable" in only.log)
        assert only.stop() == 0
        # The server counts one that was just given back twice for a moment.
        assert await unsettled(server.url) >= 2 * len(jobs)
        only.start()
        async with backend(state=tmp_path / "backend", listen=url.removeprefix("http://")) as at:
            await until(lambda: len(ended(at)) == len(jobs))
            await all_settled(server.url)
            assert_once_and_in_order(at, jobs)
    assert not only.dead


async def test_what_is_not_understood_or_never_taken_becomes_a_dead_letter(
    server: NatsServer, tmp_path: Path
) -> None:
    """With its reason and its body, in the file and in the log, once the backend took another run after it."""
    good, refused, later = runs(3)
    async with backend() as at:
        at.knobs.refuse_job_ids = [refused.key.job_id]
        with relay(tmp_path, at, server.url) as (only,):
            await publish([server.url], [refused])
            async with client(server.url) as other:
                for body in (b"\xff{", b'{"version":2,"kind":"start"}'):
                    await other.jetstream().publish(SUBJECT, body)
                forged = job_event(EventKind.START, good, None, "other", 0)
                await other.jetstream().publish(SUBJECT, forged)
            await until(lambda: [each["status"] for each in at.requests].count(400))
            await publish([server.url], [good])
            await until(lambda: len(only.dead) == 4)
            await until(
                lambda: [each["status"] for each in at.requests].count(400) > 2
            )  # its stop came along
            await publish([server.url], [later])
            await until(lambda: len(only.dead) == 5)
            await until(lambda: ended(at) == {good.key.job_id, later.key.job_id})
            await all_settled(server.url)
            assert only.log.count('"dead_letter"') >= 5
        assert {row["job_id"] for row in at.rows()} == {good.key.job_id, later.key.job_id}
    letters = {letter["seq"]: letter for letter in only.dead}
    assert [letters[seq]["reason"] for seq in (3, 4, 5)] == ["not_understood"] * 3
    assert "of cluster other" in letters[5]["detail"]
    assert letters[3]["body"] == "\\xff{"
    assert [json.loads(letters[seq]["body"])["kind"] for seq in (1, 2)] == ["start", "stop"]
    assert letters[1]["reason"] == letters[2]["reason"] != "not_understood"


async def test_a_pull_that_is_completed_is_no_trouble(server: NatsServer, tmp_path: Path) -> None:
    """From NATS 2.10 on the server says so after each full pull, or before its last message; the connection stays."""
    jobs = runs(3)
    await publish([server.url], jobs)
    async with backend() as at, client(server.url) as newer:

        async def say(pull: Msg) -> None:
            await newer.publish(pull.reply, headers={"Status": "409", "Description": "Batch Completed"})

        await newer.subscribe("$JS.API.CONSUMER.MSG.NEXT.>", cb=say)
        await newer.flush()
        with relay(tmp_path, at, server.url) as (only,):
            await until(lambda: len(ended(at)) == len(jobs))
            await all_settled(server.url)
            assert "stream_unavailable" not in only.log
        assert_once_and_in_order(at, jobs)


async def test_a_stop_whose_start_never_comes_brings_it_along(server: NatsServer, tmp_path: Path) -> None:
    """The start went out before the stream was there: the run arrives all the same, once."""
    jobs = runs(3)
    async with backend() as at:
        with relay(tmp_path, at, server.url):
            await publish([server.url], jobs, EventKind.STOP)
            await until(lambda: len(ended(at)) == len(jobs))
            await all_settled(server.url)
        assert_once_and_in_order(at, jobs)


async def test_n2_the_server_is_killed_in_mid_delivery(server: NatsServer, tmp_path: Path) -> None:
    """The relay comes back by itself and settles the rest; a second relay on its PID file is refused."""
    jobs = runs(60)
    async with backend() as at, anyio.create_task_group() as group:
        await make_consumer([server.url])
        with relay(tmp_path, at, server.url) as (only,):
            group.start_soon(publish, [server.url], jobs)
            await until(lambda: len(at.rows()) > 5)
            server.kill()
            await until(lambda: "stream_unavailable" in only.log)
            assert await anyio.to_thread.run_sync(only.run_another) == 75
            server.start()
            await until(lambda: len(ended(at)) == len(jobs))
            await all_settled(server.url)
            assert "Traceback" not in only.log
        assert_once_and_in_order(at, jobs)
