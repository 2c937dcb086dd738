"""
What is wrong with what a sink holds, from its word, ours and Slurm's. Pure.

Absence proves nothing while a start may still wait for the sink's commit; a list that was read page by
page from a changing set proves nothing either, so what it lacks is looked up first. And a word of the
sink counts only against what was acknowledged before it was asked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from slurmsyncd.delivery import OVERTAKEN, REPEAT, Discrepancy, RemoteState, Repair
from slurmsyncd.model import EventKind
from slurmsyncd.planner.events import has_ended
from slurmsyncd.planner.known_runs import MOVE_LIMIT_S, KnownRunIndex

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from slurmsyncd.delivery import DeliverySummary
    from slurmsyncd.model import Job, RunKey

#: Outcome of what is settled without being sent: the sink need not have it.
NOT_SENT = "ignored_hosts"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvidence:
    """
    What is known of one run.

    Attributes:
        remote: What the sink says.
        asked_at: When it was begun to be asked (epoch seconds).
        told: As written down; None if it was not to be told of the run.
        accounting: Slurm's rows of the job id; None if it was not asked or did not answer.
        other_starts: Starts of this id's other runs that the sink was told of.
    """

    key: RunKey
    remote: RemoteState
    asked_at: float
    told: DeliverySummary | None = None
    accounting: Sequence[Job] | None = None
    other_starts: Collection[int] = ()


def needs_accounting(there: RemoteState, told: DeliverySummary | None) -> bool:
    """Return whether only Slurm can tell what is wrong with a run, if anything is."""
    if told is None:
        return there is RemoteState.RUNNING
    return there is RemoteState.ENDED and _is_open(told)


def find_discrepancy(seen: RunEvidence, *, grace_s: float) -> Repair | None:
    """
    Return what is to be done about a run.

    Args:
        seen: All that is known of it.
        grace_s: For so long what has just been started may be missing from the sink's list, or from
            Slurm's accounting.

    Returns:
        None if nothing is wrong, or nothing is sure.
    """
    if seen.told is None:
        return _stranger(seen, grace_s) if seen.remote is RemoteState.RUNNING else None
    if seen.told.reason == NOT_SENT:
        return None
    finding = _finding(seen, seen.told, grace_s)
    return None if finding is None else Repair(seen.key, finding)


def _finding(seen: RunEvidence, told: DeliverySummary, grace_s: float) -> Discrepancy | None:
    match seen.remote:
        case RemoteState.RUNNING if told.state == "done" and told.since < seen.asked_at:
            return Discrepancy.STOP_LOST
        case RemoteState.RUNNING if told.kind is EventKind.START and _was_refused(told):
            return Discrepancy.REJECTED_BUT_PRESENT
        case RemoteState.ABSENT if _is_open(told) and _acked_before(told, seen.asked_at - grace_s):
            return Discrepancy.START_LOST
        case RemoteState.ABSENT if _is_over(told) and told.since < seen.asked_at - grace_s:
            return Discrepancy.RUN_LOST
        case RemoteState.ENDED if _is_open(told) and _runs(seen):
            return Discrepancy.ENDED_TOO_EARLY
    return None


def _was_refused(told: DeliverySummary) -> bool:
    return told.state == "dead" or (told.state == "dropped" and told.reason in {REPEAT, OVERTAKEN})


def _is_open(told: DeliverySummary) -> bool:
    return told.state == "idle"


def _is_over(told: DeliverySummary) -> bool:
    return told.state == "done" and told.kind is EventKind.STOP


def _acked_before(told: DeliverySummary, at: float) -> bool:
    return told.start_acknowledged_at is not None and told.start_acknowledged_at < at


def _runs(seen: RunEvidence) -> bool:
    return any(row.key == seen.key and row.state.is_active for row in seen.accounting or ())


def _stranger(seen: RunEvidence, grace_s: float) -> Repair | None:
    """Judge what runs there without our having told of it: by somebody else, or before a store was lost."""
    if seen.accounting is None:
        return None
    rows = [row for row in seen.accounting if row.key.job_id == seen.key.job_id]
    same = [row for row in rows if row.key == seen.key] or _moved(seen, rows)
    if ended := [row for row in same if has_ended(row)]:
        return Repair(seen.key, Discrepancy.UNREPORTED_RUN, replace(ended[-1], key=seen.key))
    if same or seen.key.start_at > seen.asked_at - grace_s:
        return None  # it runs, and the next look tells of it; or slurmdbd has yet to hear of it
    return Repair(seen.key, Discrepancy.UNKNOWN_RUN)


def _moved(seen: RunEvidence, rows: Sequence[Job]) -> list[Job]:
    """Return Slurm's row of a run that was told under a start which Slurm has corrected since (J4)."""
    here = KnownRunIndex({seen.key: None})
    near = [
        row
        for row in rows
        if row.key.start_at not in seen.other_starts
        and (here.move_candidates(row) if has_ended(row) else _may_become(row, seen.key))
    ]
    return near if len(near) == 1 else []


def _may_become(row: Job, key: RunKey) -> bool:
    return row.state.is_active and abs(row.key.start_at - key.start_at) <= MOVE_LIMIT_S
