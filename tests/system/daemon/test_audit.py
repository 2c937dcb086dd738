"""The audit as an operator meets it: the daemon as a process, a simulated Slurm, a backend that is meddled with."""

from __future__ import annotations

import json
import re
import time
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from slurmsyncd.sandbox.backend.server import BackendConfig, EmbeddedBackend
from slurmsyncd.sandbox.demo.environment import DemoEnvironment, simulated_cluster, stop_daemon
from slurmsyncd.sandbox.slurm.workload import Submission, request
from slurmsyncd.store import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from slurmsyncd.sandbox.slurm.engine import Simulation

pytestmark = pytest.mark.anyio

LONG_S = 3600.0
SPAN_S = 2


class Site:
    """What a test meddles with, and looks at."""

    def __init__(self, stage: DemoEnvironment, backend: EmbeddedBackend, simulation: Simulation) -> None:
        self.stage = stage
        self.backend = backend
        self.simulation = simulation

    def submit(self, count: int = 1, **changes: Any) -> list[int]:
        """Submit jobs; give their ids."""
        submission = Submission((request(**{"duration_s": LONG_S, **changes}),))
        return [self.simulation.submit(submission, time.time())[0] for _ in range(count)]

    def start_of(self, job_id: int) -> int:
        """Return when a job's last run began."""
        return max((run.start_at for run in self.simulation.ledger() if run.job_id == job_id), default=0)

    def ended_at(self, job_id: int) -> int:
        """Return when a job ended, 0 if it did not."""
        return max((run.end_at or 0 for run in self.simulation.ledger() if run.job_id == job_id), default=0)

    def sql(self, statement: str, *values: object) -> None:
        """Meddle with the backend's rows, as an admin may."""
        self.backend._core.database.link.execute(statement, values)

    def states(self, *job_ids: int) -> list[list[str]]:
        """Return, for each job, the states of its committed rows."""
        rows = [row for row in self.backend.rows() if not row["cached"]]
        return [[row["job_state"] for row in rows if row["job_id"] == job_id] for job_id in job_ids]

    async def start_behind_our_back(self, job_id: int, start_at: int) -> None:
        """Start a run in the backend, as another sender would."""
        host = next(iter(self.simulation.nodes))["name"]
        body = {
            "jobId": job_id,
            "cluster": "demo",
            "user": "alice",
            "numNodes": 1,
            "startTime": start_at,
            "resources": [{"hostname": host}],
        }
        async with httpx.AsyncClient(headers={"X-Auth-Token": self.backend.token()}) as client:
            answer = await client.post(f"{self.backend.url}/api/jobs/start_job/", json=body)
        assert answer.status_code == 201, answer.text

    def findings(self) -> list[tuple[str, int]]:
        """Return what the daemon's log names: (finding, job id), in order."""
        lines = [json.loads(line) for line in self.stage.log.read_text().splitlines() if line.startswith("{")]
        return [(line["finding"], line["job"]) for line in lines if line["event"] == "audit_finding"]


@asynccontextmanager
async def site(path: Path) -> AsyncIterator[Site]:
    """Run everything but the daemon."""
    stage = DemoEnvironment(path)
    (path / "run").mkdir(mode=0o700)
    with closing(stage.simulation("24.11", 1)) as simulation:
        config = BackendConfig(clusters=[simulated_cluster(simulation.nodes)], commit_interval=0.5)
        async with EmbeddedBackend.open(config) as backend, anyio.create_task_group() as group:
            stage.write(
                cluster="demo",
                url=backend.url,
                token=backend.token(),
                bin_dir=str(path / "bin"),
                slurm_conf="",
            )
            # What ended before we came is not ours to tell, so the store never hears of it.
            span = f'[daemon]\nmax_span = {SPAN_S}\noverlap = 1\nlog_format = "json"\n'
            text = stage.config.read_text().replace("[daemon]\n", span)
            stage.config.write_text(re.sub(r"audit_interval = .*", "audit_interval = 1", text))
            group.start_soon(simulation.run, 0.0, float("inf"))
            yield Site(stage, backend, simulation)
            group.cancel_scope.cancel()


async def until(condition: Callable[[], object], at_most_s: float = 60.0) -> None:
    """Wait for something to become true."""
    with anyio.fail_after(at_most_s):
        while not condition():  # noqa: ASYNC110 - of other processes
            await anyio.sleep(0.05)


async def test_h22_h23_what_was_meddled_with_is_put_right_and_said_once(tmp_path: Path) -> None:
    """
    Deleted rows come back, a row nobody stopped is stopped, and what cannot be put right is reported.

    At the end every run of Slurm's is there once, and ended as it ended, but for the one that was closed.
    """
    async with site(tmp_path) as at:
        (before,) = at.submit(duration_s=1.0)
        await until(lambda: at.ended_at(before) and time.time() > at.ended_at(before) + SPAN_S + 1)
        await at.start_behind_our_back(before, at.start_of(before))
        await at.start_behind_our_back(999_999, at.start_of(before))
        daemon = at.stage.start_daemon()
        try:
            deleted, deleted_too, closed, untouched = jobs = at.submit(4)
            await until(lambda: at.states(*jobs) == [["running"]] * 4)
            await until(lambda: at.states(before) == [["completed"]])
            at.sql("DELETE FROM job WHERE job_id IN (?, ?)", deleted, deleted_too)
            at.sql("UPDATE job SET job_state = 'failed', duration = 7 WHERE job_id = ?", closed)
            await until(lambda: at.states(deleted, deleted_too) == [["running"]] * 2)
            await until(lambda: ("closed_wrongly", closed) in at.findings())
            at.simulation.cancel_all(time.time())
            await until(
                lambda: at.states(deleted, deleted_too, untouched) == [["cancelled"]] * 3,
            )
        finally:
            assert await stop_daemon(daemon) == 0
        assert at.states(closed, 999_999) == [["failed"], ["running"]]
        assert sorted(at.findings()) == sorted(
            [
                ("start_lost", deleted),
                ("start_lost", deleted_too),
                ("closed_wrongly", closed),
                ("never_told", before),
                ("unheard_of", 999_999),
            ]
        )
        assert "Traceback" not in at.stage.log.read_text()
    store = open_store(tmp_path / "state", ("demo",)).store
    with closing(store):
        (story,) = store.run_histories(deleted)
        assert [line[2] for line in story.deliveries[0].history] == ["start_lost"]
