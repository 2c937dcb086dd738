"""What slurmctld and slurmdbd each know of a run at an instant. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slurmsyncd.sandbox.slurm.records import HeldResources, RunRow

LIMIT_MIN = 2880  # the partition's, in minutes


def in_accounting(run: RunRow, now: float) -> RunRow | None:
    """
    Show a run as slurmdbd has it: late news have not arrived yet.

    Returns:
        None if slurmdbd has not heard of the run at all.
    """
    if run["end_at"]:
        if now >= run["end_seen"]:
            return run
        if run["start_at"] and now >= run["start_seen"]:
            return run | {"state": "RUNNING", "end_at": 0, "exit_code": 0, "signal": 0}
    elif run["start_at"] and now >= run["start_seen"]:
        return run
    if now < run["submit_seen"]:
        return None
    if run["start_at"] or (run["end_at"] and now < run["end_seen"]) or run["alloc"]:
        return run | {"state": "PENDING", "start_at": 0, "end_at": 0, "alloc": []}
    return run


def elapsed_s(run: RunRow, now: float) -> int:
    """Return the time a run has been running, pauses left out."""
    if not run["start_at"]:
        return 0
    paused = run["paused_s"]
    if run["state"] == "SUSPENDED":
        paused += int(now) - run["suspended_at"]
    return max(0, (run["end_at"] or int(now)) - run["start_at"] - paused)


def limit_s(run: RunRow) -> int:
    """Return the time limit in seconds, the partition's if none was asked for."""
    return 60 * (run["request"]["limit_min"] or LIMIT_MIN)


def shown_times(run: RunRow) -> tuple[int, int]:
    """
    Return start and end as slurmctld shows them: real ones, foreseen ones, or 0.

    Two traps, as captured: a job cancelled while it was pending has its end as its start, and a
    requeued job, while it is COMPLETING, has the moment of the requeue.
    """
    if run["end_at"]:
        return run["start_at"] or run["end_at"], run["end_at"]
    start = run["start_at"] or run["forecast_at"]
    if run["state"] == "PENDING" and run["phase"] == "COMPLETING":
        start = run["submit_at"]
    return start, start + limit_s(run) if start else 0


def holds(run: RunRow) -> bool:
    """Return whether a run holds its nodes now: GPU indexes are shown only then."""
    return bool(run["start_at"]) and not run["end_at"]


def shown_nodes(run: RunRow) -> list[HeldResources]:
    """Return the allocation whose nodes slurmctld names: none while an ended run is COMPLETING."""
    return [] if run["end_at"] and run["phase"] == "COMPLETING" else run["alloc"]


def shown_state(run: RunRow) -> str:
    """Return the one word that squeue and scontrol print for the state."""
    return run["phase"] or run["state"]


def cpu_count(run: RunRow) -> int:
    """Return the CPUs of a run, those asked for before its start."""
    asked = run["request"]
    if run["alloc"]:
        return sum(len(held["cores"]) * held["threads"] for held in run["alloc"])
    return asked["nodes"] * asked["cores"] + asked["more"]
