"""From the start of the process to READY=1, with much in the store."""

from __future__ import annotations

import os
import statistics
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from slurmsyncd.model import (
    EventKind,
    Job,
    JobState,
    NodeAllocation,
    Plan,
    RunEnded,
    RunKey,
    RunStarted,
    Sharing,
    Trigger,
)
from slurmsyncd.store import open_store
from tests.tools.bench.cluster import CLUSTER
from tests.tools.bench.processes import interleaved
from tests.tools.bench.rows import Figure, Lines
from tests.tools.bench.site import site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from slurmsyncd.store import SqliteStore
    from tests.tools.bench.site import Site

_PORTION = 5000
_TELL = "UPDATE delivery SET step = 'stop', state = 'idle', due_at = NULL, acked_at = 1 WHERE run_id <= ?"


def measure(root: Path, *, quick: bool) -> Iterator[Figure | Lines]:
    """Take the sizes in turn: half of the runs are known and told, half are queued."""
    floor = interleaved({"bare": (sys.executable, "-c", "pass")}, {}, 10)["bare"].wall_s
    if not quick:
        _, times = _starts(root / "budget", 200_000, 5)
        note = f"median of {len(times)}: {min(times):.2f} … {max(times):.2f} s"
        yield Figure(
            "startup", statistics.median(times), floor=f"`python3 -c pass`: {floor:.3f} s", note=note
        )
    lines = []
    for runs in (1000, 10_000) if quick else (1000, 10_000, 100_000, 1_000_000):
        folder = root / str(runs)
        size_mb, times = _starts(folder, runs, 3)
        asked = (f"{1e3 * each:.2f}" for each in _asked_s(folder, runs))
        lines.append((f"{runs:,}", f"{size_mb:.0f}", f"{statistics.median(times):.2f}", *asked))
    yield Lines("startup-sizes", tuple(lines))


def _starts(folder: Path, runs: int, often: int) -> tuple[float, list[float]]:
    """Return the size of a store with so many runs in MB, and the seconds of some starts on it."""
    folder.mkdir()
    with site(folder) as here:
        _fill(folder / "state", runs)
        size_mb = (folder / "state" / "store.sqlite").stat().st_size / 1e6
        return size_mb, [_ready_s(here) for _ in range(often)]


def _asked_s(folder: Path, runs: int) -> list[float]:
    """Return what the store needs for what status, the story of a job and the next deliveries ask of it."""
    store = open_store(folder / "state", ("cc",)).store
    questions = (
        lambda: (store.counts("cc"), store.open_runs(), store.cursors()),
        lambda: store.run_histories(runs),
        lambda: store.due("cc", EventKind.START, time.time(), 100),
    )
    found = [statistics.median(map(_timed, [each] * 5)) for each in questions]
    store.close()
    return found


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _ready_s(here: Site) -> float:
    with here.daemon({"sinks.cc": {"url": "http://127.0.0.1:1"}}) as daemon:
        return daemon.ready_s


def _fill(directory: Path, runs: int) -> None:
    """Write runs down; the first half is told, the second is queued."""
    opened = open_store(directory, ("cc",))
    now = time.time()
    for first in range(1, runs + 1, _PORTION):
        events = tuple(started(job_id, int(now)) for job_id in range(first, min(first + _PORTION, runs + 1)))
        opened.store.record(Plan(cluster=CLUSTER, events=events, cursor=int(now)), now)
    _tell(opened.store, runs // 2)
    opened.store.close()
    lastrun = directory / "lastrun"
    lastrun.touch()
    os.utime(lastrun, (now, now))


def _tell(store: SqliteStore, through: int) -> None:
    store._db.write_relaxed(lambda con: con.execute(_TELL, (through,)))


def started(job_id: int, now: int) -> RunStarted:
    """Make a start that began ten minutes ago."""
    cores = tuple((socket, core) for socket in range(2) for core in range(8))
    job = Job(
        key=RunKey(CLUSTER, job_id, now - 600),
        state=JobState.RUNNING,
        user="alice",
        account="physics",
        partition="batch",
        name=f"job-{job_id}",
        submit_at=now - 700,
        sharing=Sharing.MULTI_USER,
        num_nodes=1,
        num_cpus=32,
        nodes=("n1",),
        allocation=(NodeAllocation("n1", cores=cores, cpus=32, memory_mib=32000),),
    )
    return RunStarted(job, Trigger.POLL)


def stopped(job_id: int, now: int) -> RunEnded:
    """Make the stop of the run that ``started`` makes of the same arguments."""
    job = started(job_id, now).job
    return RunEnded(replace(job, state=JobState.COMPLETED, end_at=now), Trigger.POLL)
