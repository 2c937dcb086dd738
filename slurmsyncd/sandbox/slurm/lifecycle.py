"""The steps in the life of a run: each takes a run and gives it changed. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurmsyncd.sandbox.slurm import visibility as views

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slurmsyncd.sandbox.slurm.records import HeldResources, JobRequest, RunRow
    from slurmsyncd.sandbox.slurm.workload import Submission


def submitted(
    submission: Submission, first_id: int, now: float, *, forecast_s: int, late_s: float
) -> Iterator[RunRow]:
    """
    Return the records that a submission makes.

    Args:
        submission: What was asked for.
        now: Epoch seconds.
        first_id: Raw id of the first, the others follow.
        forecast_s: When the scheduler thinks it will start, 0 if it did not think yet.
        late_s: How late slurmdbd learns of it.
    """
    several = len(submission.requests) > 1
    for offset, request in enumerate(submission.requests):
        run = _waiting(request, first_id + offset, now, forecast_s, late_s)
        if submission.tasks:
            tasks = list(range(submission.tasks))
            run |= {"array_job_id": first_id, "array_tasks": tasks, "array_last": tasks[-1]}
            run |= {"array_limit": submission.limit}
        if several:
            last = first_id + len(submission.requests) - 1
            run |= {"het_job_id": first_id, "het_offset": offset, "het_last": last}
        yield run


def _waiting(request: JobRequest, job_id: int, now: float, forecast_s: int, late_s: float) -> RunRow:
    at = int(now)
    later = request["begin_in_s"]
    eligible = 0 if request["held"] else at + later
    forecast = at + later if later else at + forecast_s if forecast_s else 0
    reason = "JobHeldUser" if request["held"] else "BeginTime" if later else "Priority"
    cancel = request["cancel_after_s"]
    return {
        "id": 0,
        "job_id": job_id,
        "array_job_id": 0,
        "het_job_id": 0,
        "state": "PENDING",
        "phase": "",
        "submit_at": at,
        "eligible_at": eligible,
        "start_at": 0,
        "end_at": 0,
        "next_at": None if cancel is None else now + cancel,
        "in_memory": 1,
        "submit_seen": now + late_s,
        "start_seen": 0.0,
        "end_seen": 0.0,
        "array_task_id": None,
        "array_tasks": [],
        "array_last": 0,
        "array_limit": 0,
        "het_offset": 0,
        "het_last": 0,
        "restarts": 0,
        "reason": reason,
        "forecast_at": 0 if request["held"] else forecast,
        "suspended_at": 0,
        "paused_s": 0,
        "exit_code": 0,
        "signal": 0,
        "killed_by": None,
        "request": request,
        "alloc": [],
    }


def split(run: RunRow) -> tuple[RunRow, RunRow | None]:
    """Part the next task from an array's waiting ones; the last task keeps the record itself."""
    task, *rest = run["array_tasks"]
    if not rest:
        return run | {"array_tasks": [], "array_task_id": task}, None
    return run | {"id": 0, "array_tasks": [], "array_task_id": task}, run | {"array_tasks": rest}


def started(run: RunRow, alloc: list[HeldResources], now: float, late_s: float) -> RunRow:
    """Return the run its nodes; it is CONFIGURING until the prolog is through."""
    begun = run | {"state": "RUNNING", "phase": "CONFIGURING", "start_at": int(now), "alloc": alloc}
    begun |= {"reason": "None", "start_seen": now + late_s, "array_tasks": []}
    return begun | {"next_at": next_step(begun, now)[0]}


def next_step(run: RunRow, began: float | None = None) -> tuple[float, str]:
    """
    Return when something happens to a running run by itself, and what: requeue, suspend, resume or end.

    ``began`` is the start to the fraction of a second, if it is at hand.
    """
    asked = run["request"]
    start = run["start_at"] if began is None else began
    if run["state"] == "SUSPENDED":
        return run["suspended_at"] + asked["suspend_for_s"], "resume"
    took = asked["duration_s"]
    if asked["outcome"] == "TIMEOUT":
        took = float(views.limit_s(run))
    steps = [(start + run["paused_s"] + took, "end")]
    if asked["requeue_after_s"] is not None and not run["restarts"]:
        steps.append((start + asked["requeue_after_s"], "requeue"))
    if asked["suspend_after_s"] is not None and not run["suspended_at"]:
        steps.append((start + asked["suspend_after_s"], "suspend"))
    return min(steps)


def suspended(run: RunRow, now: float) -> RunRow:
    """Pause a run; it keeps its nodes."""
    paused = run | {"state": "SUSPENDED", "suspended_at": int(now)}
    return paused | {"next_at": next_step(paused)[0]}


def resumed(run: RunRow, now: float) -> RunRow:
    """Let a paused run go on."""
    pause = int(now) - run["suspended_at"]
    again = run | {"state": "RUNNING", "paused_s": run["paused_s"] + pause, "suspended_at": int(now)}
    return again | {"next_at": next_step(again)[0]}


def ended(
    run: RunRow, now: float, state: str, code: tuple[int, int], *, purge_at: float, late_s: float
) -> RunRow:
    """
    End a run, or a job that never started.

    ``code`` is exit code and signal; slurmctld forgets the run at ``purge_at``, and slurmdbd
    learns of the end ``late_s`` late.
    """
    over = run | {"state": state, "exit_code": code[0], "signal": code[1], "next_at": purge_at}
    if run["start_at"]:
        over |= {"phase": "COMPLETING"}
        if run["state"] == "SUSPENDED":
            over |= {"paused_s": run["paused_s"] + int(now) - run["suspended_at"]}
    return over | {"end_at": int(now), "end_seen": now + late_s, "forecast_at": 0}


def requeued(
    run: RunRow, now: float, delay_s: int, late_s: float, again_late_s: float
) -> tuple[RunRow, RunRow]:
    """
    End a run as REQUEUED and give the one that will follow, by the same id.

    The follower shows the nodes of its predecessor until the epilog is through, as captured.
    """
    over = run | {"state": "REQUEUED", "phase": "", "end_at": int(now), "next_at": None, "in_memory": 0}
    eligible = int(now) + delay_s
    again = run | {"id": 0, "state": "PENDING", "phase": "COMPLETING", "submit_at": int(now), "start_at": 0}
    again |= {"eligible_at": eligible, "forecast_at": eligible, "restarts": run["restarts"] + 1}
    again |= {"reason": "BeginTime", "next_at": None, "suspended_at": 0, "paused_s": 0, "in_memory": 1}
    again |= {"submit_seen": now + again_late_s, "start_seen": 0.0}
    return over | {"end_seen": now + late_s}, again


def settled(run: RunRow) -> RunRow:
    """Take the phase off a run, and from a waiting one the nodes it only seemed to have."""
    return run | {"phase": "", "alloc": run["alloc"] if run["start_at"] else []}
