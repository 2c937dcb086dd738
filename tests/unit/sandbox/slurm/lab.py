"""A simulated cluster in a directory, with a clock that tests turn, and its commands."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

from slurmsyncd.sandbox.slurm import faults, install
from slurmsyncd.sandbox.slurm.engine import Simulation
from slurmsyncd.sandbox.slurm.workload import Submission, request

if TYPE_CHECKING:
    from pathlib import Path

T0 = 1_800_000_000
FULL = {"22.05": "22.05.8", "24.11": "24.11.5", "26.05": "26.05.5"}


class Lab:
    """The simulation, its commands, and the time."""

    def __init__(self, root: Path, shape: str = "24.11", **settings: Any) -> None:
        self.shape = shape
        self.now: float = T0
        self.bin = root / "bin"
        self.state = root / "state"
        self.sim = Simulation(self.state, shape=shape, virtual=True, **settings)
        install(self.bin, self.state, shape)

    def submit(self, **changes: Any) -> int:
        """Submit a plain job with changes; give its id."""
        tasks, limit = changes.pop("tasks", 0), changes.pop("limit", 0)
        return self.sim.submit(Submission((request(**changes),), tasks=tasks, limit=limit), self.now)[0]

    def pass_(self, seconds: float, step: float = 1.0) -> None:
        """Let time pass, a tick for each step."""
        until = self.now + seconds
        while self.now < until:
            self.now = min(until, self.now + step)
            self.sim.tick(self.now)

    def run(
        self, *argv: str, timeout: float = 30.0, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command with as little environment as the daemon gives it."""
        base = {"TZ": "UTC", "LC_ALL": "C.UTF-8", "SLURM_TIME_FORMAT": "%s"}
        path = os.fspath(self.bin / argv[0])
        return subprocess.run(
            [path, *argv[1:]], capture_output=True, env=base | (env or {}), timeout=timeout, check=False
        )

    def text(self, *argv: str, **env: str) -> str:
        """Run a command that has to succeed; give what it printed."""
        done = self.run(*argv, env=env)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    def json(self, *argv: str) -> dict[str, Any]:
        """Run a command that prints JSON."""
        document: dict[str, Any] = json.loads(self.text(*argv))
        return document

    def fault(self, name: str, value: str = "", command: str = "") -> None:
        """Put a fault in force."""
        faults.set_fault(self.state, name, value, command)
