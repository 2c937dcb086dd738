"""Jobs between the three forms they have: request, row, answer. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slurmsyncd.sandbox.backend.database import Row

_DUMP = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def to_values(job: dict[str, Any], sub_cluster: str) -> tuple[Any, ...]:
    """Turn a decoded start request into values in the order of ``database.COLUMNS``."""
    get = job.get
    return (
        get("jobId", 0),
        get("cluster", ""),
        sub_cluster,
        get("startTime", 0),
        get("user", ""),
        get("project", ""),
        get("partition", ""),
        get("arrayJobId", 0),
        get("duration", 0),
        get("walltime", 0),
        "running",  # whatever the request says
        get("numNodes", 0),
        get("numHwthreads", 0),
        get("numAcc", 0),
        get("smt", 0),
        get("shared", "none"),
        get("monitoringStatus", 1),
        _DUMP([_without_empty(resource) for resource in job["resources"]]),
        _DUMP(job["metaData"]) if "metaData" in job else None,
    )


def _without_empty(resource: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in resource.items() if value or key == "hostname"}
    return {"hostname": "", **kept}


def to_answer(
    row: Row, *, now: float, tags: list[dict[str, Any]] | None = None, meta: bool
) -> dict[str, Any]:
    """
    Turn a row into the job object of answers.

    Args:
        row: Of either table.
        now: Epoch seconds; a running job's duration ends here.
        tags: Of the job, None if it has none.
        meta: Whether to show metadata; null otherwise.
    """
    running = row["job_state"] == "running"
    optional = {
        "id": row["id"],
        "partition": row["partition"],
        "tags": tags,
        "arrayJobId": row["array_job_id"],
        "walltime": row["walltime"],
        "smt": row["smt"],
        "monitoringStatus": row["monitoring_status"],
        "numAcc": row["num_acc"],
        "numHwthreads": row["num_hwthreads"],
    }
    return {
        "cluster": row["cluster"],
        "subCluster": row["subcluster"],
        "project": row["project"],
        "user": row["hpc_user"],
        "shared": row["shared"],
        "jobState": row["job_state"],
        "resources": json.loads(row["resources"]),
        "energyFootprint": None,
        "footprint": None,
        "metaData": json.loads(row["meta_data"]) if meta and row["meta_data"] else None,
        "concurrentJobs": {"items": None, "count": 0},
        "energy": 0,
        "jobId": row["job_id"],
        "duration": int(now) - row["start_time"] if running else row["duration"],
        "numNodes": row["num_nodes"],
        "statistics": None,
        "startTime": row["start_time"],
        **{key: value for key, value in optional.items() if value},
    }
