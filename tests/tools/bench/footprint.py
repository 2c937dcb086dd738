"""What the daemon takes of its host, with everything on, at which nothing changes; and by the number of jobs."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from tests.system.nats.server import running
from tests.tools.bench.processes import cpu_s, peak_mb, rss_mb
from tests.tools.bench.rows import Figure, Lines
from tests.tools.bench.site import site, until
from tests.tools.lab.configuration import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.tools.bench.site import Daemon, Site

_MODULES = """\
import sys
sys.modules.update(dict.fromkeys(("click", "pygments", "rich")))
import slurmsyncd.cli, slurmsyncd.daemon, slurmsyncd.observe.routes, slurmsyncd.sinks.nats.sink, asyncio
lines = open("/proc/self/status").read().splitlines()
print(next(line.split()[1] for line in lines if line.startswith("VmRSS:")))
"""
POLL_S = 60.0  # what figures are given for


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """
    Of one size.

    Attributes:
        slope_mb: Growth over the last half of the cycles.
        cycle_s: CPU of our own in one cycle; ``commands_s`` is that of Slurm's commands.
        idle: CPU of our own between cycles, a share of a core.
    """

    jobs: int
    cycles: int
    rss_mb: float
    slope_mb: float
    peak_mb: float
    cycle_s: float
    commands_s: float
    idle: float

    @property
    def share(self) -> float:
        """Per cent of a core, at the usual interval."""
        return 100 * (self.idle + self.cycle_s / POLL_S)

    @property
    def line(self) -> tuple[str, ...]:
        """Of the table."""
        return (
            f"{self.jobs:,}",
            f"{self.rss_mb:.1f}",
            f"{self.slope_mb:+.2f}",
            f"{self.peak_mb:.1f}",
            f"{self.cycle_s * 1e3:.0f}",
            f"{self.commands_s * 1e3:.0f}",
            f"{self.share:.2f} %",
        )


def measure(root: Path, *, quick: bool) -> Iterator[Figure | Lines]:
    """Take the sizes in turn; what has a budget is among them."""
    sizes = (100, 1000) if quick else (100, 1000, 10_000, 100_000)
    lines = []
    for jobs in sizes:
        folder = root / str(jobs)
        folder.mkdir()
        found = _footprint(folder, jobs, 20 if quick else 100)
        lines.append(found.line)
        yield from _figures(found)
    yield Lines("footprint-sizes", tuple(lines))


def _figures(found: Footprint) -> Iterator[Figure]:
    count = f"{found.jobs // 1000}k"
    if found.jobs < 10_000:
        return
    yield Figure(
        f"rss-{count}",
        found.rss_mb,
        floor=f"a process that imports the same modules and does nothing: {_modules_mb():.1f} MB",
        note=f"after {found.cycles} cycles; peak since the start {found.peak_mb:.1f} MB",
    )
    if found.jobs == 10_000:
        yield Figure("rss-slope", found.slope_mb, floor="-", note=f"over cycles 51 to {found.cycles}")
        yield Figure(
            "idle-cpu",
            found.share,
            floor=f"Slurm's commands, here simulated: {100 * found.commands_s / POLL_S:.2f} %",
            note=f"{found.cycle_s * 1e3:.0f} ms in a cycle, {100 * found.idle:.2f} % between cycles",
        )


def _modules_mb() -> float:
    """Return what the interpreter takes once all is imported that a daemon with everything on imports."""
    said = subprocess.run((sys.executable, "-c", _MODULES), check=True, capture_output=True, text=True)
    return int(said.stdout) * 1.024 / 1000


def _footprint(root: Path, jobs: int, cycles: int) -> Footprint:
    with site(root) as here, _everything(root) as settings:
        here.slurm.start_jobs(100_000, jobs)
        here.slurm.keep_listing()
        with here.daemon({**settings, "daemon": {"poll_interval": 0.5}}) as daemon:
            until(lambda: _told(daemon, jobs))
            _scrape(settings)
            _pass_cycles(here, 2)
            before, began = cpu_s(daemon.pid), _cycles(here)
            _pass_cycles(here, cycles // 2)
            middle_mb = _resting_mb(daemon.pid)
            _pass_cycles(here, cycles // 2)
            passed, after = _cycles(here) - began, cpu_s(daemon.pid)
            end_mb, top_mb = _resting_mb(daemon.pid), peak_mb(daemon.pid)
        idle = _idle(here, settings, 10.0 if cycles < 100 else 40.0)
    own, children = ((late - early) / passed for early, late in zip(before, after, strict=True))
    return Footprint(
        jobs=jobs,
        cycles=cycles,
        rss_mb=end_mb,
        slope_mb=end_mb - middle_mb,
        peak_mb=top_mb,
        cycle_s=own,
        commands_s=children,
        idle=idle,
    )


def _told(daemon: Daemon, jobs: int) -> bool:
    sinks = daemon.status()["live"]["sinks"]
    return bool(sinks) and all(each["told"].get("start", 0) >= jobs for each in sinks)


def _scrape(settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Have metrics and page made once, so that all that they need is loaded."""
    (address,) = settings["web"]["listen"]
    with httpx.Client(base_url=f"http://{address}", trust_env=False, timeout=60) as client:
        for path in ("/metrics", "/"):
            client.get(path).raise_for_status()


def _resting_mb(pid: int) -> float:
    """Return the resident set between two cycles: while a listing is read its file is in it (1 MB of 10,000 jobs)."""
    found = []
    for _ in range(100):
        found.append(rss_mb(pid))
        time.sleep(0.05)
    return min(found)


def _cycles(here: Site) -> int:
    return here.slurm.calls().count("squeue")


def _pass_cycles(here: Site, count: int) -> None:
    """Let so many listings be asked for."""
    began = _cycles(here)
    until(lambda: _cycles(here) >= began + count)


def _idle(here: Site, settings: Mapping[str, Mapping[str, Any]], span_s: float) -> float:
    """Return the share of a core that is used while no cycle comes."""
    slow = {**settings, "daemon": {"poll_interval": 86400}}
    slow |= {
        name: {**each, "nodestate_interval": 0} for name, each in slow.items() if name.startswith("sinks.")
    }
    with here.daemon(slow) as daemon:
        until(lambda: daemon.status()["live"]["ready"])
        time.sleep(3)  # what a start leaves behind
        before, began = cpu_s(daemon.pid)[0], time.monotonic()
        time.sleep(span_s)
        return (cpu_s(daemon.pid)[0] - before) / (time.monotonic() - began)


@contextmanager
def _everything(root: Path) -> Iterator[dict[str, dict[str, Any]]]:
    """Have metrics and the page served, and a second sink on NATS, where that is installed."""
    settings: dict[str, dict[str, Any]] = {
        "web": {"listen": [f"127.0.0.1:{free_ports().slurmctld}"]},
        "sinks.cc": {"nodestate_interval": 60},
    }
    if not shutil.which("nats-server"):
        yield settings
        return
    folder = root / "nats"
    folder.mkdir()
    with running(folder) as server:
        settings["sinks.events"] = {"type": "nats", "servers": [server.url]}
        yield settings
