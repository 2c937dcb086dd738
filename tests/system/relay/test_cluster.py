"""A JetStream cluster of three nodes on loopback, of which one after the other is killed under load."""

from __future__ import annotations

import contextlib
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import nats.errors
import nats.js.errors
import pytest

from tests.system.nats.server import JETSTREAM, NatsServer
from tests.unit.relay.parts import (
    all_settled,
    assert_once_and_in_order,
    backend,
    ended,
    make_consumer,
    publish,
    relay,
    tally,
)
from tests.unit.sinks.nats.parts import STREAM, client, key_of, runs, stored

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

pytestmark = pytest.mark.anyio

NODES = 3
CLUSTER = '\ncluster {{ name: "three", listen: "127.0.0.1:{port}", routes: [{routes}] }}\n'


def nodes(root: Path, undo: ExitStack) -> list[NatsServer]:
    """Run three servers that know of each other."""
    ports = free_ports(NODES)
    routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
    made = []
    for number, port in enumerate(ports):
        folder = root / f"node{number}"
        folder.mkdir()
        block = CLUSTER.replace("{port}", str(port)).replace("{routes}", routes)
        made.append(NatsServer(folder, JETSTREAM + block))
        undo.callback(made[-1].kill)
        made[-1].start()
    return made


def free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        socks = [held.enter_context(socket.socket()) for _ in range(count)]
        for sock in socks:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in socks]


async def whole(url: str) -> None:
    """Wait until the stream has a leader, and two followers that are up to date."""
    with anyio.fail_after(90):
        while not await is_whole(url):  # noqa: ASYNC110 - the condition is in the servers
            await anyio.sleep(0.2)


async def is_whole(url: str) -> bool:
    errors = (nats.errors.Error, nats.js.errors.Error, OSError)
    with contextlib.suppress(*errors):
        async with client(url) as other:
            found = (await other.jetstream().stream_info(STREAM)).cluster
            replicas = (found and found.replicas) or []
            current = [each for each in replicas if each.current and not each.offline]
            return bool(found and found.leader) and len(current) == NODES - 1
    return False


async def test_n2_a_node_at_a_time_is_killed_under_load(
    nats_package: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Publisher and relays go on with the others: nothing is lost or doubled in stream and backend."""
    jobs, each = runs(120), 40
    async with backend() as at:
        with ExitStack() as undo:
            servers = await anyio.to_thread.run_sync(nodes, tmp_path, undo)
            urls: Sequence[str] = [server.url for server in servers]
            await make_consumer(urls)
            with relay(tmp_path / "relays", at, *urls, count=2):
                for number, victim in enumerate(servers):
                    await whole(urls[number - 1])
                    async with anyio.create_task_group() as group:
                        group.start_soon(publish, urls, jobs[number * each : (number + 1) * each])
                        await anyio.sleep(0.02)  # somewhere in the middle; any moment is a good one
                        victim.kill()
                    victim.start()
                await whole(urls[0])
                with anyio.fail_after(120):
                    while len(ended(at)) < len(jobs):  # noqa: ASYNC110 - the condition is in the backend
                        await anyio.sleep(0.1)
                await all_settled(urls[0])
                events = [key_of(event) for event in await stored(urls[0])]
        with capsys.disabled():
            kept = f"{len(events)} events in the stream, {len(events) - len(set(events))} of them doubled"
            print(f"\nN2 three nodes, each killed once, two relays, {kept}, {tally(at, jobs)}")  # noqa: T201
        assert_once_and_in_order(at, jobs)
    assert sorted(events) == sorted((run.key.job_id, kind) for run in jobs for kind in ("start", "stop"))
