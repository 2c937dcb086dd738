"""The metadata of a start: names, texts and a readable summary. Pure."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from slurmsyncd.model import Job
from slurmsyncd.sinks.text import clean, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from slurmsyncd.model import NodeAllocation

# Never copied from the start into the end, because these values describe the time of the start.
_OF_THE_END = frozenset({"key", "state", "end_at", "exit_code", "script"})
_SHORT = 255  # bytes of a name
_LONG = 4096  # bytes of a comment or a command line
_INFO = 16384  # bytes of the summary
_NODES = 32  # nodes that the summary names


def meta_data(
    job: Job, missing: Iterable[str], *, script_limit: int, slim: bool = False, ended: Job | None = None
) -> dict[str, str]:
    """
    Return ``metaData``: strings of limited size; keys without a value are omitted.

    Args:
        job: The run at its start.
        missing: Parts that were omitted from the resources.
        script_limit: Maximum size of the batch script in bytes.
        slim: Whether to omit script, summary and long texts.
        ended: The run as it ended, for the summary; None while it runs.
    """
    found = {
        "jobName": clean(job.name, _LONG),
        "submitTime": _number(job.submit_at),
        "qos": one_line(job.qos, _SHORT),
        "reservation": one_line(job.reservation, _SHORT),
        "wckey": "" if job.wckey == "*" else one_line(job.wckey, _SHORT),  # "*": the default, unnamed
        "restarts": _number(job.restarts),
        "arrayTaskId": _number(job.array_task_id),
        "hetJobId": _number(job.het_job_id),
        "hetJobOffset": _number(job.het_offset),
        "sluid": one_line(job.sluid, _SHORT),
        "exitCode": one_line(job.exit_code, _SHORT) if job.state.is_final else "",
        "resourcesIncomplete": ",".join(sorted(missing)),
    }
    if not slim:
        found["comment"] = clean(job.comment, _LONG)
        found["slurmInfo"] = slurm_info(job if ended is None else with_end(job, ended))
        found["jobScript"] = clean(job.script or "", script_limit)
    return {key: value for key, value in found.items() if value}


def with_end(start: Job, stop: Job) -> Job:
    """Return the run as it ended, with the cores and GPUs of its start, which accounting does not have."""
    known = {
        spec.name: getattr(start, spec.name)
        for spec in fields(Job)
        if spec.name not in _OF_THE_END and getattr(stop, spec.name) in (None, "", 0, ())
    }
    return replace(stop, **known)


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def slurm_info(job: Job) -> str:
    """Return a summary of a run in the format of ``scontrol show job``."""
    lines = [
        [("JobId", str(job.key.job_id)), ("JobName", job.name), ("SLUID", job.sluid)],
        [
            ("ArrayJobId", _number(job.array_job_id)),
            ("ArrayTaskId", _number(job.array_task_id)),
            ("HetJobId", _number(job.het_job_id)),
            ("HetJobOffset", _number(job.het_offset)),
        ],
        [("UserId", job.user), ("Account", job.account), ("QOS", job.qos), ("WCKey", job.wckey)],
        [
            ("JobState", job.state.value),
            ("Restarts", _number(job.restarts)),
            ("ExitCode", job.exit_code),
        ],
        [
            ("SubmitTime", _time(job.submit_at)),
            ("StartTime", _time(job.key.start_at)),
            ("EndTime", _time(job.end_at)),
            ("RunTime", "" if job.end_at is None else _limit(job.end_at - job.key.start_at)),
            ("TimeLimit", _limit(job.time_limit_s)),
        ],
        [("Partition", job.partition), ("Reservation", job.reservation), ("Cluster", job.key.cluster)],
        [("NodeList", ",".join(job.nodes[:_NODES]) + (",..." if job.nodes[_NODES:] else ""))],
        [
            ("NumNodes", str(job.num_nodes or len(job.nodes))),
            ("NumCPUs", str(job.num_cpus)),
            ("OverSubscribe", "" if job.sharing is None else job.sharing.value),
        ],
        [("TRES", ",".join(f"{name}={count}" for name, count in job.tres))],
        *([(f"Nodes={node.host}", _held(node))] for node in (job.allocation or ())[:_NODES]),
        [("Features", job.features)],
        [("Licenses", job.licenses)],
        [("WorkDir", job.work_dir)],
        [("SubmitLine", job.submit_line)],
        [("Comment", job.comment)],
    ]
    return clean("\n   ".join(filter(None, map(_line, lines))), _INFO)


def _line(pairs: Iterable[tuple[str, str]]) -> str:
    return " ".join(f"{key}={one_line(value, _LONG)}" for key, value in pairs if value)


def _held(node: NodeAllocation) -> str:
    cores = ",".join(f"{socket}:{core}" for socket, core in node.cores)
    gres = ",".join(
        f"{piece.name}:{piece.type or ''}:{piece.count}(IDX:{','.join(map(str, piece.indexes))})"
        for piece in node.gres
    )
    return f"{cores} Mem={node.memory_mib or 0} GRES={gres}"


def _time(at: int | None) -> str:
    if at is None:
        return ""
    try:
        return datetime.fromtimestamp(at, tz=timezone.utc).isoformat()
    except (OverflowError, OSError, ValueError):
        return str(at)


def _limit(seconds: int | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(max(seconds, 0), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days}-{hours:02}:{minutes:02}:{rest:02}"
