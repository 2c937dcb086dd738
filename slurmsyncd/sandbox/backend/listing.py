"""Queries of the page: jobs of both tables, counts and node states."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slurmsyncd.sandbox.backend.schema import STATES

if TYPE_CHECKING:
    from slurmsyncd.sandbox.backend.database import BackendDatabase, Row

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
_NAME = "json_extract(meta_data, '$.jobName')"
_SEARCHED = ("job_id", "array_job_id", "hpc_user", "project", "partition", _NAME, "resources")
_HELD = "total(num_hwthreads) AS cpus, total(num_acc) AS gpus"
_NODE_ORDER = ("allocated", "mixed", "reserved", "idle", "down", "unknown")
_TABLES = ("job_cache", "job")  # of a job in both, the committed row counts


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


def find_jobs(database: BackendDatabase, wanted: Filter) -> list[Row]:
    """Return the jobs to show, latest start first; without metadata but for the ``name``."""
    where, values = _conditions(wanted)
    found: dict[tuple[Any, ...], Row] = {}
    for table in _TABLES:  # each in the order of its index: a union would be sorted whole
        rows = database.all(
            f"SELECT {_SHOWN}, {_NAME} AS name, {table == 'job_cache'} AS cached FROM {table}"  # noqa: S608
            f" WHERE {where} ORDER BY start_time DESC, job_id DESC LIMIT ?",
            *values,
            wanted.limit,
        )
        found.update({(row["start_time"], row["job_id"], row["cluster"]): row for row in rows})
    return [found[key] for key in sorted(found, reverse=True)][: wanted.limit]


def _conditions(wanted: Filter) -> tuple[str, list[str]]:
    where, values = ["1"], []
    if wanted.group:
        where.append("+job_state IN (SELECT value FROM json_each(?))")
        values.append(json.dumps(GROUPS[wanted.group]))
    if wanted.cluster:
        where.append("+cluster = ?")
        values.append(wanted.cluster)
    for word in wanted.words:
        where.append(f"({' OR '.join(f'{column} LIKE ? ESCAPE char(92)' for column in _SEARCHED)})")
        values += [_pattern(word)] * len(_SEARCHED)
    return " AND ".join(where), values


def _pattern(word: str) -> str:
    for special in "\\%_":
        word = word.replace(special, "\\" + special)
    return f"%{word}%"


def find_job(database: BackendDatabase, cluster: str, job_id: int, start_time: int) -> Row | None:
    """Return one job whole; of a job in both tables the committed row."""
    for table in reversed(_TABLES):
        row = database.one(
            f"SELECT *, {_NAME} AS name, {table == 'job_cache'} AS cached FROM {table}"  # noqa: S608
            " WHERE job_id = ? AND cluster = ? AND start_time = ?",
            job_id,
            cluster,
            start_time,
        )
        if row is not None:
            return row
    return None


def totals(database: BackendDatabase) -> dict[str, int]:
    """Return how many jobs each group of GROUPS has, and ``cpus`` and ``gpus`` that running jobs hold."""
    counts = dict.fromkeys((*GROUPS, "cpus", "gpus"), 0)
    for table in _TABLES:
        for row in database.all(f"SELECT job_state, count(*) AS n FROM {table} GROUP BY job_state"):  # noqa: S608
            for group, states in GROUPS.items():
                counts[group] += row["n"] if row["job_state"] in states else 0
        held = database.one(
            f"SELECT {_HELD} FROM {table} WHERE job_state = 'running'"  # noqa: S608
        )
        for name, count in (held or {}).items():
            counts[name] += int(count)
    return counts


def node_counts(database: BackendDatabase) -> dict[str, dict[str, int]]:
    """Return cluster → state → number of nodes, states in their usual order."""
    counts: dict[str, dict[str, int]] = {}
    sql = "SELECT cluster, state, count(*) AS n FROM node_state GROUP BY cluster, state ORDER BY cluster"
    for row in database.all(sql):
        counts.setdefault(row["cluster"], {})[row["state"]] = row["n"]
    return {
        cluster: {state: found[state] for state in _NODE_ORDER if state in found}
        for cluster, found in counts.items()
    }
