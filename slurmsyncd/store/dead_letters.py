"""
Keeps the dead letters bounded: of the newest beyond a number, what was to be told is given up.

Slurm's accounting still has the newest ones, so their records can be read there again when they are retried.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurmsyncd.model import RunKey
from slurmsyncd.store.codec import CorruptBody, decode, encode

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from slurmsyncd.model import Job
    from slurmsyncd.store.database import Database

#: Dead letters of one sink that keep their records, 1 to 2 KiB each without a script. The others keep name,
#: reason and history.
LETTERS = 100_000

_BEYOND = """
    SELECT sink, count(*) - ? FROM delivery WHERE state = 'dead' GROUP BY sink HAVING count(*) > ?
"""
# What another sink still has to be told of is needed. The oldest are kept: they tell how it began.
_GIVE_UP = """
    UPDATE {table} SET body = x'', crc = 0 WHERE length(body) > 0 AND run_id IN (
        SELECT run_id FROM delivery WHERE sink = ? AND state = 'dead' ORDER BY id DESC LIMIT ?
    ) AND NOT EXISTS (
        SELECT 1 FROM delivery d WHERE d.run_id = {table}.run_id AND d.state IN ('ready', 'parked', 'idle')
    )
"""

_RECORDS = """
    SELECT r.cluster, r.job_id, r.start_at, a.body, a.crc, z.run_id, z.body, z.crc
    FROM delivery d JOIN run r ON r.id = d.run_id
    JOIN started a ON a.run_id = r.id LEFT JOIN stopped z ON z.run_id = r.id WHERE d.id = ?
"""
_FIND = "SELECT id FROM run WHERE job_id = ? AND start_at = ? AND cluster = ?"
_READ = "SELECT body, crc FROM {table} WHERE run_id = ?"
_REFILL = "UPDATE {table} SET body = ?, crc = ? WHERE run_id = ?"


def limit_dead_letters(con: sqlite3.Connection, keep: int) -> int:
    """Discard records of the newest dead letters beyond ``keep`` per sink; return the number discarded."""
    beyond = con.execute(_BEYOND, (keep, keep)).fetchall()
    return sum(
        con.execute(_GIVE_UP.format(table=table), (sink, number)).rowcount
        for sink, number in beyond
        for table in ("started", "stopped")
    )


def bare(database: Database, ids: Iterable[int]) -> tuple[tuple[int, RunKey], ...]:
    """Return id and run of the deliveries whose record is damaged or was discarded."""
    found = []
    for id_ in ids:
        for cluster, job_id, start_at, *start, stopped, body, crc in database.rows(_RECORDS, (id_,)):
            key = RunKey(cluster, job_id, start_at)
            if not (_is_sound(key, *start) and (stopped is None or _is_sound(key, body, crc))):
                found.append((id_, key))
    return tuple(found)


def refill(con: sqlite3.Connection, job: Job) -> bool:
    """Restore a run's records that are damaged or were discarded; return whether any were."""
    key, refilled = job.key, 0
    for (run_id,) in con.execute(_FIND, (key.job_id, key.start_at, key.cluster)).fetchall():
        for table in ("started", "stopped"):
            row = con.execute(_READ.format(table=table), (run_id,)).fetchone()
            if row is not None and not _is_sound(key, *row):
                refilled += con.execute(_REFILL.format(table=table), (*encode(job), run_id)).rowcount
    return refilled > 0


def _is_sound(key: RunKey, body: bytes, crc: int) -> bool:
    try:
        return decode(body, crc).key == key
    except CorruptBody:
        return False
