"""The questions that a look leads to. Pure."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from slurmsyncd.model import JobQuestions, JobState, Observation, RunKey
from slurmsyncd.planner.known_runs import KnownRunIndex, sighting_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from slurmsyncd.model import Job, ListedJob, Notification
    from slurmsyncd.planner.known_runs import Known

#: Seconds that a controller may remember a finished job (MinJobAge is 300 by default).
REMEMBERED_S = 900
_RUNNING = (JobState.RUNNING, JobState.SUSPENDED)


def running(seen: Observation) -> Iterator[tuple[int, int]]:
    """Return job id and start (epoch seconds) of what the controller lists as running."""
    return (
        (item.job_id, item.start_at)
        for item in seen.job_list or ()
        if item.start_at is not None and item.state in _RUNNING
    )


def narrowed(
    seen: Observation, differing: Collection[int], hints: Iterable[Notification], recheck: Iterable[int]
) -> Observation:
    """
    Return a look without what runs as it is known to, and nothing else speaks of: nothing follows from that.

    Args:
        seen: One look.
        differing: Ids of which the open runs are not what the controller lists as ``running``.
        hints: As for ``questions``.
        recheck: Likewise.
    """
    if seen.job_list is None:
        return seen
    ids = {
        *differing,
        *recheck,
        *(hint.job_id for hint in hints),
        *(job.key.job_id for job in seen.ended_runs),
    }
    left = tuple(item for item in seen.job_list if item.state not in _RUNNING or item.job_id in ids)
    return replace(seen, job_list=left)


def job_ids(seen: Observation, hints: Iterable[Notification], recheck: Iterable[int]) -> frozenset[int]:
    """Return the job ids of which all known runs are needed to judge this look."""
    listed = {item.job_id for item in _started(seen)}
    finished = {job.key.job_id for job in seen.ended_runs}
    return frozenset(listed | finished | {hint.job_id for hint in hints} | set(recheck))


def questions(
    seen: Observation,
    known: Known,
    hints: Iterable[Notification] = (),
    recheck: Iterable[int] = (),
    *,
    moved: Mapping[RunKey, RunKey] = MappingProxyType({}),
    caught_up: bool = True,
    away: bool = False,
) -> JobQuestions:
    """
    Return what has to be asked by id before this look can be judged.

    Args:
        seen: One look; without a listing if only hints are to be answered.
        known: All open runs of the cluster but those of which nothing is to be judged (``narrowed``), and all
            known runs of ``job_ids(...)``.
        hints: What the hooks said since.
        recheck: What an earlier plan left open.
        moved: What earlier plans found of starts that moved: as listed now → as announced.
        caught_up: Accounting was read up to now. If not, earlier runs of what is about to be announced may
            not be known yet. They are asked for by id, since a backend rejects what comes out of order.
        away: The controller does not answer, so it is not asked for details.
    """
    runs = KnownRunIndex(known)
    fresh = [
        item
        for item in _started(seen)
        if _key(seen, item) not in moved and not runs.is_known(sighting_of(item))
    ]
    doubtful = {item.job_id for item in fresh if _is_doubtful(item, runs)}
    gone = _gone(seen, known, moved)
    unseen = {
        job.key.job_id for job in seen.ended_runs if not runs.is_open(job.key) and not runs.is_ended(job)
    }
    remembered = unseen & _remembered(seen)
    begun, ended = _hinted(hints, runs)
    announced = {item.job_id for item in fresh} | begun
    shown = announced | remembered | set(recheck)
    if not caught_up:
        doubtful |= announced
    return JobQuestions(
        details=frozenset() if away else frozenset(shown),
        accounting=frozenset(doubtful | gone | ended | set(recheck)),
        again=frozenset(recheck),
    )


def portions(
    asked: JobQuestions,
    seen: Observation,
    hints: Iterable[Notification],
    size: int,
    *,
    known: Known = MappingProxyType({}),
) -> Iterator[tuple[Observation, JobQuestions]]:
    """
    Split a look that many runs began in, so that not all of their records are in memory at once.

    The first portion is the whole look, and asks all but what only the listing shows: of that it and the
    others ask for ``size`` ids each. None of these has an open run, so portions do not depend on each other.
    """
    together = {job.key.job_id for job in seen.ended_runs} | {hint.job_id for hint in hints} | asked.again
    together |= {key.job_id for key, end_at in known.items() if end_at is None}
    alone = sorted(asked.details - together)
    later = frozenset(alone[size:])
    yield seen, replace(asked, details=asked.details - later, accounting=asked.accounting - later)
    if later:
        listed = tuple(item for item in seen.job_list or () if item.job_id in later)
        begun = Observation(cluster=seen.cluster, observed_at=seen.observed_at, job_list=listed)
        for start in range(size, len(alone), size):
            part = frozenset(alone[start : start + size])
            yield begun, JobQuestions(details=part, accounting=part & asked.accounting)


def _started(seen: Observation) -> Iterator[ListedJob]:
    """Return what holds or held an allocation: a short job may be seen only after its end."""
    return (
        item
        for item in seen.job_list or ()
        if item.start_at is not None and item.state is not JobState.PENDING
    )


def _is_doubtful(item: ListedJob, runs: KnownRunIndex) -> bool:
    """Return whether accounting has to say what the controller shows: a restart, an end, an unknown word."""
    return bool(runs.open(item.job_id)) or item.state in (JobState.COMPLETING, JobState.UNKNOWN)


def _gone(seen: Observation, known: Known, moved: Mapping[RunKey, RunKey]) -> set[int]:
    """Return the open runs that the controller does not list as running and accounting did not just end."""
    if seen.job_list is None:
        return set()
    found = {job.key for job in seen.ended_runs}
    for item in _started(seen):
        if item.state in _RUNNING:
            found.add(moved.get(_key(seen, item), _key(seen, item)))
    return {key.job_id for key, end_at in known.items() if end_at is None and key not in found}


def _key(seen: Observation, item: ListedJob) -> RunKey:
    assert item.start_at is not None
    return RunKey(seen.cluster, item.job_id, item.start_at)


def _remembered(seen: Observation) -> set[int]:
    """Return the finished jobs that the controller may still hold, as it says itself or by their age."""
    if seen.job_list is not None:
        return {item.job_id for item in seen.job_list}
    recent = seen.observed_at - REMEMBERED_S
    return {job.key.job_id for job in seen.ended_runs if _ended_since(job, recent)}


def _ended_since(job: Job, at: int) -> bool:
    return job.end_at is not None and job.end_at >= at


def _hinted(hints: Iterable[Notification], runs: KnownRunIndex) -> tuple[set[int], set[int]]:
    """
    Return the ids to ask the controller for, and those to ask accounting for.

    A restarted job may have begun and ended another run since its open one.
    """
    begun, ended = set(), set()
    for hint in hints:
        is_open = bool(runs.open(hint.job_id))
        if is_open or hint.restarts or hint.context == "epilog":
            ended.add(hint.job_id)
        if not is_open or hint.context == "prolog" or hint.restarts:
            begun.add(hint.job_id)
    return begun, ended
