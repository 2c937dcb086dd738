"""The record of a job as ``squeue --json`` and ``scontrol show job --json`` print it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurmsyncd.sandbox.slurm import allocation
from slurmsyncd.sandbox.slurm import formatting as words
from slurmsyncd.sandbox.slurm import visibility as views

if TYPE_CHECKING:
    from typing import Any

    from slurmsyncd.sandbox.slurm.records import RunRow
    from slurmsyncd.sandbox.slurm.release_format import ReleaseFormat


def record(run: RunRow, shape: ReleaseFormat, cluster: str) -> dict[str, Any]:
    """Return slurmctld's record of a job: the captured one, with what differs put in."""
    template: dict[str, Any] = shape.records["job"]
    if not shape.modern and not run["alloc"]:
        template = {key: value for key, value in template.items() if key != "job_resources"}
    return (
        template
        | _who(run, cluster)
        | _times(run, shape)
        | _state(run, shape)
        | _family(run, shape)
        | _resources(run, shape)
        | _young(run, shape)
    )


def _who(run: RunRow, cluster: str) -> dict[str, Any]:
    asked = run["request"]
    return {
        "job_id": run["job_id"],
        "cluster": cluster,
        "user_name": asked["user"],
        "user_id": asked["uid"],
        "group_name": asked["user"],
        "group_id": asked["uid"],
        "account": asked["account"],
        "partition": asked["partition"],
        "qos": asked["qos"],
        "name": asked["name"],
        "comment": asked["comment"],
        "wckey": asked["wckey"] or "*",
        "resv_name": asked["reservation"],
        "licenses": asked["licenses"],
        "features": asked["features"],
        "batch_flag": asked["batch"],
        "requeue": asked["batch"],
        "current_working_directory": asked["work_dir"],
        "command": asked["work_dir"] + "/job.sh" if asked["batch"] else "",
    }


def _times(run: RunRow, shape: ReleaseFormat) -> dict[str, Any]:
    start, end = views.shown_times(run)
    seen = start if start and start <= (end or start) else run["submit_at"]
    return {
        "submit_time": shape.number(run["submit_at"]),
        "eligible_time": shape.number(run["eligible_at"]),
        "accrue_time": shape.number(run["eligible_at"]),
        "start_time": shape.number(start),
        "end_time": shape.number(end),
        "last_sched_evaluation": shape.number(seen),
        "suspend_time": shape.number(run["suspended_at"]),
        "pre_sus_time": shape.number(max(0, run["suspended_at"] - run["start_at"])),
        "time_limit": shape.number(views.limit_s(run) // 60),
    }


def _state(run: RunRow, shape: ReleaseFormat) -> dict[str, Any]:
    code = run["exit_code"], run["signal"]
    flags = ["JOB_WAS_RUNNING"] if views.holds(run) else []
    return {
        "job_state": [run["state"], *filter(None, [run["phase"]])]
        if shape.modern
        else views.shown_state(run),
        "state_reason": run["reason"],
        "restart_cnt": run["restarts"],
        "exit_code": shape.exit_code(*code) if shape.modern else code[0] * 256 + code[1],
        "derived_exit_code": shape.exit_code(0, 0) if shape.modern else 0,
        "flags": [*(["ACCRUE_COUNT_CLEARED"] if shape.modern else ["JOB_ACCRUE_OVER"]), *flags],
    }


def _family(run: RunRow, shape: ReleaseFormat) -> dict[str, Any]:
    last = run["het_last"]
    return {
        "array_job_id": shape.number(run["array_job_id"]),
        "array_task_id": shape.number(run["array_task_id"]),
        "array_task_string": words.task_text(run),
        "array_max_tasks": shape.number(run["array_limit"] if run["array_tasks"] else 0),
        "het_job_id": shape.number(run["het_job_id"]),
        "het_job_offset": shape.number(run["het_offset"]),
        "het_job_id_set": f"{run['het_job_id']}-{last}" if run["het_job_id"] else "",
    }


def _resources(run: RunRow, shape: ReleaseFormat) -> dict[str, Any]:
    asked = run["request"]
    shown = views.shown_nodes(run)
    gpu = f"gres{'/' if shape.modern else ':'}gpu{':' * bool(asked['gpu_type'])}{asked['gpu_type']}"
    held = words.tres(run)
    fields = {
        "nodes": words.nodes(shown),
        "batch_host": run["alloc"][0]["node"] if run["alloc"] and asked["batch"] else "",
        "node_count": shape.number(asked["nodes"]),
        "cpus": shape.number(views.cpu_count(run)),
        "tasks": shape.number(asked["nodes"]),
        "max_nodes": shape.number(asked["nodes"] if not run["alloc"] and asked["nodes"] > 1 else 0),
        "shared": _shared(asked["exclusive"], shape),
        "tres_per_node": f"{gpu}:{asked['gpus']}" if asked["gpus"] else "",
        "tres_req_str": words.tres_text(words.requested_tres(run)),
        "tres_alloc_str": words.tres_text(held),
        "billable_tres": shape.number(float(held["billing"]) if held else None),
        "gres_detail": allocation.gres_detail(run),
    }
    if run["alloc"]:
        fields["job_resources"] = allocation.job_resources(run, shape)
    return fields


def _shared(exclusive: str, shape: ReleaseFormat) -> Any:
    word = {"node": "none", "user": "user"}.get(exclusive)
    if not shape.modern:
        return word
    return [word] if word and shape.layout == "24.11" else []


def _young(run: RunRow, shape: ReleaseFormat) -> dict[str, Any]:
    """Return what only some layouts have, and take what this one lacks."""
    asked = run["request"]
    if not shape.modern:
        return {}
    fields: dict[str, Any] = {"hold": asked["held"], "mail_user": asked["user"]}
    if shape.layout != "24.11":
        step = {"job_id": shape.number(run["job_id"]), "sluid": words.sluid(run, shape.release)}
        fields |= {
            "submit_line": submit_line(run),
            "licenses_allocated": asked["licenses"] if run["alloc"] else "",
            "step_id": shape.records["job"]["step_id"] | step,
        }
    return fields


def submit_line(run: RunRow) -> str:
    """Return what the user typed."""
    asked = run["request"]
    exclusive = {"node": " --exclusive", "user": " --exclusive=user"}.get(asked["exclusive"], "")
    command = f"sbatch -D {asked['work_dir']} -J {asked['name']}" if asked["batch"] else "srun"
    return f"{command} -N{asked['nodes']}{exclusive} {asked['work_dir']}/job.sh"
