"""A simulated Slurm, the embedded backend, the daemon as a process, and `slurmsyncd verify` as an operator runs it."""

from __future__ import annotations

import json
import os
import pty
import re
import sqlite3
import subprocess
import sys
import time
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.to_thread

from slurmsyncd.config import read_config
from slurmsyncd.control.client import connect
from slurmsyncd.control.run_requests import GetStoredRuns
from slurmsyncd.control.store_requests import GetTotals
from slurmsyncd.errors import SlurmsyncdError
from slurmsyncd.sandbox.backend.server import BackendConfig, EmbeddedBackend
from slurmsyncd.sandbox.demo.environment import DemoEnvironment, simulated_cluster, stop_daemon
from slurmsyncd.sandbox.slurm import install
from slurmsyncd.sandbox.slurm.engine import Simulation
from slurmsyncd.sandbox.slurm.workload import Submission, request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from slurmsyncd.control.store_requests import ControlRequest

T = TypeVar("T")

#: How far the daemon reads again; what ended before its position less this is passed by.
OVERLAP_S = 2
#: How long the controller lists what has ended; as long the daemon finds by itself what it does not know.
MIN_JOB_AGE_S = 2


class Site:
    """What a test meddles with, and looks at."""

    def __init__(self, stage: DemoEnvironment, backend: EmbeddedBackend, simulation: Simulation) -> None:
        self.stage = stage
        self.backend = backend
        self.simulation = simulation
        self._daemon: subprocess.Popen[bytes] | None = None

    def submit(self, count: int = 1, **changes: Any) -> list[int]:
        """Submit jobs; give their ids."""
        submission = Submission((request(**{"duration_s": 1.0, **changes}),))
        return [self.simulation.submit(submission, time.time())[0] for _ in range(count)]

    def ended_at(self, job_id: int) -> int:
        """Return when a job ended, 0 if it did not."""
        return max((run.end_at or 0 for run in self.simulation.ledger() if run.job_id == job_id), default=0)

    def over(self, *job_ids: int) -> bool:
        """Return whether jobs have ended, and the second in which they did is over: a proof from now on has them."""
        ended = [self.ended_at(job_id) for job_id in job_ids]
        return all(ended) and int(time.time()) > max(ended)

    def states(self, *job_ids: int) -> list[list[str]]:
        """Return, for each job, the states of its committed rows."""
        rows = [row for row in self.backend.rows() if not row["cached"]]
        return [[row["job_state"] for row in rows if row["job_id"] == job_id] for job_id in job_ids]

    def listed(self) -> set[int]:
        """Return the jobs that the controller still lists."""
        squeue = [str(self.stage.root / "bin" / "squeue"), "-h", "-t", "all", "-o", "%i"]
        shown = subprocess.run(squeue, capture_output=True, text=True, check=True)
        return set(map(int, shown.stdout.split()))

    def start(self) -> None:
        """Start the daemon."""
        self._daemon = self.stage.start_daemon()

    async def stop(self) -> None:
        """Stop it, if it runs."""
        daemon, self._daemon = self._daemon, None
        assert daemon is None or await stop_daemon(daemon) == 0, self.stage.log.read_text()[-2000:]

    def store(self, statement: str, *values: object) -> list[Any]:
        """Meddle with what is written down, while the daemon is stopped."""
        with closing(sqlite3.connect(self.stage.root / "state" / "store.sqlite")) as link, link:
            link.execute("PRAGMA foreign_keys = ON")
            return link.execute(statement, values).fetchall()

    def forget(self, job_id: int) -> None:
        """Have the backend lose a run."""
        self.backend._core.database.link.execute("DELETE FROM job WHERE job_id = ?", (job_id,))

    def ask(self, request: ControlRequest[T]) -> T:
        """Ask the running daemon."""
        with connect(read_config(self.stage.config, {})) as desk:
            assert desk.running
            return desk.ask(request)

    def answers(self) -> bool:
        """Return whether the daemon listens."""
        try:
            self.ask(GetTotals())
        except (SlurmsyncdError, AssertionError):
            return False
        return True

    def all_acknowledged(self) -> bool:
        """Return whether the sink has been told everything that is written down."""
        return not {"ready", "parked", "dead"} & set(self.ask(GetTotals()).sinks["demo"].states)

    def point_sink_at(self, url: str) -> None:
        """Have the daemon, once it is started, tell somebody else."""
        text = self.stage.config.read_text()
        self.stage.config.write_text(text.replace(self.backend.url, url))

    def is_written(self, *job_ids: int) -> bool:
        """Return whether these jobs' runs are written down with their ends."""
        found = self.ask(GetStoredRuns(cluster="demo", job_ids=job_ids, sinks=()))
        return {run.key.job_id for run in found.runs if run.end_at is not None} == set(job_ids)

    async def verify(self, *options: str) -> tuple[int, str, str]:
        """Run the command; give exit status, standard output and standard error."""
        command = [sys.executable, "-m", "slurmsyncd", "verify", "--config", str(self.stage.config), *options]
        done = await anyio.to_thread.run_sync(
            lambda: subprocess.run(command, capture_output=True, text=True, check=False)
        )
        return done.returncode, done.stdout, done.stderr

    async def on_terminal(self, *options: str) -> tuple[str, str]:
        """Run the command with a terminal for its standard error; give both outputs."""
        terminal, end = pty.openpty()
        command = [sys.executable, "-m", "slurmsyncd", "verify", "--config", str(self.stage.config), *options]
        done = await anyio.to_thread.run_sync(
            lambda: subprocess.run(command, stdout=subprocess.PIPE, stderr=end, text=True, check=True)
        )
        os.close(end)
        seen = os.read(terminal, 4096)
        os.close(terminal)
        return done.stdout, seen.decode()

    async def document(self, *options: str) -> tuple[int, dict[str, Any]]:
        """Run the command with --json; give exit status and document."""
        status, out, err = await self.verify("--json", *options)
        assert err == ""
        return status, json.loads(out)


@asynccontextmanager
async def site(path: Path) -> AsyncIterator[Site]:
    """Run everything but the daemon."""
    stage = DemoEnvironment(path)
    (path / "run").mkdir(mode=0o700)
    install(path / "bin", path / "slurm", "24.11")
    slurm = Simulation(path / "slurm", cluster="demo", seed=1, min_job_age_s=MIN_JOB_AGE_S)
    with closing(slurm) as simulation:
        config = BackendConfig(clusters=[simulated_cluster(simulation.nodes)], commit_interval=0.2)
        async with EmbeddedBackend.open(config) as backend, anyio.create_task_group() as group:
            stage.write(
                cluster="demo",
                url=backend.url,
                token=backend.token(),
                bin_dir=str(path / "bin"),
                slurm_conf="",
            )
            text = stage.config.read_text()
            text = text.replace("[daemon]\n", f'[daemon]\noverlap = {OVERLAP_S}\nlog_format = "json"\n')
            for key, value in (
                ("stop_hold", 1),
                ("poll_interval", 1),
                ("audit_interval", 0),
                ("audit_grace", 1),
            ):
                text = re.sub(rf"{key} = .*", f"{key} = {value}", text)
            stage.config.write_text(text)
            group.start_soon(simulation.run, 0.0, float("inf"))
            at = Site(stage, backend, simulation)
            try:
                yield at
            finally:
                await at.stop()
                group.cancel_scope.cancel()


async def until(condition: Callable[[], object], at_most_s: float = 120.0) -> None:
    """Wait for something to become true."""
    with anyio.fail_after(at_most_s):
        while not condition():  # noqa: ASYNC110 - of other processes
            await anyio.sleep(0.05)
