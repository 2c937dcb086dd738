"""
What is wrong with what a sink holds, from its word, ours and Slurm's. Pure.

Absence proves nothing while a start may still wait for the sink's commit; a list that was read page by
page from a changing set proves nothing either, so what it lacks is looked up first. And a word of the
sink counts only against what was acknowledged before it was asked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from slurmsyncd.delivery import OVERTAKEN, REPEAT, Finding, Presence, Repair
from slurmsyncd.model import Step
from slurmsyncd.planner.events import is_over
from slurmsyncd.planner.known_runs import MOVE_LIMIT_S, Runs

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from slurmsyncd.delivery import Told
    from slurmsyncd.model import Job, RunKey

#: Outcome of what is settled without being sent: the sink need not have it.
NOT_SENT = "ignored_hosts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """
    What is known of one run.

    Attributes:
        there: What the sink says.
        asked_at: When it was begun to be asked (epoch seconds).
        told: As written down; None if it was not to be told of the run.
        accounting: Slurm's rows of the job id; None if it was not asked or did not answer.
        elsewhere: Starts of this id's other runs that the sink was told of.
    """

    key: RunKey
    there: Presence
    asked_at: float
    told: Told | None = None
    accounting: Sequence[Job] | None = None
    elsewhere: Collection[int] = ()


def wants_slurm(there: Presence, told: Told | None) -> bool:
    """Say whether only Slurm can tell what is wrong with a run, if anything is."""
    if told is None:
        return there is Presence.RUNNING
    return there is Presence.ENDED and _is_open(told)


def judge(seen: Evidence, *, grace_s: float) -> Repair | None:
    """
    Say what is to be done about a run.

    Args:
        seen: All that is known of it.
        grace_s: For so long what has just been started may be missing from the sink's list, or from
            Slurm's accounting.

    Returns:
        None if nothing is wrong, or nothing is sure.
    """
    if seen.told is None:
        return _stranger(seen, grace_s) if seen.there is Presence.RUNNING else None
    if seen.told.reason == NOT_SENT:
        return None
    finding = _finding(seen, seen.told, grace_s)
    return None if finding is None else Repair(seen.key, finding)


def _finding(seen: Evidence, told: Told, grace_s: float) -> Finding | None:
    match seen.there:
        case Presence.RUNNING if told.state == "done" and told.since < seen.asked_at:
            return Finding.STOP_LOST
        case Presence.RUNNING if told.step is Step.START and _was_refused(told):
            return Finding.REFUSED_YET_THERE
        case Presence.ABSENT if _is_open(told) and _acked_before(told, seen.asked_at - grace_s):
            return Finding.START_LOST
        case Presence.ABSENT if _is_over(told) and told.since < seen.asked_at - grace_s:
            return Finding.RUN_LOST
        case Presence.ENDED if _is_open(told) and _runs(seen):
            return Finding.CLOSED_WRONGLY
    return None


def _was_refused(told: Told) -> bool:
    return told.state == "dead" or (told.state == "dropped" and told.reason in {REPEAT, OVERTAKEN})


def _is_open(told: Told) -> bool:
    return told.state == "idle"


def _is_over(told: Told) -> bool:
    return told.state == "done" and told.step is Step.STOP


def _acked_before(told: Told, at: float) -> bool:
    return told.acked_at is not None and told.acked_at < at


def _runs(seen: Evidence) -> bool:
    return any(row.key == seen.key and row.state.active for row in seen.accounting or ())


def _stranger(seen: Evidence, grace_s: float) -> Repair | None:
    """Judge what runs there without our having told of it: by somebody else, or before a store was lost."""
    if seen.accounting is None:
        return None
    rows = [row for row in seen.accounting if row.key.job_id == seen.key.job_id]
    same = [row for row in rows if row.key == seen.key] or _moved(seen, rows)
    if ended := [row for row in same if is_over(row)]:
        return Repair(seen.key, Finding.NEVER_TOLD, replace(ended[-1], key=seen.key))
    if same or seen.key.start_at > seen.asked_at - grace_s:
        return None  # it runs, and the next look tells of it; or slurmdbd has yet to hear of it
    return Repair(seen.key, Finding.UNHEARD_OF)


def _moved(seen: Evidence, rows: Sequence[Job]) -> list[Job]:
    """Give Slurm's row of a run that was told under a start which Slurm has corrected since (J4)."""
    here = Runs({seen.key: None})
    near = [
        row
        for row in rows
        if row.key.start_at not in seen.elsewhere
        and (here.movable(row) if is_over(row) else _may_become(row, seen.key))
    ]
    return near if len(near) == 1 else []


def _may_become(row: Job, key: RunKey) -> bool:
    return row.state.active and abs(row.key.start_at - key.start_at) <= MOVE_LIMIT_S
