"""CPU for one delivered run, from the look that finds it to the settled stop: our process and its commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.tools.bench.processes import cpu_s
from tests.tools.bench.rows import Figure
from tests.tools.bench.site import site, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: A look a second: idle ones are in the figure, too.
SETTINGS = {
    "daemon": {"poll_interval": 1},
    "sinks.cc": {"stop_hold": 0, "nodestate_interval": 0},
}


def measure(root: Path, *, quick: bool) -> Iterator[Figure]:
    """Let jobs begin, have them told, let them end, have that told."""
    runs = 1000 if quick else 5000
    with site(root) as here, here.daemon(SETTINGS) as daemon:
        until(lambda: daemon.status()["live"]["ready"])
        before, looks = cpu_s(daemon.pid), here.slurm.calls().count("squeue")
        here.slurm.start_jobs(1, runs)
        until(lambda: here.backend.told("start") >= runs)
        here.slurm.finish_jobs()
        until(lambda: here.backend.told("stop") >= runs)
        after, looks = cpu_s(daemon.pid), here.slurm.calls().count("squeue") - looks
    own, commands = (1e3 * (late - early) / runs for early, late in zip(before, after, strict=True))
    yield Figure(
        "cpu-per-run",
        own + commands,
        floor=f"of that, the (simulated) Slurm commands: {commands:.2f} ms",
        note=f"{own:.2f} ms of our own; {runs:,} runs, {looks} squeue; the ancestor needed 9.4 ms",
    )
