"""P1 on the daemon as a process: what is under way when it is asked to end."""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest

from slurmsyncd.model import EventKind, Plan, RunStarted, Trigger
from slurmsyncd.sandbox.demo.environment import DemoEnvironment
from slurmsyncd.store import open_store
from tests.unit.sinks.parts import CLUSTERS, START, job
from tests.unit.sinks.rude import Rude, Seen, answer, rude_server

if TYPE_CHECKING:
    import asyncio
    import subprocess
    from pathlib import Path

pytestmark = pytest.mark.anyio

SINK = "demo"
PATIENCE_S = 60.0


def stage_with_a_start(path: Path, url: str) -> DemoEnvironment:
    """Have a start waiting for the sink, and no Slurm that answers."""
    stage = DemoEnvironment(path)
    (path / "run").mkdir(mode=0o700)
    stage.write(cluster="demo", url=url, token="token", bin_dir="/nonexistent", slurm_conf="")
    store = open_store(path / "state", [SINK], reserve_bytes=4096).store
    store.record(Plan(cluster="demo", events=(RunStarted(job(7), Trigger.POLL),)), START)
    store.close()
    return stage


async def stopped_amid_a_start(server: Rude, stage: DemoEnvironment, daemon: subprocess.Popen[bytes]) -> int:
    """Have the answer to the start wait until the daemon is ending; give its exit status."""
    asked, ending = anyio.Event(), anyio.Event()

    async def take(writer: asyncio.StreamWriter, seen: Seen) -> bool:
        if json.loads(seen.body).get("jobId") == 7:
            asked.set()
            await ending.wait()
        return await answer(201, '{"msg":"success"}')(writer, seen)

    server.plans = {
        "/api/clusters/": [answer(200, json.dumps(CLUSTERS))],
        "/api/jobs/start_job/": [take],
        "/api/nodestate/": [answer(200)],
    }
    with anyio.fail_after(PATIENCE_S):
        await asked.wait()
        daemon.send_signal(signal.SIGTERM)
        while b"stopping" not in stage.log.read_bytes():  # noqa: ASYNC110 - of another process
            await anyio.sleep(0.05)
        ending.set()
        return await anyio.to_thread.run_sync(daemon.wait)


async def test_p1_sigterm_lets_the_exchange_under_way_end_and_writes_its_result_down(tmp_path: Path) -> None:
    """What the backend took while the daemon was ending need not be told again at the next start."""
    async with rude_server() as server:
        stage = stage_with_a_start(tmp_path, server.url)
        daemon = stage.start_daemon()
        try:
            assert await stopped_amid_a_start(server, stage, daemon) == 0
        finally:
            daemon.kill()
    store = open_store(tmp_path / "state", [SINK], reserve_bytes=4096).store
    assert store.counts(SINK).states == {"idle": 1}
    assert store.next_due_at(SINK, EventKind.START, time.time()) is None
    store.close()
