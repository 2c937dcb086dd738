"""The record of a job as ``sacct --json`` prints it, and the fields of its text form. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurmsyncd.sandbox.slurm import formatting as words
from slurmsyncd.sandbox.slurm import visibility as views
from slurmsyncd.sandbox.slurm.squeue_record import submit_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from slurmsyncd.sandbox.slurm.records import RunRow
    from slurmsyncd.sandbox.slurm.release_format import ReleaseFormat

_TRES_IDS = {"cpu": 1, "mem": 2, "energy": 3, "node": 4, "billing": 5, "gres/gpu": 1001}
NEVER = 4294967294


def name_in_database(name: str) -> str:
    """Return a job name as the database keeps it: a double quote becomes a backquote."""
    return name.replace('"', "`")


def record(run: RunRow, shape: ReleaseFormat, cluster: str, now: float) -> dict[str, Any]:
    """Return slurmdbd's record of a run: the captured one, with what differs put in."""
    template: dict[str, Any] = shape.records["sacct"]
    return template | _who(run, cluster, template) | _what(run, shape, template, now) | _young(run, shape)


def _who(run: RunRow, cluster: str, template: dict[str, Any]) -> dict[str, Any]:
    asked = run["request"]
    named = {"account": asked["account"], "user": asked["user"]}
    if not template["association"]["account"]:
        named = {}  # 26.05 leaves them empty
    return {
        "job_id": run["job_id"],
        "cluster": cluster,
        "association": template["association"] | {"cluster": cluster} | named,
        "user": asked["user"],
        "group": asked["user"],
        "account": asked["account"],
        "partition": asked["partition"],
        "qos": asked["qos"],
        "name": name_in_database(asked["name"]),
        "comment": template["comment"] | {"job": asked["comment"] or template["comment"]["job"]},
        "constraints": asked["features"],
        "wckey": {"wckey": asked["wckey"], "flags": [] if asked["wckey"] else ["ASSIGNED_DEFAULT"]},
        "working_directory": asked["work_dir"],
    }


def _what(run: RunRow, shape: ReleaseFormat, template: dict[str, Any], now: float) -> dict[str, Any]:
    task = shape.number(run["array_task_id"])
    offset = shape.number(run["het_offset"] if run["het_job_id"] else None)
    tasks = {"max": {"running": {"tasks": run["array_limit"]}}}
    of = {"job_id": run["array_job_id"], "task_id": task, "limits": tasks}
    return {
        "time": _times(run, shape, template["time"], now),
        "state": {"current": _state(run, shape), "reason": run["reason"]},
        "exit_code": shape.exit_code(*_code(run)),
        "derived_exit_code": shape.exit_code(0, 0, known=run["state"] != "NODE_FAIL"),
        "allocation_nodes": len(run["alloc"]),
        "nodes": words.nodes(run["alloc"]) or "None assigned",
        "array": template["array"] | of,
        "het": {"job_id": run["het_job_id"], "job_offset": offset},
        "required": template["required"] | {"CPUs": words.requested_tres(run)["cpu"]},
        "kill_request_user": _killer(run) or template["kill_request_user"],
        "tres": {
            "allocated": _tres(words.tres(run), shape),
            "requested": _tres(words.requested_tres(run), shape),
        },
        "flags": template["flags"] if run["start_at"] else template["flags"][1:],
    }


def _code(run: RunRow) -> tuple[int, int]:
    """Return exit code and signal: of a cancelled job slurmdbd knows no signal, slurmctld does."""
    return run["exit_code"], 0 if run["state"] == "CANCELLED" else run["signal"]


def _killer(run: RunRow) -> str:
    if run["killed_by"] is None:
        return ""
    return run["request"]["user"] if run["killed_by"] else "root"


def _times(run: RunRow, shape: ReleaseFormat, template: dict[str, Any], now: float) -> dict[str, Any]:
    start: int | None = run["start_at"]
    if not start:
        start = NEVER if shape.modern and run["end_at"] else 0 if not run["end_at"] else None
    times = {
        "elapsed": views.elapsed_s(run, now),
        "eligible": run["eligible_at"],
        "end": run["end_at"],
        "start": start,
        "submission": run["submit_at"],
        "suspended": run["paused_s"],
        "limit": shape.number(_limit_min(run)),
    }
    if "planned" in template:
        begun = run["start_at"] or run["end_at"] or int(now)
        times["planned"] = shape.number(begun - run["eligible_at"] if run["eligible_at"] else 0)
    return template | times


def _limit_min(run: RunRow) -> int | None:
    if not run["start_at"] and run["request"]["limit_min"] is None:
        return None
    return views.limit_s(run) // 60


def _state(run: RunRow, shape: ReleaseFormat) -> Any:
    if not shape.modern:
        return run["state"]
    return ["PENDING", "REQUEUED"] if run["state"] == "REQUEUED" else [run["state"]]


def _tres(tres: dict[str, int], shape: ReleaseFormat) -> list[dict[str, Any]]:
    unnamed = "" if shape.modern else None
    rows = []
    for name, count in tres.items():
        kind, _, rest = name.partition("/")
        row_id = _TRES_IDS.get(name, 1002)
        rows.append({"type": kind, "name": rest or unnamed, "id": row_id, "count": count})
    return rows


def _young(run: RunRow, shape: ReleaseFormat) -> dict[str, Any]:
    asked = run["request"]
    fields: dict[str, Any] = {}
    if shape.modern:
        named = {"name": asked["reservation"]}
        fields = {
            "restart_cnt": run["restarts"],
            "submit_line": submit_line(run),
            "licenses": asked["licenses"],
            "hold": asked["held"],
            "failed_node": run["alloc"][0]["node"] if run["state"] == "NODE_FAIL" else "",
            "reservation": shape.records["sacct"]["reservation"] | named,
        }
    if shape.modern and shape.layout != "24.11":
        sluid = words.sluid(run, shape.release)
        fields |= {"sluid": sluid, "original_sluid": sluid}
        fields["exclusive"] = {"node": "NODE", "user": "USER"}.get(asked["exclusive"], "NO")
    return fields


def fields(
    run: RunRow, release: str, cluster: str, now: float, instant: Callable[[float], str]
) -> dict[str, Any]:
    """
    Return every field of sacct's text form that the simulation fills, by its name in lower case.

    ``instant`` writes epoch seconds.
    """
    asked = run["request"]
    took = views.elapsed_s(run, now)
    limit = _limit_min(run)
    code, signal = _code(run)
    held, wanted = words.tres(run), words.requested_tres(run)
    pending_cpus = wanted["cpu"] if release == "22.05" else 0
    return {
        "jobidraw": run["job_id"],
        "jobid": words.shown_id(run),
        "cluster": cluster,
        "user": asked["user"],
        "uid": asked["uid"],
        "group": asked["user"],
        "gid": asked["uid"],
        "account": asked["account"],
        "partition": asked["partition"],
        "jobname": name_in_database(asked["name"]),
        "state": state_text(run),
        "submit": instant(run["submit_at"]),
        "eligible": instant(run["eligible_at"]) if run["eligible_at"] else "Unknown",
        "start": instant(run["start_at"]) if run["start_at"] else "None" if run["end_at"] else "Unknown",
        "end": instant(run["end_at"]) if run["end_at"] else "Unknown",
        "elapsedraw": took,
        "elapsed": words.span(took),
        "timelimitraw": "Partition_Limit" if limit is None else limit,
        "timelimit": "Partition_Limit" if limit is None else words.span(limit * 60),
        "suspended": words.span(run["paused_s"]),
        "nnodes": len(run["alloc"]) or asked["nodes"],
        "allocnodes": len(run["alloc"]),
        "ncpus": held.get("cpu", pending_cpus),
        "alloccpus": held.get("cpu", pending_cpus),
        "reqcpus": wanted["cpu"],
        "reqnodes": asked["nodes"],
        "alloctres": words.tres_text(held, by_name=True),
        "reqtres": words.tres_text(wanted, by_name=True),
        "nodelist": words.nodes(run["alloc"]) or "None assigned",
        "exitcode": f"{code}:{signal}",
        "derivedexitcode": "0:0",
        "qos": asked["qos"],
        "wckey": asked["wckey"] or "*",
        "restarts": run["restarts"],
        "dbindex": words.db_index(run, release),
        "sluid": words.sluid(run, release),
        "originalsluid": words.sluid(run, release),
        "flags": ("SchedMain," if run["start_at"] else "")
        + ("StartRecieved" if release == "22.05" else "StartReceived"),
        "reservation": asked["reservation"],
        "reason": run["reason"],
        "comment": asked["comment"],
        "constraints": asked["features"],
        "licenses": asked["licenses"],
        "failednode": run["alloc"][0]["node"] if run["state"] == "NODE_FAIL" else "",
        "exclusive": {"node": "NODE", "user": "USER"}.get(asked["exclusive"], "NO"),
        "oversubscribe": "NO",
        "priority": 1,
        "reqmem": f"{wanted['mem']}M",
        "associd": 5,
        "workdir": asked["work_dir"],
        "submitline": submit_line(run),
        "stdin": "/dev/null",
        "stdout": "/dev/null",
    }


def state_text(run: RunRow) -> str:
    """Return the State column: with the uid of who cancelled."""
    if run["state"] == "CANCELLED" and run["killed_by"] is not None:
        return f"CANCELLED by {run['killed_by']}"
    return run["state"]
