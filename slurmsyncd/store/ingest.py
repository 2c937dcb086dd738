"""Records plans: known runs, events and the accounting cursor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurmsyncd.errors import StoreError
from slurmsyncd.model import RunEnded, RunKey, RunPhase, RunStarted
from slurmsyncd.store import gaps
from slurmsyncd.store.codec import encode

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from slurmsyncd.model import Plan
    from slurmsyncd.store.database import Database

_OPEN = "SELECT job_id, start_at FROM run WHERE cluster = ? AND phase = 'started'"
_ENDS = "SELECT start_at, end_at FROM run WHERE job_id = ? AND cluster = ?"
_ONE = "SELECT id, phase FROM run WHERE job_id = ? AND start_at = ? AND cluster = ?"
_NEW_RUN = """
    INSERT INTO run (cluster, job_id, start_at, phase) VALUES (?, ?, ?, 'started') ON CONFLICT DO NOTHING
"""
_NEW_DELIVERY = """
    INSERT INTO delivery (run_id, sink, step, state, due_at, waiting_since)
    VALUES (?, ?, 'start', 'ready', ?, ?)
"""
_RELEASE_STOP = """
    UPDATE delivery SET state = 'ready', due_at = max(?, hold_until), waiting_since = ?
    WHERE run_id = ? AND state = 'idle'
"""
_ADVANCE = """
    INSERT INTO cursor (cluster, at) VALUES (?, ?)
    ON CONFLICT (cluster) DO UPDATE SET at = max(at, excluded.at)
"""


def cursor(database: Database, cluster: str) -> int | None:
    """Return the accounting cursor of a cluster (epoch seconds), None if its accounting was never read."""
    rows = database.rows("SELECT at FROM cursor WHERE cluster = ?", (cluster,))
    return rows[0][0] if rows else None


def settled_until(database: Database, cluster: str) -> int | None:
    """Return up to where the halves of a cluster's Slurm agreed, None if that is not known."""
    rows = database.rows("SELECT at FROM settled WHERE cluster = ?", (cluster,))
    return rows[0][0] if rows else None


def changed_job_ids(database: Database, cluster: str, running: Iterable[tuple[int, int]]) -> frozenset[int]:
    """Return the ids of jobs whose open runs differ from the job list, or that are listed with two starts."""
    unmatched: dict[int, int] = {}
    found = set()
    for job_id, start_at in running:
        if unmatched.setdefault(job_id, start_at) != start_at:
            found.add(job_id)
    for job_id, start_at in database.each(_OPEN, (cluster,)):
        if unmatched.get(job_id) == start_at:
            del unmatched[job_id]
        else:
            found.add(job_id)
    return frozenset(found | unmatched.keys())


def end_times(database: Database, cluster: str, job_ids: Iterable[int]) -> dict[RunKey, int | None]:
    """Return when each known run of ``job_ids`` ended, None while it is open."""
    return {
        RunKey(cluster, job_id, start_at): end_at
        for job_id in set(job_ids)
        for start_at, end_at in database.rows(_ENDS, (job_id, cluster))
    }


def record(con: sqlite3.Connection, plan: Plan, sinks: Sequence[str], now: float) -> int:
    """Record a plan; return the number of new events."""
    new = 0
    for event in plan.events:
        match event:
            case RunStarted():
                new += _start(con, event, sinks, now)
            case RunEnded():
                new += _stop(con, event, now)
    if plan.cursor is not None:
        con.execute(_ADVANCE, (plan.cluster, plan.cursor))
    if plan.gap is not None:
        gaps.add(con, plan.gap)
    if plan.filled is not None:
        gaps.close(con, plan.cluster, *plan.filled)
    return new


def _start(con: sqlite3.Connection, event: RunStarted, sinks: Sequence[str], now: float) -> int:
    key = event.job.key
    made = con.execute(_NEW_RUN, (key.cluster, key.job_id, key.start_at))
    if not made.rowcount:
        return 0  # what was written down first stays as it is
    run_id = made.lastrowid
    con.execute(
        "INSERT INTO started VALUES (?, ?, ?, ?, ?)", (run_id, now, event.trigger.value, *encode(event.job))
    )
    for sink in sinks:
        con.execute(_NEW_DELIVERY, (run_id, sink, now, now))
    return 1


def _stop(con: sqlite3.Connection, event: RunEnded, now: float) -> int:
    job = event.job
    row = con.execute(_ONE, (job.key.job_id, job.key.start_at, job.key.cluster)).fetchone()
    if row is None:
        raise StoreError(
            f"{job.key} is to be stopped, but was never started: this is a bug, please report it"
        )
    run_id, phase = row
    if phase == RunPhase.STOPPED.value:
        return 0
    con.execute("UPDATE run SET phase = 'stopped', end_at = ? WHERE id = ?", (job.end_at, run_id))
    con.execute(
        "INSERT INTO stopped VALUES (?, ?, ?, ?, ?)", (run_id, now, event.trigger.value, *encode(job))
    )
    con.execute(_RELEASE_STOP, (now, now, run_id))
    return 1
