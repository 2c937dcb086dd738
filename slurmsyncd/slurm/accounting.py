"""A row of ``sacct`` as a ``Job``, and which columns to ask for. Pure."""

from __future__ import annotations

import enum
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from slurmsyncd.errors import DecodeError
from slurmsyncd.model import Job, JobState, RunKey
from slurmsyncd.slurm.hostlist import expand_hostlist
from slurmsyncd.slurm.scalars import (
    TEXT_LIMIT,
    parse_count,
    parse_id,
    parse_number,
    parse_sharing,
    parse_state,
    parse_time,
    parse_time_limit,
    parse_tres,
    printable,
    truncate,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

END_STATES: Final = "CD,CA,F,TO,NF,OOM,DL,PR,BF,RQ,RS"
"""With -S and -E exactly the runs whose end lies in the window; RQ and RS need -D."""

RESIZED: Final = "RS"
"""Earlier sizes of jobs that were resized."""

_NEEDED: Final = ("JobIDRaw", "JobID", "State", "Start", "End", "NodeList")
_WANTED: Final = (
    *_NEEDED,
    *("Submit", "TimelimitRaw", "NNodes", "NCPUS", "AllocTRES", "ExitCode", "Restarts", "Exclusive"),
    *("SLUID", "OriginalSLUID"),
    *("User", "UID", "Account", "Partition", "QOS", "Reservation", "WCKey", "Constraints", "Licenses"),
    *("JobName", "WorkDir", "Comment", "SubmitLine", "Cluster"),
)

_NO_NODES: Final = frozenset({"", "None assigned", "None", "(null)", "N/A", "Unknown"})
_COMPLETED_S: Final = 30
_DISPLAYED: Final = re.compile(r"([0-9]{1,10})(?:_([0-9]{1,10})|\+([0-9]{1,10}))?", re.ASCII)


class NotARun(enum.Enum):
    """Why a row of accounting is no run."""

    NEVER_STARTED = "never_started"  # over, and no node ever worked for it
    WAITING = "waiting"
    PART = "part"  # a step


class RunSegment(NamedTuple):
    """An earlier size of a run that was resized: from when to when (epoch seconds)."""

    job_id: int
    start_at: int
    end_at: int


def choose_columns(helpformat: str) -> tuple[str, ...]:
    """
    Choose the columns to ask for: an unknown one makes sacct fail as a whole.

    Args:
        helpformat: What ``sacct --helpformat`` prints.

    Raises:
        DecodeError: A column is missing that we cannot do without.
    """
    offered = {name.lower() for name in helpformat.split()}
    missing = [name for name in _NEEDED if name.lower() not in offered]
    if missing:
        raise DecodeError(f"sacct --helpformat does not offer {', '.join(missing)}")
    return tuple(name for name in _WANTED if name.lower() in offered)


def read_run(row: Mapping[str, str], cluster: str, flaws: list[str]) -> Job | NotARun | RunSegment:
    """
    Read a row of ``sacct -X -D``.

    Args:
        row: Column → text, with times in epoch seconds.
        cluster: Slurm's name of the cluster.
        flaws: Gets what was not understood and left out.

    Raises:
        DecodeError: Identity, state or hosts are not understood.
    """
    if not row["JobIDRaw"].isdecimal():
        return NotARun.PART  # 7.batch, 7.extern, 7.0
    job_id = parse_id(row["JobIDRaw"], "JobIDRaw")
    start, end = parse_time(row["Start"]), parse_time(row["End"])
    state = parse_state(row["State"])
    if row["State"] == "RESIZING":
        return RunSegment(job_id, start, end) if start and end else NotARun.PART
    nodes = "" if row["NodeList"] in _NO_NODES else row["NodeList"]
    # Of a job that was cancelled before slurmdbd had heard of it, the start is the time of that: 22.05 has
    # Start = End then, and never had nodes.
    if state is JobState.PENDING or start is None or not nodes:
        return NotARun.NEVER_STARTED if state.is_final else NotARun.WAITING
    return Job(
        key=RunKey(cluster, job_id, start),
        state=state,
        end_at=None if state.is_active else end,
        nodes=expand_hostlist(nodes),
        tres=parse_tres(row.get("AllocTRES", ""), flaws),
        exit_code=truncate(row.get("ExitCode")),
        **_displayed(row["JobID"]),
        **_numbers(row),
        **_texts(row),
    )


def is_incomplete_row(job: Job, now: int) -> bool:
    """
    Return whether the row of a run that just ended still lacks what was submitted.

    22.05 sends a job's start up to five seconds late. Of one that ended before, slurmdbd at first has little
    more than nodes and times. What is not completed soon never will be, and is taken as it is.
    """
    return not job.partition and job.end_at is not None and job.end_at > now - _COMPLETED_S


def is_maybe_resized(row: Mapping[str, str]) -> bool:
    """
    Return whether a run's row may be that of a later size.

    From 24.11 on such a row was submitted and began when the size before ended, and 26.05 has the id of the
    first size, too. In 22.05 it begins when the run did.
    """
    if row.get("Submit") != row["Start"]:
        return False
    return "OriginalSLUID" not in row or row["OriginalSLUID"] != row.get("SLUID")


def with_first_start(sizes: Collection[RunSegment], job: Job) -> Job:
    """Return a run, of whose later size this is the row, the start of its first: so slurmctld shows it."""
    before = {size.end_at: size.start_at for size in sizes if size.job_id == job.key.job_id}
    start = job.key.start_at
    while before.get(start, start) < start:
        start = before[start]
    return job if start == job.key.start_at else replace(job, key=replace(job.key, start_at=start))


def _displayed(job_id: str) -> dict[str, Any]:
    """Read ``6_4`` (array task) and ``7+1`` (het component); ``6_[3-4%3]`` still waits."""
    match = _DISPLAYED.fullmatch(job_id)
    if not match:
        raise DecodeError(f"JobID is not understood: {printable(job_id)}")
    owner, task, offset = match.groups()
    if task is not None:
        return {"array_job_id": int(owner), "array_task_id": int(task)}
    return {"het_job_id": int(owner), "het_offset": int(offset)} if offset is not None else {}


def _numbers(row: Mapping[str, str]) -> dict[str, Any]:
    return {
        "submit_at": parse_time(row.get("Submit")),
        "time_limit_s": parse_time_limit(row.get("TimelimitRaw")),
        "num_nodes": parse_count(row.get("NNodes")),
        "num_cpus": parse_count(row.get("NCPUS")),
        "restarts": parse_number(row.get("Restarts")),
        "sharing": parse_sharing(None, row.get("Exclusive"), whole=None),
    }


def _user_number(uid: str) -> str:
    """Return a user's number as text; 0 is no user's here, since rows that are not complete have it, too."""
    return uid if uid.isdecimal() and uid.strip("0") else ""


def _texts(row: Mapping[str, str]) -> dict[str, Any]:
    return {
        # slurmdbd names no user of a job without an association.
        "user": truncate(row.get("User")) or _user_number(row.get("UID", "")),
        "account": truncate(row.get("Account")),
        "partition": truncate(row.get("Partition")),
        "qos": truncate(row.get("QOS")),
        "name": truncate(row.get("JobName")),
        "reservation": truncate(row.get("Reservation")),
        "wckey": truncate(row.get("WCKey")),
        "features": truncate(row.get("Constraints")),
        "licenses": truncate(row.get("Licenses")),
        "sluid": truncate(row.get("SLUID")),
        "comment": truncate(row.get("Comment"), TEXT_LIMIT),
        "work_dir": truncate(row.get("WorkDir"), TEXT_LIMIT),
        "submit_line": truncate(row.get("SubmitLine"), TEXT_LIMIT),
    }
