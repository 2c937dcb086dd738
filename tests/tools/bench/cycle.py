"""What a cycle costs with few changes among many jobs: our CPU for a look and all that follows from it."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import anyio

from slurmsyncd.config import SlurmConfig
from slurmsyncd.pipeline.collect import Collector, CollectPolicy
from slurmsyncd.pipeline.store_thread import StoreThread
from slurmsyncd.sources.command_source import CommandSource
from slurmsyncd.store import open_store
from tests.tools.bench.cluster import CLUSTER, Cluster
from tests.tools.bench.commands import WallClock, nobody
from tests.tools.bench.rows import Lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FIRST, CHANGED, ROUNDS = 100_000, 10, 5


def measure(root: Path, *, quick: bool) -> Iterator[Lines]:
    """Take the sizes in turn."""
    lines = []
    for jobs in (100, 1000) if quick else (100, 1000, 10_000, 100_000):
        folder = root / str(jobs)
        folder.mkdir()
        idle_s, changed_s = anyio.run(_looks, folder, jobs)
        cells = (idle_s, changed_s, changed_s - idle_s)
        lines.append((f"{jobs:,}", *(f"{1e3 * each:.1f}" for each in cells)))
    yield Lines("cycle-sizes", tuple(lines))


async def _looks(root: Path, jobs: int) -> tuple[float, float]:
    """Return the seconds of CPU of a look at what did not change, and of one at ten starts and ten ends."""
    slurm = Cluster(root)
    slurm.start_jobs(FIRST, jobs)
    store = open_store(root / "state", ("cc",)).store
    source = CommandSource(CLUSTER, SlurmConfig(bin_dir=str(slurm.bin_dir)), directory=root)
    policy = CollectPolicy(poll_s=60.0, overlap_s=300.0, max_span_s=3600.0)
    collector = Collector(source, store, StoreThread(), policy, WallClock(), recorded=nobody)
    await collector.poll()
    found: dict[str, list[float]] = {"idle": [], "changed": []}
    for each in range(ROUNDS):
        slurm.keep_listing()
        await collector.poll()  # what ended in the round before is in the window
        found["idle"].append(await _cpu_s(collector))
        slurm.finish_jobs(before=FIRST + CHANGED * (each + 1))
        slurm.start_jobs(FIRST + jobs + CHANGED * each, CHANGED)
        slurm.keep_listing()
        found["changed"].append(await _cpu_s(collector))
    store.close()
    if (collector.tally.starts, collector.tally.stops) != (jobs + ROUNDS * CHANGED, ROUNDS * CHANGED):
        raise RuntimeError(f"{collector.tally}")
    return statistics.median(found["idle"]), statistics.median(found["changed"])


async def _cpu_s(collector: Collector) -> float:
    began = time.process_time()
    await collector.poll()
    return time.process_time() - began
