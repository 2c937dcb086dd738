"""T5: a real process killed at random moments. T3, at every system call, is in tests/system/crash."""

from __future__ import annotations

import os
import random
import signal
from typing import TYPE_CHECKING

from slurmsyncd.delivery import Delivered
from slurmsyncd.model import EventKind, RunPhase
from slurmsyncd.store import open_store
from tests.unit.store.builders import CLUSTER, T0, key, known, opened, plan, started, stopped

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from slurmsyncd.store import SqliteStore

RUNS = 7  # in one plan; the last of them has ended
KILLS = 30


def cycle(store: SqliteStore, number: int, say: Callable[[str], None]) -> None:
    """Record one plan and settle what is due, saying what the store acknowledged."""
    runs = [key(number * 10 + each) for each in range(RUNS)]
    store.record(plan(*map(started, runs), stopped(runs[-1]), cursor=number), T0)
    say(f"recorded {number}")
    for step in EventKind:
        entries = store.due("rest", step, T0, 3)
        store.settle([(entry, Delivered(T0, T0, "ok")) for entry in entries], T0)
        for entry in entries:
            say(f"{step.value} {entry.id}")


def check(directory: Path, said: list[str]) -> int:
    """See that what was acknowledged is there, and what is there is whole; give the cursor."""
    now = open_store(directory, ["rest"], reserve_bytes=4096)
    assert (now.recovered, now.quarantined_as) == (None, None)
    store = now.store
    cursor = store.cursor(CLUSTER) or 0
    # I1: all runs of every plan up to the cursor, and none behind it.
    everything = {key(plan_ * 10 + each) for plan_ in range(1, cursor + 1) for each in range(RUNS)}
    found = known(store, CLUSTER, [run.job_id for run in everything])
    assert found.keys() == everything
    assert {run for run, phase in found.items() if phase is RunPhase.STOPPED} == {
        run for run in everything if run.job_id % 10 == RUNS - 1
    }
    assert cursor >= max((int(line.split()[1]) for line in said if line.startswith("recorded")), default=0)
    # I2: what was settled is not due again, and every other delivery is still there.
    told = {line for line in said if not line.startswith("recorded")}
    due = {f"{step.value} {entry.id}" for step in EventKind for entry in store.due("rest", step, T0, 10**6)}
    assert not told & due
    rows = store._db.rows("SELECT count(*), count(DISTINCT run_id) FROM delivery")
    assert rows == [(len(everything), len(everything))]
    store.close()
    return cursor


def test_d5_t5_kill_9_at_random_moments_loses_nothing_that_was_acknowledged(directory: Path) -> None:
    """A child works on the store until it is killed; the next one goes on where the store says."""
    dice = random.Random(20240229)
    said: list[str] = []
    cursor = 0
    for _ in range(KILLS):
        said += lines_of_a_killed_child(directory, cursor, after=dice.randrange(1, 60))
        cursor = check(directory, said)
    assert cursor > KILLS


def lines_of_a_killed_child(directory: Path, cursor: int, after: int) -> list[str]:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        work_for_ever(directory, cursor, writing)
    os.close(writing)
    lines: list[str] = []
    with os.fdopen(reading) as pipe:
        for line in pipe:
            lines.append(line.strip())
            if len(lines) == after:
                # What it still says until it is dead was acknowledged, too.
                os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the child ended by itself"
    return lines


def work_for_ever(directory: Path, cursor: int, pipe: int) -> None:
    def say(line: str) -> None:
        os.write(pipe, f"{line}\n".encode())

    try:
        store = opened(directory)
        while True:
            cursor += 1
            cycle(store, cursor, say)
    finally:
        os._exit(1)
