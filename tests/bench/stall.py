"""How long the event loop stands still while much output of Slurm is read."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio

from slurmsyncd.config import SlurmConfig
from slurmsyncd.slurm.squeue import listing_format
from slurmsyncd.sources.commands import CommandSource
from tests.bench.cluster import CLUSTER, Cluster
from tests.bench.rows import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZE, QUICK = 100_000_000, 10_000_000
ROUNDS = 3


@dataclass(slots=True)
class Ticker:
    """Comes to its turn as often as it can; the longest wait for it is the longest stall."""

    walls: list[float] = field(default_factory=list)
    cpus: list[float] = field(default_factory=list)

    async def run(self) -> None:
        """Take turns until cancelled."""
        wall, cpu = time.perf_counter(), time.thread_time()
        while True:
            await anyio.sleep(0.001)
            now, used = time.perf_counter(), time.thread_time()
            self.walls.append(now - wall)
            self.cpus.append(used - cpu)
            wall, cpu = now, used


def measure(root: Path, *, quick: bool) -> Iterator[Figure]:
    """Have squeue print a listing of that size, and read it a few times."""
    size = QUICK if quick else SIZE
    slurm = Cluster(root)
    slurm.start_jobs(1, 1)
    _write_listing(root / "listing", size)
    rounds = [anyio.run(_read, slurm, root) for _ in range(ROUNDS)]
    rounds.sort(key=lambda ticker: max(ticker.walls))
    middle, idle = rounds[ROUNDS // 2], anyio.run(_idle)
    yield Figure(
        "stall-text",
        max(middle.walls) * 1e3,
        floor=f"a loop with nothing to do, for 5 s: {max(idle.walls) * 1e3:.1f} ms",
        note=f"{size / 1e6:.0f} MB as text; longest turn by its CPU {max(middle.cpus) * 1e3:.1f} ms; "
        f"median of {ROUNDS} readings",
    )


async def _read(slurm: Cluster, directory: Path) -> Ticker:
    config = SlurmConfig(bin_dir=str(slurm.bin_dir))
    source = CommandSource(CLUSTER, config, directory=directory)
    ticker = Ticker()
    async with anyio.create_task_group() as group:
        group.start_soon(ticker.run)
        await source._list(int(time.time()))
        group.cancel_scope.cancel()
    return ticker


async def _idle() -> Ticker:
    ticker = Ticker()
    with anyio.move_on_after(5):
        await ticker.run()
    return ticker


def _write_listing(path: Path, size: int) -> None:
    """Write rows as squeue's format gives them; the simulation would need a day for so many jobs."""
    assert listing_format("@").count("@") == 5
    now = int(time.time())
    with path.open("w") as file:
        for job_id in range(100_000, 100_000 + size // 57):
            values = (job_id, "RUNNING", now - 600, now + 86400, f"n{job_id % 8 + 1}")
            file.write("".join(f"{value}@@" for value in values) + "\n")
