"""A store with a few runs, and a daemon-like server of it on a real UNIX socket."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from slurmsyncd.config import Config, DaemonConfig, SinkConfig
from slurmsyncd.control.server import LIMITS, control_handler, control_sockets
from slurmsyncd.delivery import DeadLetter, Park
from slurmsyncd.http_server.server import serve
from slurmsyncd.pipeline.store_thread import StoreThread
from tests.unit.store.builders import T0, key, opened, plan, settle, started, starts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from slurmsyncd.control.server import Live
    from slurmsyncd.control.store_requests import ControlRequest
    from slurmsyncd.store import SqliteStore


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """The configuration of a daemon whose files are all in one directory."""
    daemon = DaemonConfig(
        state_dir=tmp_path / "state",
        lastrun_file=tmp_path / "state" / "lastrun",
        pid_file=tmp_path / "run" / "slurmsyncd.pid",
    )
    return Config(daemon=daemon, sinks={"rest": SinkConfig(name="rest", url="http://127.0.0.1:1")})


def fill(store: SqliteStore) -> None:
    """Write down three runs: one waits, one is parked, one is dead."""
    store.record(plan(started(key(1)), started(key(2)), started(key(3)), cursor=T0), T0)
    parked, dead = [each for each in starts(store, T0 + 1) if each.start.key.job_id > 1]
    settle(store, [parked], Park(T0 + 9_999_999_999, "no_subcluster", "no sub-cluster has n1"), T0 + 1)
    settle(store, [dead], DeadLetter("http_400", "unknown field"), T0 + 1)


@pytest.fixture
def filled(config: Config) -> Config:
    """A configuration whose store has something in it, and which no daemon runs."""
    store = opened(config.daemon.state_dir)
    fill(store)
    store.close()
    return config


@contextmanager
def serving(config: Config, live: Live = MappingProxyType({})) -> Iterator[SqliteStore]:
    """Serve the store of a configuration on its control socket, as the daemon does, and its live requests."""
    store = opened(config.daemon.state_dir)
    ready, done = threading.Event(), threading.Event()

    async def serve_until_done() -> None:
        thread = StoreThread()

        async def in_store(request: ControlRequest[Any]) -> Any:
            return await thread(request.run, store)

        with control_sockets(config.daemon) as sockets:
            ready.set()
            async with anyio.create_task_group() as group:
                group.start_soon(
                    serve, [sock.dup() for sock in sockets], control_handler(in_store, live), LIMITS
                )
                await anyio.to_thread.run_sync(done.wait)
                group.cancel_scope.cancel()

    server = threading.Thread(target=anyio.run, args=(serve_until_done,))
    server.start()
    try:
        assert ready.wait(30)
        yield store
    finally:
        done.set()
        server.join()
        store.close()


@pytest.fixture(params=["daemon", "alone"])
def asked(request: pytest.FixtureRequest, filled: Config) -> Iterator[Config]:
    """A filled store, once served by a daemon and once by nobody."""
    if request.param == "alone":
        yield filled
    else:
        with serving(filled):
            yield filled
