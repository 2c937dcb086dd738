"""What the page shows: jobs of both tables, counts, node states. Queries only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slurmsyncd.backend.schema import STATES

if TYPE_CHECKING:
    from slurmsyncd.backend.database import Database, Row

#: What the page offers beside the single states.
GROUPS = {
    "": STATES,
    "running": ("running",),
    "completed": ("completed",),
    "unsuccessful": tuple(sorted(set(STATES) - {"completed", "pending", "running", "suspended"})),
}
_SHOWN = (
    "id, job_id, cluster, subcluster, start_time, hpc_user, project, partition, array_job_id, duration,"
    " walltime, job_state, num_nodes, num_hwthreads, num_acc, smt, shared, monitoring_status, resources"
)
_NODE_ORDER = ("allocated", "mixed", "reserved", "idle", "down", "unknown")
_NAME = "json_extract(meta_data, '$.jobName') AS name"
_HELD = "total(num_hwthreads) AS cpus, total(num_acc) AS gpus"
_BOTH = (
    f"(SELECT {_SHOWN}, {_NAME}, meta_data, 0 AS cached FROM job UNION ALL"  # noqa: S608  # constants only
    f" SELECT {_SHOWN}, {_NAME}, meta_data, 1 AS cached FROM job_cache)"
)
_SEARCHED = ("job_id", "array_job_id", "hpc_user", "project", "partition", "name", "resources")


@dataclass(frozen=True, slots=True)
class Filter:
    """
    Which jobs to show.

    Attributes:
        words: All must occur in the job's ids, user, project, partition, name or nodes.
        group: A key of GROUPS.
        cluster: Name; empty for all.
        limit: At most so many, the latest starts first.
    """

    words: tuple[str, ...] = ()
    group: str = ""
    cluster: str = ""
    limit: int = 200


def find_jobs(database: Database, wanted: Filter) -> list[Row]:
    """Give the jobs to show, latest start first; without metadata but for the ``name``."""
    where, values = ["job_state IN (SELECT value FROM json_each(?))"], [json.dumps(GROUPS[wanted.group])]
    if wanted.cluster:
        where.append("cluster = ?")
        values.append(wanted.cluster)
    for word in wanted.words:
        where.append(f"({' OR '.join(f'{column} LIKE ? ESCAPE char(92)' for column in _SEARCHED)})")
        values += [_pattern(word)] * len(_SEARCHED)
    return database.all(
        f"SELECT {_SHOWN}, name, cached FROM {_BOTH} WHERE {' AND '.join(where)}"  # noqa: S608  # values are bound
        " ORDER BY start_time DESC, job_id DESC LIMIT ?",
        *values,
        wanted.limit,
    )


def _pattern(word: str) -> str:
    for special in "\\%_":
        word = word.replace(special, "\\" + special)
    return f"%{word}%"


def find_job(database: Database, cluster: str, job_id: int, start_time: int) -> Row | None:
    """Give one job whole; of a job in both tables the committed row."""
    return database.one(
        f"SELECT * FROM {_BOTH} WHERE cluster = ? AND job_id = ? AND start_time = ? ORDER BY cached LIMIT 1",  # noqa: S608
        cluster,
        job_id,
        start_time,
    )


def totals(database: Database) -> dict[str, int]:
    """Give how many jobs each group of GROUPS has, and ``cpus`` and ``gpus`` that running jobs hold."""
    rows: list[dict[str, Any]] = []
    for table in ("job", "job_cache"):
        rows += database.all(
            f"SELECT job_state, count(*) AS n, {_HELD} FROM {table} GROUP BY job_state"  # noqa: S608
        )
    counts = {
        group: sum(r["n"] for r in rows if r["job_state"] in states) for group, states in GROUPS.items()
    }
    held = [row for row in rows if row["job_state"] == "running"]
    return {**counts, "cpus": int(sum(r["cpus"] for r in held)), "gpus": int(sum(r["gpus"] for r in held))}


def node_counts(database: Database) -> dict[str, dict[str, int]]:
    """Give cluster → state → number of nodes, states in their usual order."""
    counts: dict[str, dict[str, int]] = {}
    sql = "SELECT cluster, state, count(*) AS n FROM node_state GROUP BY cluster, state ORDER BY cluster"
    for row in database.all(sql):
        counts.setdefault(row["cluster"], {})[row["state"]] = row["n"]
    return {
        cluster: {state: found[state] for state in _NODE_ORDER if state in found}
        for cluster, found in counts.items()
    }
