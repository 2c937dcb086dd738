"""How long the event loop stands still while much output of Slurm is read."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio

from slurmsyncd.config import SlurmConfig
from slurmsyncd.model import JobQuestions
from slurmsyncd.slurm.job_list import listing_format
from slurmsyncd.sources.command_source import CommandSource
from slurmsyncd.sources.controller import PORTION
from tests.tools.bench.cluster import CLUSTER, Cluster
from tests.tools.bench.rows import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZE, QUICK = 100_000_000, 10_000_000
ROUNDS = 3
#: Of a job in the JSON of 22.05, as the simulation prints it.
JOB_BYTES = 2500


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
    """Have squeue print so much, as a listing and as the JSON of 22.05, which is always whole; read it a few times."""
    size = QUICK if quick else SIZE
    idle = f"a loop with nothing to do, for 5 s: {max(anyio.run(_idle).walls) * 1e3:.1f} ms"
    folders = {name: root / name for name in ("text", "json")}
    for folder in folders.values():
        folder.mkdir()
    text = Cluster(folders["text"])
    text.start_jobs(1, 1)
    _write_listing(folders["text"] / "listing", size)
    yield _figure(
        "stall-text", _rounds(text, folders["text"], frozenset()), idle, f"{size / 1e6:.0f} MB of text"
    )
    json = Cluster(folders["json"], "22.05")
    jobs = size // JOB_BYTES
    json.start_jobs(100_000, jobs)
    # Spread over the document, and as many as are asked for at once.
    asked = frozenset(range(100_000, 100_000 + jobs, jobs // PORTION))
    note = f"{len(asked)} of {jobs:,} jobs asked for, some {size / 1e6:.0f} MB of JSON"
    yield _figure("stall-json", _rounds(json, folders["json"], asked), idle, note)


def _rounds(slurm: Cluster, directory: Path, asked: frozenset[int]) -> Ticker:
    """Return the middle one of some readings."""
    rounds = [anyio.run(_read, slurm, directory, asked) for _ in range(ROUNDS)]
    return sorted(rounds, key=lambda ticker: max(ticker.walls))[ROUNDS // 2]


def _figure(key: str, found: Ticker, idle: str, note: str) -> Figure:
    cpu = f"longest turn by its CPU {max(found.cpus) * 1e3:.1f} ms; median of {ROUNDS} readings"
    return Figure(key, max(found.walls) * 1e3, floor=idle, note=f"{note}; {cpu}")


async def _read(slurm: Cluster, directory: Path, asked: frozenset[int]) -> Ticker:
    """Read the listing, or the details of what is asked for."""
    config = SlurmConfig(bin_dir=str(slurm.bin_dir))
    source = CommandSource(CLUSTER, config, directory=directory)
    ticker = Ticker()
    async with anyio.create_task_group() as group:
        group.start_soon(ticker.run)
        if asked:
            found = (await source.query_jobs(JobQuestions(details=asked))).details or ()
            if len(found) != len(asked):
                raise RuntimeError(f"{len(found)} of {len(asked)} jobs")
        else:
            await source._controller.listing()
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
