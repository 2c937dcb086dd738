"""Looks at which nothing changes leave nothing behind: objects and blocks are counted, no megabytes."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.unit.pipeline.test_collect import Stage

if TYPE_CHECKING:
    from slurmsyncd.store import SqliteStore
    from tests.unit.pipeline.conftest import CountingThread

JOBS = 100
#: Blocks by which caches and other threads go up and down; what is kept of each job would be 5,000.
NOISE = 1000
#: Of each job during a look: 420, most of it the fake Slurm's; with objects for each known run it was 730.
MANY, BYTES = 2000, 550


def _running(store: SqliteStore, thread: CountingThread, count: int) -> Stage:
    """Return a stage where so many jobs run that no hook told of."""
    stage = Stage(store, thread)
    for job_id in range(1, count + 1):
        stage.slurm.start(job_id)
    stage.slurm.hints.clear()
    return stage


async def _cycles(stage: Stage, count: int) -> tuple[Counter[str], int]:
    """Look so often; give our objects by type, and the blocks of Python's allocator."""
    for _ in range(count):
        stage.later(60)
        await stage.look()
        stage.slurm.looks.clear()
        stage.slurm.asked.clear()
        stage.plans.clear()
    gc.collect()
    types = (type(each) for each in gc.get_objects())
    ours = Counter(each.__qualname__ for each in types if each.__module__.startswith("slurmsyncd."))
    return ours, sys.getallocatedblocks()


@pytest.mark.anyio
async def test_t11_i6_looks_at_which_nothing_changes_leave_nothing_behind(
    store: SqliteStore, thread: CountingThread
) -> None:
    """Fifty more looks at a hundred jobs: not one more object of ours, and nothing of each job."""
    stage = _running(store, thread, JOBS)

    objects, blocks = await _cycles(stage, 50)
    later_objects, later_blocks = await _cycles(stage, 50)

    assert later_objects == objects
    assert later_blocks - blocks < NOISE


@pytest.mark.anyio
async def test_t11_a_look_at_which_nothing_changes_holds_little_of_each_job(
    store: SqliteStore, thread: CountingThread
) -> None:
    """What runs as it is known to is compared row by row; no more of it is kept than the listing's line."""
    stage = _running(store, thread, MANY)
    await _cycles(stage, 2)

    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        await stage.collector.poll()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert (peak - before) / MANY < BYTES
