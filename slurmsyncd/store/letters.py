"""Keeps the dead letters bounded: of the newest beyond a number, what was to be told is given up."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

#: Dead letters of one sink that keep their records, a few KiB each. The others keep name, reason and history.
LETTERS = 10_000

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


def bound(con: sqlite3.Connection, keep: int) -> int:
    """Let no more than ``keep`` dead letters of a sink hold their records; give how many records went."""
    beyond = con.execute(_BEYOND, (keep, keep)).fetchall()
    return sum(
        con.execute(_GIVE_UP.format(table=table), (sink, number)).rowcount
        for sink, number in beyond
        for table in ("started", "stopped")
    )
