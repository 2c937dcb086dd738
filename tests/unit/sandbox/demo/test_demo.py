"""The demonstration as a user runs it: processes, sockets, files."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.tools.lab import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import IO

    from tests.tools.lab import Lab

COMMAND = (sys.executable, "-m", "slurmsyncd", "demo", "--listen", "127.0.0.1:0", "--rate", "2")


def account(output: str) -> dict[str, int]:
    """Return the closing lines as word → number."""
    return {
        word: int(number) for number, word in re.findall(r"^ *(\d+) (?:runs )?(\w+)", output, re.MULTILINE)
    }


@pytest.mark.parametrize("release", ["22.05", "24.11", "26.05"])
def test_a_demonstration_ends_by_itself_and_nothing_is_lost(release: str, tmp_path: Path) -> None:
    """Runs were simulated, all of them are accounted for, none is lost or wrong, the exit status is 0."""
    command = (*COMMAND, "--duration", "16", "--release", release, "--keep", str(tmp_path / "demo"))
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr + (tmp_path / "demo" / "daemon.log").read_text()
    counts = account(done.stdout)
    assert counts["simulated"] > 5
    assert counts["delivered"] + counts["refused"] == counts["simulated"]
    assert counts["lost"] == counts["wrong"] == counts["waiting"] == 0
    assert "Traceback" not in (tmp_path / "demo" / "daemon.log").read_text()


def test_ctrl_c_stops_cleanly(tmp_path: Path) -> None:
    """What runs by then is written down, no process and no temporary file is left, the exit status is 0."""
    with demonstration(TMPDIR=str(tmp_path)) as (demo, said):
        wait_for(r"backend: [1-9]", said)
        demo.send_signal(signal.SIGINT)
        output, _ = demo.communicate(timeout=60)
    assert demo.returncode == 0, output
    assert account(output)["lost"] == 0
    assert list(tmp_path.iterdir()) == []
    assert not [line for line in _processes() if str(tmp_path) in line]


@contextmanager
def demonstration(*options: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """Run one while the block runs; gives the process and what it prints."""
    command, env = (*COMMAND, *options), {**os.environ, **environment}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as demo:
        assert demo.stdout is not None
        try:
            yield demo, demo.stdout
        finally:
            demo.kill()


def wait_for(pattern: str, said: IO[str]) -> None:
    """Read what a demonstration prints until a line fits."""
    assert any(re.search(pattern, line) for line in said)


def _processes() -> list[str]:
    return subprocess.run(
        ("ps", "-eo", "args"), capture_output=True, text=True, check=True
    ).stdout.splitlines()


def test_the_hosts_real_slurm(lab: Lab, tmp_path: Path) -> None:
    """With --real a job that somebody submits arrives in the backend; nothing is submitted by us."""
    slurm = {**lab.env, "PATH": f"{lab.bin_dir}:{os.environ['PATH']}"}
    with demonstration("--real", "--keep", str(tmp_path / "demo"), **slurm) as (demo, said):
        wait_for("^page ", said)  # said once the backend has its database
        job_id = lab.sbatch("-n1", script="sleep 2")
        until(
            lambda: _state(tmp_path / "demo", job_id) == "completed",
            "the job's end in the backend",
            timeout_s=90,
        )
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=60)
    assert demo.returncode == 0
    assert max(int(row["JobIDRaw"]) for row in lab.sacct()) == job_id


def _state(demo: Path, job_id: int) -> str:
    """Return the state of a job in the demonstration's backend."""
    path = demo / "backend" / "backend.sqlite"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        for table in ("job", "job_cache"):
            for (state,) in database.execute(f"SELECT job_state FROM {table} WHERE job_id = ?", (job_id,)):
                return str(state)
    return ""
