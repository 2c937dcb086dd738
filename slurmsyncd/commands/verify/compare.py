"""
What became of a run, from Slurm's word, ours and the sink's. Pure.

A run that is not written down is missing only if the daemon has passed it by: what ended after the position
in accounting, less the overlap, is read by the next look. A start may have moved since a run was written
down, so it is looked for as the planner does, and not by its start alone.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slurmsyncd.delivery import OVERTAKEN, REPEAT, REPLACED, Discrepancy, RemoteState
from slurmsyncd.model import EventKind
from slurmsyncd.planner.audit import NOT_SENT
from slurmsyncd.planner.known_runs import MOVE_LIMIT_S, is_same_run, sighting_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurmsyncd.delivery import DeliverySummary, StoredRun
    from slurmsyncd.model import Gap, Job

#: How much longer than the look-back the daemon remembers what is settled.
REMEMBERED_S = 86400.0


class RunStatus(str, enum.Enum):
    """What became of a run, as far as one sink goes."""

    DELIVERED = "delivered"
    WAITING = "waiting"
    PARKED = "parked"
    DEAD = "dead"
    REFUSED = "refused"  # by the backend's rule for runs of one job id
    IGNORED = "ignored"  # by ignore_hosts
    DROPPED = "dropped"  # by the operator
    UNREAD = "unread"  # the daemon's next look sees it
    FORGOTTEN = "forgotten"  # so old that nothing need be known of it any more
    MISSING = "missing"
    LOST = "lost"  # the backend acknowledged it and shows it otherwise, or not at all
    UNREADABLE = "unreadable"  # the backend fails to list it


#: What is sent again.
REPAIRABLE = frozenset({RunStatus.MISSING, RunStatus.LOST})
#: What makes the proof fail.
FAILING = REPAIRABLE | {RunStatus.UNREADABLE}

_BY_STATE = {
    "ready": RunStatus.WAITING,
    "parked": RunStatus.PARKED,
    "dead": RunStatus.DEAD,
    "dropped": RunStatus.DROPPED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRange:
    """
    What the daemon can be expected to know (epoch seconds).

    Attributes:
        read_from: Where its next look at accounting begins.
        known_from: What is settled and ended before may be forgotten.
        gaps: What it could not read; no run that ended there is forgotten.
    """

    read_from: int
    known_from: int
    gaps: tuple[Gap, ...] = ()


def known_range(
    cursor: int | None, now: float, *, overlap_s: float, max_span_s: float, gaps: tuple[Gap, ...] = ()
) -> KnownRange:
    """Return what the daemon can be expected to know, its position in accounting being ``cursor``."""
    floor, at = int(now - max_span_s), int(now)
    known_from = int(now - max_span_s - REMEMBERED_S)
    if cursor is None or cursor > at + overlap_s:
        return KnownRange(read_from=floor, known_from=known_from, gaps=gaps)
    read_from = max(min(cursor, at) - int(overlap_s), floor)
    return KnownRange(read_from=read_from, known_from=known_from, gaps=gaps)


def find_stored(run: Job, written: Sequence[StoredRun]) -> StoredRun | None:
    """Return what is written down of a run, be it under another start; ``written``: all runs of its id."""
    seen = sighting_of(run)
    same = [each for each in written if is_same_run(each.key.start_at, each.end_at, seen)]
    same = same or [each for each in written if _may_be(run, each)]
    return min(same, key=lambda each: abs(each.key.start_at - run.key.start_at), default=None)


def _may_be(run: Job, written: StoredRun) -> bool:
    """Return whether an open run may be this one: runs of one id do not overlap, and no start moves far."""
    start_at = written.key.start_at
    near = abs(start_at - run.key.start_at) <= MOVE_LIMIT_S
    return written.end_at is None and near and (run.end_at is None or start_at < run.end_at)


def status_of(run: Job, written: Sequence[StoredRun], sink: str, within: KnownRange) -> RunStatus:
    """
    Return what became of a run.

    Args:
        run: As Slurm shows it, ended or running.
        written: All that is written down of its job id.
        sink: Whom it was to be told.
        within: What can be expected to be known.
    """
    found = find_stored(run, written)
    if found is None:
        return _unknown(run, written, within)
    told = found.deliveries.get(sink)
    return RunStatus.MISSING if told is None else _of(told, over=run.end_at is not None)


def _unknown(run: Job, written: Sequence[StoredRun], within: KnownRange) -> RunStatus:
    at = run.key.start_at if run.end_at is None else run.end_at
    if run.end_at is not None and any(gap.since <= at <= gap.until for gap in within.gaps):
        return RunStatus.MISSING
    restarted = run.end_at is None and any(each.end_at is None for each in written)
    if at >= within.read_from or restarted:  # of a restarted job the run before is asked about first
        return RunStatus.UNREAD
    return RunStatus.FORGOTTEN if run.end_at is not None and at < within.known_from else RunStatus.MISSING


def _of(told: DeliverySummary, *, over: bool) -> RunStatus:
    if told.reason == NOT_SENT and told.state in {"idle", "done"}:
        return RunStatus.IGNORED
    match told.state:
        case "done":
            return RunStatus.REFUSED if told.reason == REPLACED else RunStatus.DELIVERED
        case "idle":
            return RunStatus.UNREAD if over else RunStatus.DELIVERED
        case "dead" | "dropped" if told.reason in {REPEAT, OVERTAKEN}:
            return RunStatus.REFUSED
    return _BY_STATE[told.state]


def with_backend_state(
    before: RunStatus, there: RemoteState, told: DeliverySummary | None, *, asked_at: float, grace_s: float
) -> RunStatus:
    """
    Correct a fate by what the backend itself shows of the run.

    Args:
        before: As it is written down.
        there: What it shows.
        told: As written down; None if it is not.
        asked_at: When it was begun to be asked (epoch seconds).
        grace_s: For so long what was acknowledged may be missing there.
    """
    if before in {RunStatus.FORGOTTEN, RunStatus.MISSING}:
        return RunStatus.DELIVERED if there is RemoteState.ENDED else RunStatus.MISSING
    if before is not RunStatus.DELIVERED or told is None:
        return before
    if there is RemoteState.ABSENT:
        acked_at = told.since if told.start_acknowledged_at is None else told.start_acknowledged_at
        return RunStatus.LOST if acked_at < asked_at - grace_s else before
    expected = RemoteState.ENDED if told.state == "done" else RemoteState.RUNNING
    return before if there is expected or told.since >= asked_at else RunStatus.LOST


def remedy(told: DeliverySummary | None, there: RemoteState | None) -> Discrepancy | None:
    """
    Return how a sink is told again of a run that is written down.

    Args:
        told: None if it was never to be told.
        there: What it shows; None if it was not asked.
    """
    if told is None:
        return Discrepancy.NOT_REPORTED
    match told.kind, told.state, there:
        case EventKind.STOP, "done", RemoteState.RUNNING:
            return Discrepancy.STOP_LOST
        case EventKind.STOP, "done", RemoteState.ABSENT:
            return Discrepancy.RUN_LOST
        case EventKind.STOP, "idle", RemoteState.ABSENT:
            return Discrepancy.START_LOST
    return None  # it ended there while Slurm runs it: no request reopens it
