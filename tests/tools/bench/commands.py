"""How many Slurm commands a cycle takes."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

import anyio

from slurmsyncd.config import SlurmConfig
from slurmsyncd.pipeline.collect import Collector, CollectPolicy
from slurmsyncd.pipeline.store_thread import StoreThread
from slurmsyncd.sources.command_source import CommandSource
from slurmsyncd.store import open_store
from tests.tools.bench.cluster import CLUSTER, Cluster
from tests.tools.bench.rows import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from slurmsyncd.model import Plan

ACTIVE, NEW = 1000, 1000


class WallClock:
    """Time of day."""

    def now(self) -> float:
        """Return epoch seconds."""
        return time.time()


async def count(root: Path, active: int = ACTIVE, new: int = NEW) -> dict[str, Counter[str]]:
    """
    Take two cycles of the real collector at the simulated Slurm.

    A cycle is what the daemon does in one: a look with all that follows from it, and the node states.

    Returns:
        ``idle`` and ``busy`` → how often each command was run.
    """
    slurm = Cluster(root)
    slurm.start_jobs(1, active)
    store = open_store(root / "state", ("cc",)).store
    source = CommandSource(CLUSTER, SlurmConfig(bin_dir=str(slurm.bin_dir)), directory=root)
    policy = CollectPolicy(poll_s=60.0, overlap_s=300.0, max_span_s=3600.0)
    collector = Collector(source, store, StoreThread(), policy, WallClock(), recorded=nobody)
    found = {}
    for cycle in ("first", "idle", "busy"):
        if cycle == "busy":
            slurm.start_jobs(active + 1, new)
        before = slurm.calls()
        await collector.poll()
        while collector.is_catching_up:
            await collector.catch_up()
        await source.node_states()
        found[cycle] = Counter(slurm.calls()) - Counter(before)
    assert collector.tally.starts == active + new
    store.close()
    return found


async def nobody(_: Plan) -> None:
    """Nobody has to be told."""


def measure(root: Path, *, quick: bool) -> Iterator[Figure]:
    """Count; the same in a quick run."""
    del quick
    found = anyio.run(count, root)
    for cycle in ("idle", "busy"):
        words = ", ".join(f"{name} {often}" for name, often in sorted(found[cycle].items()))
        yield Figure(
            f"commands-{cycle}", found[cycle].total(), floor="1 question has to be asked", note=words
        )
