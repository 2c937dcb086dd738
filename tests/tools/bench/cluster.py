"""A simulated Slurm with as many jobs as one likes, whose commands count themselves."""

from __future__ import annotations

import json
import subprocess
import time
from typing import TYPE_CHECKING

from slurmsyncd.sandbox.slurm import COMMANDS, install, lifecycle, workload
from slurmsyncd.sandbox.slurm.engine import Simulation
from slurmsyncd.sandbox.slurm.placement import NodePool
from slurmsyncd.sandbox.slurm.state import _COLUMNS, _PUT, State
from slurmsyncd.sandbox.slurm.workload import Submission, request
from slurmsyncd.slurm.job_list import listing_format

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from slurmsyncd.sandbox.slurm.records import RunRow

CLUSTER = "sim"
NODES = 8
#: In the listing that is kept, where the daemon's random delimiter has to be.
_MARK = "@@"

# What the listing shows does not change while nothing happens: sed prints it some hundred times as fast as
# the simulation, so that it is not the simulation that is measured.
_COUNTING = """\
#!/bin/sh
echo {command} >>{calls}
[ {command} = squeue ] && [ "$6" = -o ] && [ -e {kept} ] && {{
token=${{7#%A}}; token=${{token%%%T*}}
exec sed "s/{mark}/$token/g" {kept}
}}
exec {real}/{command} "$@"
"""


class Cluster:
    """
    The simulated cluster, below a directory.

    Attributes:
        bin_dir: Its commands.
    """

    def __init__(self, root: Path, shape: str = "24.11") -> None:
        self.bin_dir = root / "bin"
        self.bin_dir.mkdir()
        self._state, self._real = root / "slurm", root / "real"
        self._calls, self._kept = root / "calls", root / "listing"
        self._calls.touch()
        Simulation(self._state, cluster=CLUSTER, nodes=workload.nodes(NODES)).close()
        install(self._real, self._state, shape)
        for command in COMMANDS:
            script = self.bin_dir / command
            script.write_text(
                _COUNTING.format(
                    command=command, calls=self._calls, real=self._real, kept=self._kept, mark=_MARK
                )
            )
            script.chmod(0o755)

    def calls(self) -> list[str]:
        """Return the commands that were run so far, in order."""
        return self._calls.read_text().split()

    def start_jobs(self, first: int, count: int, *, ago_s: int = 600) -> None:
        """Have jobs run, beginning so many seconds ago."""
        self._put(_running(first, count, int(time.time()) - ago_s))

    def end_jobs(self, first: int, count: int, span_s: int) -> None:
        """Have accounting show jobs that ran and ended, one after the other, within the last seconds."""
        now = int(time.time())
        ends = (now - span_s + span_s * each // count for each in range(count))
        self._put(
            lifecycle.ended(run, end_at, "COMPLETED", (0, 0), purge_at=0.0, late_s=0.0)
            | {
                "in_memory": 0,
                "next_at": None,
                "phase": "",
                "start_at": end_at - 60,
                "submit_at": end_at - 70,
            }
            for run, end_at in zip(_running(first, count, now), ends, strict=True)
        )

    def finish_jobs(self, *, before: int = 2**32) -> None:
        """End what runs with an id before that, now; slurmctld has forgotten it at once."""
        state, now = State(self._state), int(time.time())
        with state:
            state._db.execute(
                "UPDATE run SET state = 'COMPLETED', end_at = ?, end_seen = ?, in_memory = 0 "
                "WHERE end_at = 0 AND job_id < ?",
                (now, now, before),
            )
        state.close()

    def keep_listing(self) -> None:
        """Make the present listing that which squeue prints from now on; JSON still shows what there is."""
        argv = (self._real / "squeue", "--local", "-h", "-a", "-t", "all", "-o", listing_format(_MARK))
        env = {"TZ": "UTC", "LC_ALL": "C.UTF-8", "SLURM_TIME_FORMAT": "%s"}
        self._kept.write_bytes(subprocess.run(argv, env=env, check=True, capture_output=True).stdout)

    def _put(self, runs: Iterator[RunRow]) -> None:
        state = State(self._state)
        with state:
            state._db.executemany(_PUT, map(_values, runs))
        state.close()


def _running(first: int, count: int, start_at: int) -> Iterator[RunRow]:
    """Return runs; they hold the same cores, which nobody here minds."""
    asked = request(duration_s=1e9, cores=2)
    (waiting,) = lifecycle.submitted(Submission((asked,)), first, start_at - 10, forecast_s=0, late_s=0.0)
    kinds = []
    for node in workload.nodes(NODES):
        alloc = NodePool([node]).place(asked)
        assert alloc
        kinds.append(lifecycle.settled(lifecycle.started(waiting, alloc, start_at, 0.0)))
    for job_id in range(first, first + count):
        yield kinds[job_id % NODES] | {"job_id": job_id, "next_at": None}


def _values(run: RunRow) -> tuple[object, ...]:
    rest = dict(run)
    columns = [rest.pop(name) for name in _COLUMNS]
    return (None, *columns[1:], json.dumps(rest))
