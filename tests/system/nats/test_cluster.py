"""A JetStream cluster of three nodes, of which one at a time is killed under load."""

from __future__ import annotations

import contextlib
import socket
from collections import Counter
from typing import TYPE_CHECKING

import anyio
import nats.errors
import pytest

from tests.system.nats.server import JETSTREAM, NatsServer
from tests.unit.sinks.nats.parts import (
    client,
    delivering,
    key_of,
    open_steps,
    record,
    runs,
    sink,
    stored,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nats.aio.client import Client

    from slurmsyncd.store import SqliteStore

pytestmark = pytest.mark.anyio

NODES = 3


@pytest.fixture
def cluster(nats_package: None, tmp_path: Path) -> Iterator[list[NatsServer]]:
    """Return three servers that know each other."""
    with contextlib.ExitStack() as holding:
        holders = [holding.enter_context(socket.socket()) for _ in range(NODES)]
        for holder in holders:
            holder.bind(("127.0.0.1", 0))
        ports = [holder.getsockname()[1] for holder in holders]
    routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
    nodes = []
    try:
        for number, port in enumerate(ports):
            folder = tmp_path / f"node{number}"
            folder.mkdir()
            joined = f'cluster {{ name: test, listen: "127.0.0.1:{port}", routes: [{routes}] }}\n'
            nodes.append(NatsServer(folder, JETSTREAM + joined))
            nodes[-1].start()
        yield nodes
    finally:
        for node in nodes:
            node.stop()


async def test_n2_one_node_of_three_at_a_time_is_killed(
    cluster: list[NatsServer], store: SqliteStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whichever node dies, also the stream's leader: nothing is lost, and nothing is there twice."""
    each = 100
    urls = [node.url for node in cluster]
    made = {"mode": "jetstream", "stream": "JOBS", "manage_stream": True, "timeout": 2.0}
    async with sink(*urls, **made) as told, delivering(told, store) as loop:
        for number, node in enumerate(cluster):
            record(store, runs(each, first=1 + number * each), ended=True)
            loop.wake()
            await until(lambda number=number: open_steps(store) < each - 10)  # type: ignore[misc]
            node.kill()
            await until(lambda: not open_steps(store), at_most_s=120)
            node.start()
            await current(cluster)
    events = [key_of(event) for event in await stored(urls[0])]
    lost, doubled = 2 * NODES * each - len(set(events)), len(events) - len(set(events))
    with capsys.disabled():
        print(  # noqa: T201 - these figures are what the test is for
            f"\nN2 cluster: {2 * NODES * each} events, each node killed once, "
            f"{loop.health.results}: {lost} lost, {doubled} doubled"
        )
    assert (lost, doubled) == (0, 0)
    assert all(order == ["start", "stop"] for order in in_order(events).values())
    assert Counter(kind for _, kind in events) == {"start": NODES * each, "stop": NODES * each}


def in_order(events: list[tuple[int, str]]) -> dict[int, list[str]]:
    """Return the kinds of each job's events, in the stream's order."""
    found: dict[int, list[str]] = {}
    for job_id, kind in events:
        found.setdefault(job_id, []).append(kind)
    return found


async def current(cluster: list[NatsServer]) -> None:
    """Wait until every node of the cluster has caught up, so that another one may die."""
    with anyio.fail_after(120):
        async with client(cluster[0].url) as other:
            while not await caught_up(other):  # noqa: ASYNC110 - it is in the servers
                await anyio.sleep(0.1)


async def caught_up(other: Client) -> bool:
    try:
        found = (await other.jetstream().stream_info("JOBS")).cluster
    except nats.errors.Error:  # no leader yet
        return False
    peers = (found and found.leader and found.replicas) or []
    return len(peers) == NODES - 1 and all(peer.current for peer in peers)
