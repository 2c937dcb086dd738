"""Runs through the real store and delivery loop to a real server: what arrives, and in which order."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.unit.sinks.nats.parts import (
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

if TYPE_CHECKING:
    from slurmsyncd.store import SqliteStore
    from tests.system.nats.server import NatsServer

pytestmark = pytest.mark.anyio


async def test_core_json_tells_each_run_once_and_its_start_first(
    server: NatsServer, store: SqliteStore
) -> None:
    """Fifty runs that are over: a hundred events, in order for each run, and nothing is left to do."""
    record(store, runs(50), ended=True)
    async with listener(server.url) as heard, sink(server.url) as told, delivering(told, store):
        await until(lambda: len(heard) == 100 and not open_steps(store))
    events = [key_of(json.loads(message.data)) for message in heard]
    assert sorted(events) == sorted((n, kind) for n in range(1, 51) for kind in ("start", "stop"))
    assert all(events.index((n, "start")) < events.index((n, "stop")) for n in range(1, 51))


async def test_jetstream_json_stores_each_event_once(server: NatsServer, store: SqliteStore) -> None:
    """The same by JetStream, settled by its acknowledgements."""
    await make_stream(server.url)
    record(store, runs(50), ended=True)
    async with sink(server.url, mode="jetstream") as told, delivering(told, store) as loop:
        await until(lambda: not open_steps(store))
        assert loop.health.results == {"stored": 100}
    events = [key_of(event) for event in await stored(server.url)]
    assert sorted(events) == sorted((n, kind) for n in range(1, 51) for kind in ("start", "stop"))
    assert all(events.index((n, "start")) < events.index((n, "stop")) for n in range(1, 51))
