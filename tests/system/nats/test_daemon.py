"""The daemon as a process, a simulated Slurm, a real nats-server, and everybody who reads from it at once."""

from __future__ import annotations

import json
import time
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from slurmsyncd.sandbox.backend.server import BackendConfig, EmbeddedBackend
from slurmsyncd.sandbox.demo.environment import DemoEnvironment, simulated_cluster, stop_daemon
from slurmsyncd.sandbox.slurm.workload import Submission, request
from tests.unit.sinks.nats.parts import key_of, listener, stored, until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator
    from pathlib import Path

    from slurmsyncd.sandbox.slurm.engine import Simulation
    from tests.system.nats.server import NatsServer

pytestmark = pytest.mark.anyio

LONG_S = 3600.0
SINKS = """
[sinks.core]
type = "nats"
servers = ["{nats}"]
job_subject = "core.{{cluster}}.job"

[sinks.stream]
type = "nats"
servers = ["{nats}"]
mode = "jetstream"
stream = "JOBS"
manage_stream = true
nodestate_interval = 0

[sinks.cc]
type = "nats"
format = "cc"
servers = ["{nats}"]
job_subject = "cc.jobs"
node_subject = "cc.nodes"
url = "{url}"
token_file = "{root}/token"
stop_hold = 2
audit_interval = 1
audit_grace = 3
nodestate_interval = 1
"""


@dataclass
class Site:
    """What a test meddles with, and looks at."""

    stage: DemoEnvironment
    backend: EmbeddedBackend
    simulation: Simulation
    daemon: subprocess.Popen[bytes]

    def submit(self, count: int, duration_s: float) -> set[int]:
        submission = Submission((request(duration_s=duration_s),))
        return {self.simulation.submit(submission, time.time())[0] for _ in range(count)}

    def begun(self) -> set[int]:
        """Return the jobs that have started."""
        return {run.job_id for run in self.simulation.ledger()}

    def sql(self, statement: str, *values: object) -> list[dict[str, Any]]:
        """Look at the backend's rows, or meddle with them."""
        return self.backend._core.database.all(statement, *values)

    def shown(self, state: str) -> set[int]:
        """Return the jobs that the backend has in a state."""
        return {row["job_id"] for row in self.backend.rows() if row["job_state"] == state}


@asynccontextmanager
async def site(server: NatsServer, path: Path) -> AsyncIterator[Site]:
    """Run everything, the daemon told of three NATS sinks and of no REST sink."""
    stage = DemoEnvironment(path)
    (path / "run").mkdir(mode=0o700)
    with closing(stage.simulation("24.11", 1)) as simulation:
        config = BackendConfig(
            clusters=[simulated_cluster(simulation.nodes)], commit_interval=0.5, nats=server.url
        )
        async with EmbeddedBackend.open(config) as backend, anyio.create_task_group() as group:
            made = {"url": backend.url, "token": backend.token(), "bin_dir": str(path / "bin")}
            stage.write(cluster="demo", slurm_conf="", **made)
            text = stage.config.read_text().partition("[sinks.demo]")[0]
            sinks = SINKS.format(nats=server.url, url=backend.url, root=path)
            stage.config.write_text(text.replace("[daemon]\n", '[daemon]\nlog_format = "json"\n') + sinks)
            group.start_soon(simulation.run, 0.0, float("inf"))
            daemon = stage.start_daemon()
            try:
                yield Site(stage, backend, simulation, daemon)
            finally:
                status = await stop_daemon(daemon)
                group.cancel_scope.cancel()
                assert status == 0, stage.log.read_text()[-4000:]


async def test_every_run_reaches_everybody_by_nats_only(server: NatsServer, tmp_path: Path) -> None:
    """
    Core NATS, a stream, and cc-backend's line protocol, with a server that is killed and a backend that forgets.

    What the backend missed or lost is found by the audit, which asks by GET, and told again by NATS.
    """
    async with listener(server.url, "core.>") as heard, site(server, tmp_path) as at:
        long, short = at.submit(3, LONG_S), at.submit(5, 1.0)
        await until(lambda: at.shown("running") >= long and at.shown("completed") >= short)
        # What nobody listens for is gone by core NATS, so its listener is asked before the server dies.
        before = {(n, "start") for n in long} | {(n, kind) for n in short for kind in ("start", "stop")}
        await until(lambda: {key_of(json.loads(message.data)) for message in heard} == before)
        server.kill()
        long |= at.submit(3, LONG_S)
        await until(lambda: at.begun() >= long)
        server.start()
        await until(lambda: at.shown("running") == long)
        for table in ("job", "job_cache"):
            at.sql(f"DELETE FROM {table} WHERE job_id = ?", min(long))
        await until(lambda: at.shown("running") == long - {min(long)})
        await until(lambda: at.shown("running") == long)
        at.simulation.cancel_all(time.time())
        await until(lambda: at.shown("cancelled") == long)
        everything = sorted((n, kind) for n in long | short for kind in ("start", "stop"))
        events = await all_stored(server, len(everything))
        await until(lambda: at.sql("SELECT hostname FROM node_state"))
    assert sorted(events) == everything
    assert all(events.index((n, "start")) < events.index((n, "stop")) for n, _ in everything)
    log = at.stage.log.read_text()
    assert "start_lost" in log
    assert "Traceback" not in log


async def test_n2_a_short_run_that_got_lost_by_nats_is_found_and_told_anew(
    server: NatsServer, tmp_path: Path
) -> None:
    """It began and ended between two looks, its only message was lost, and nothing runs that could be missed."""
    async with site(server, tmp_path) as at:
        running = at.submit(1, LONG_S)
        await until(lambda: at.shown("running") == running)
        at.backend.knobs.nats_lost = 1
        short = at.submit(1, 1.0)
        await until(lambda: not at.backend.knobs.nats_lost)
        assert at.shown("completed") == set()
        await until(lambda: at.shown("completed") == short)
        assert at.shown("running") == running
    assert '"run_lost"' in at.stage.log.read_text()


async def all_stored(server: NatsServer, count: int) -> list[tuple[int, str]]:
    """Wait until the stream holds so many events, and give them."""
    events: list[tuple[int, str]] = []
    with anyio.fail_after(60):
        while len(events) < count:
            await anyio.sleep(0.1)
            events = [key_of(event) for event in await stored(server.url)]
    return events
