"""Spans of accounting that could not be read, as they are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurmsyncd.model import Gap
from slurmsyncd.planner.gaps import merged, without

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

ALL = "SELECT cluster, since, until, reason, recorded_at FROM accounting_gap ORDER BY cluster, since"
OF = "SELECT cluster, since, until, reason, recorded_at FROM accounting_gap WHERE cluster = ? ORDER BY since"


def every(rows: Iterable[tuple[str, int, int, str, float]]) -> tuple[Gap, ...]:
    """Return the gaps that rows of ``ALL`` or ``OF`` describe."""
    return tuple(
        Gap(cluster=cluster, since=since, until=until, reason=reason, recorded_at=at)
        for cluster, since, until, reason, at in rows
    )


def add(con: sqlite3.Connection, gap: Gap) -> None:
    """Add a gap to those of its cluster."""
    _replace(con, gap.cluster, merged(_of(con, gap.cluster), gap))


def close(con: sqlite3.Connection, cluster: str, since: int, until: int) -> bool:
    """Remove a span that has been read from the gaps of a cluster; return whether it was one."""
    before = _of(con, cluster)
    after = without(before, since, until)
    if after != before:
        _replace(con, cluster, after)
    return after != before


def _of(con: sqlite3.Connection, cluster: str) -> tuple[Gap, ...]:
    return every(con.execute(OF, (cluster,)))


def _replace(con: sqlite3.Connection, cluster: str, those: Iterable[Gap]) -> None:
    con.execute("DELETE FROM accounting_gap WHERE cluster = ?", (cluster,))
    con.executemany(
        "INSERT INTO accounting_gap VALUES (?, ?, ?, ?, ?)",
        [(each.cluster, each.since, each.until, each.reason, each.recorded_at) for each in those],
    )
