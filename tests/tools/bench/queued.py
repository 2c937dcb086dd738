"""What an idle cycle costs beside a real slurmctld that has two thousand jobs in its memory."""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.tools.bench.processes import cpu_s, spawn
from tests.tools.bench.rows import Figure
from tests.tools.bench.site import Asked, site, until
from tests.tools.bench.used import Noting
from tests.tools.lab import USERS, Lab

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.tools.bench.used import Used

JOBS, QUICK_JOBS = 2000, 500
CYCLES, QUICK_CYCLES = 40, 10
#: Of the lab's 64 cores; each is a process of slurmd's.
RUNNING = 48
DOCUMENTS = 40
SETTINGS: dict[str, dict[str, Any]] = {
    "daemon": {"poll_interval": 1},
    "sinks.cc": {"nodestate_interval": 1},
}
_SUBMIT = "for i in $(seq {jobs}); do sbatch -Q --chdir=/tmp --output=/dev/null --wrap='sleep 9999'; done"


@dataclass(frozen=True, slots=True)
class _Cycle:
    """On average; CPU in seconds."""

    commands: dict[str, float]
    own_s: float
    commands_s: float
    slurmctld_s: float


def measure(root: Path, *, quick: bool) -> Iterator[Figure]:
    """Queue jobs, and let the daemon look again and again; then ask for all of it as JSON."""
    jobs, cycles = (QUICK_JOBS, QUICK_CYCLES) if quick else (JOBS, CYCLES)
    with Lab.start(claim="bench") as lab:
        _queue(lab, jobs)
        still_s = _slurmctld_s(lab, lambda: time.sleep(cycles / 2)) / (cycles / 2)
        found = _cycle(root, lab, cycles, still_s)
        json = (str(lab.bin_dir / "squeue"), "--json")
        env = {**os.environ, **lab.env}
        json_s = _slurmctld_s(lab, lambda: [spawn(json, env) for _ in range(DOCUMENTS)]) / DOCUMENTS
    words = ", ".join(f"{name} {count:g}" for name, count in sorted(found.commands.items()))
    where = f"{jobs:,} jobs, {cycles} cycles, Slurm {lab.release.version}"
    yield Figure(
        "queued-commands", sum(found.commands.values()), floor="1 question has to be asked", note=words
    )
    yield Figure(
        "queued-own",
        found.own_s / found.commands_s,
        floor=f"the commands: {found.commands_s * 1e3:.0f} ms",
        note=f"{found.own_s * 1e3:.0f} ms of our own; {where}",
    )
    yield Figure(
        "queued-slurmctld",
        found.slurmctld_s / json_s,
        floor=f"`squeue --json`: {json_s * 1e3:.1f} ms of slurmctld's CPU",
        note=f"{found.slurmctld_s * 1e3:.1f} ms, beyond the {still_s * 1e3:.0f} ms a second that it uses without us; {where}",
    )


def _queue(lab: Lab, jobs: int) -> None:
    lab.run("bash", "-c", _SUBMIT.format(jobs=jobs), user=USERS[0], timeout_s=600)
    until(lambda: len(lab.run("squeue", "-h", "-t", "R", "-o", "%A").split()) >= RUNNING)


def _cycle(root: Path, lab: Lab, cycles: int, still_s: float) -> _Cycle:
    """Let so many cycles pass; ``still_s`` is what slurmctld uses in a second without us."""
    noting = Noting(root, lab.bin_dir)
    asked = Asked(noting.bin_dir, lab.cluster, lab.env["SLURM_CONF"])
    with site(root, asked) as here, here.daemon(SETTINGS) as daemon:
        until(lambda: here.backend.told("start") >= RUNNING)
        time.sleep(5)  # what a start leaves behind
        before, own_s, began = len(noting.used()), cpu_s(daemon.pid)[0], time.monotonic()
        slurmctld_s = _slurmctld_s(lab, lambda: until(lambda: _listings(noting.used()[before:]) >= cycles))
        span_s, own_s = time.monotonic() - began, cpu_s(daemon.pid)[0] - own_s
        used = noting.used()[before:]
    counts = Counter(each.name for each in used)
    return _Cycle(
        commands={name: round(count / cycles, 1) for name, count in counts.items()},
        own_s=own_s / cycles,
        commands_s=sum(each.cpu_s for each in used) / cycles,
        slurmctld_s=(slurmctld_s - still_s * span_s) / cycles,
    )


def _listings(used: list[Used]) -> int:
    return sum(each.name == "squeue" for each in used)


def _slurmctld_s(lab: Lab, work: Callable[[], object]) -> float:
    """Return the CPU seconds that slurmctld uses meanwhile."""
    assert lab.slurmctld.pid
    before = cpu_s(lab.slurmctld.pid)[0]
    work()
    return cpu_s(lab.slurmctld.pid)[0] - before
