"""How slurmctld calls PrologSlurmctld and EpilogSlurmctld. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from slurmsyncd.sandbox.slurm import formatting as words
from slurmsyncd.sandbox.slurm import visibility as views

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slurmsyncd.sandbox.slurm.records import RunRow


@dataclass(frozen=True, slots=True)
class HookCall:
    """
    PrologSlurmctld or EpilogSlurmctld, to be called now.

    Attributes:
        run_id: Row of the run.
        argv: Command; empty when there is none, then the phase ends by itself with the next tick.
    """

    run_id: int
    context: str
    argv: tuple[str, ...]
    env: Mapping[str, str]


def environment(run: RunRow, context: str, release: str, cluster: str) -> dict[str, str]:
    """
    Return all variables: no PATH, no HOME, no SLURM_CONF, as measured.

    ``context`` is ``prolog`` or ``epilog``.
    """
    asked = run["request"]
    nodes = words.nodes(run["alloc"])
    restarts = run["restarts"] + (context == "epilog" and run["state"] == "REQUEUED")
    return {
        "SHLVL": "1",
        "SLURM_CLUSTER_NAME": cluster,
        "SLURM_SCRIPT_CONTEXT": f"{context}_slurmctld",
        "SLURM_JOB_ID": str(run["job_id"]),
        "SLURM_JOBID": str(run["job_id"]),
        "SLURM_JOB_NAME": asked["name"],
        "SLURM_JOB_USER": asked["user"],
        "SLURM_JOB_UID": str(asked["uid"]),
        "SLURM_JOB_GID": str(asked["uid"]),
        "SLURM_JOB_GROUP": asked["user"],
        "SLURM_JOB_ACCOUNT": asked["account"],
        "SLURM_JOB_PARTITION": asked["partition"],
        "SLURM_JOB_NODELIST": nodes,
        "SLURM_JOB_NUM_NODES": str(len(run["alloc"])),
        "SLURM_JOB_CPUS_PER_NODE": _cpus_per_node(run),
        "SLURM_JOB_WORK_DIR": asked["work_dir"],
        "SLURM_JOB_STDIN": "/dev/null",
        "SLURM_JOB_STDOUT": "/dev/null",
        "SLURM_JOB_RESTART_COUNT": str(restarts),  # the epilog of a requeued run has the next one's
        "SLURM_WCKEY": asked["wckey"] or "*",
        **_if_set(run),
        **_family(run),
        **_young(run, context, release),
        **(_end(run) if context == "epilog" else {}),
    }


def _cpus_per_node(run: RunRow) -> str:
    runs = [(cpus, len(list(same))) for cpus, same in groupby(map(words.cpus, run["alloc"]))]
    return ",".join(f"{cpus}(x{times})" if times > 1 else str(cpus) for cpus, times in runs)


def _if_set(run: RunRow) -> dict[str, str]:
    asked = run["request"]
    values = {
        "SLURM_JOB_COMMENT": asked["comment"],
        "SLURM_JOB_CONSTRAINTS": asked["features"],
        "SLURM_JOB_LICENSES": asked["licenses"],
        "SLURM_JOB_RESERVATION": asked["reservation"],
    }
    return {name: value for name, value in values.items() if value}


def _family(run: RunRow) -> dict[str, str]:
    if run["array_job_id"]:
        return {
            "SLURM_ARRAY_JOB_ID": str(run["array_job_id"]),
            "SLURM_ARRAY_TASK_ID": str(run["array_task_id"]),
            "SLURM_ARRAY_TASK_COUNT": str(run["array_last"] + 1),
            "SLURM_ARRAY_TASK_MIN": "0",
            "SLURM_ARRAY_TASK_MAX": str(run["array_last"]),
            "SLURM_ARRAY_TASK_STEP": "1",
        }
    if run["het_job_id"]:
        values = {"_JOB_ID": str(run["het_job_id"]), "_JOB_OFFSET": str(run["het_offset"])}
        return {f"SLURM_{kind}{name}": value for kind in ("HET", "PACK") for name, value in values.items()}
    return {}


def _young(run: RunRow, context: str, release: str) -> dict[str, str]:
    if release == "22.05":
        return {}
    asked = run["request"]
    end = run["end_at"] if context == "epilog" else run["start_at"] + views.limit_s(run)
    times = {"SLURM_JOB_START_TIME": str(run["start_at"]), "SLURM_JOB_END_TIME": str(end)}
    if release == "24.11":
        word = {"node": "NO", "user": "USER"}.get(asked["exclusive"], "OK")
        return times | {"SLURM_JOB_OVERSUBSCRIBE": word}
    return times | {
        "SLURM_JOB_OVERSUBSCRIBE": "NO",
        "SLURM_JOB_EXCLUSIVE": {"node": "NODE", "user": "USER"}.get(asked["exclusive"], "NO"),
        "SLURM_JOB_QOS": asked["qos"],
        "SLURM_JOB_SLUID": words.sluid(run, release),
    }


def _end(run: RunRow) -> dict[str, str]:
    return {
        "SLURM_JOB_EXIT_CODE": str(run["exit_code"] * 256 + run["signal"]),
        "SLURM_JOB_EXIT_CODE2": f"{run['exit_code']}:{run['signal']}",
        "SLURM_JOB_DERIVED_EC": "0",
    }
