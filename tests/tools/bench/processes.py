"""What processes cost, by the kernel's own account."""

from __future__ import annotations

import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a process that has ended, in seconds; CPU is that of its children, too."""

    wall_s: float
    cpu_s: float


def spawn(argv: Sequence[str], env: Mapping[str, str]) -> Cost:
    """Run a command to its end, which must be a good one."""
    null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in range(3)]
    began = time.perf_counter()
    pid = os.posix_spawn(argv[0], tuple(argv), env, file_actions=null)
    _, status, usage = os.wait4(pid, 0)
    wall_s = time.perf_counter() - began
    if status:
        raise RuntimeError(f"{argv}: status {status}")
    return Cost(wall_s, usage.ru_utime + usage.ru_stime)


def interleaved(
    commands: Mapping[str, Sequence[str]], env: Mapping[str, str], rounds: int
) -> dict[str, Cost]:
    """Run all commands in turn, so often; give the medians of each."""
    found: dict[str, list[Cost]] = {name: [] for name in commands}
    for argv in commands.values():  # what is read for the first time costs more
        spawn(argv, env)
    for _ in range(rounds):
        for name, argv in commands.items():
            found[name].append(spawn(argv, env))
    return {name: median(costs) for name, costs in found.items()}


def median(costs: Sequence[Cost]) -> Cost:
    """Return the median of each figure."""
    return Cost(statistics.median(c.wall_s for c in costs), statistics.median(c.cpu_s for c in costs))


def cpu_s(pid: int) -> tuple[float, float]:
    """Return the CPU seconds of a living process, and those of its children that have ended."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own, own_kernel, children, children_kernel = map(int, words[11:15])
    return (own + own_kernel) / _TICKS, (children + children_kernel) / _TICKS


def rss_mb(pid: int) -> float:
    """Return the resident set of a living process in MB."""
    return _status_mb(pid, "VmRSS:")


def peak_mb(pid: int) -> float:
    """Return the largest resident set that a living process has had, in MB."""
    return _status_mb(pid, "VmHWM:")


def forget_peak(pid: int) -> float:
    """Have the largest resident set measured from now on; return what is resident now, in MB."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return peak_mb(pid)


def _status_mb(pid: int, name: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1000 * 1.024
