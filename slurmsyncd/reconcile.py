"""
What has to be asked and what has to be told, from what is seen and what is known. Pure.

Three rules carry the rest:

- Only accounting ends a run. A run that is missing from the listing is asked for, never closed.
- A run is announced with its allocation, which is perishable, or as soon as it is clear that nobody
  has it any more.
- A job id may come back (requeue) and a start may move a little while a run is being set up. Both are
  told apart by asking accounting for all runs of the id, never by guessing.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import fields, replace
from typing import TYPE_CHECKING

from slurmsyncd.model import (
    Answers,
    Event,
    Hint,
    Job,
    JobState,
    Listed,
    Observation,
    Phase,
    Plan,
    Questions,
    RunKey,
    Started,
    Stopped,
    Trigger,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

#: A listed start this near to that of an open run of the same id is the same run. Slurm never restarts
#: a job so soon: a requeued one waits two minutes unless the site shortens that.
START_TOLERANCE_S = 5
#: Seconds that a controller may remember a finished job (MinJobAge is 300 by default).
REMEMBERED_S = 900


def job_ids(seen: Observation, hints: Iterable[Hint], recheck: Iterable[int]) -> frozenset[int]:
    """Give the job ids of which all known runs are needed to judge this look."""
    listed = {item.job_id for item in seen.listed or () if item.state.active}
    finished = {job.key.job_id for job in seen.finished}
    return frozenset(listed | finished | {hint.job_id for hint in hints} | set(recheck))


def questions(
    seen: Observation,
    known: Mapping[RunKey, Phase],
    hints: Iterable[Hint] = (),
    recheck: Iterable[int] = (),
    *,
    caught_up: bool = True,
) -> Questions:
    """
    Say what has to be asked by id before this look can be judged.

    Args:
        seen: One look; without a listing if only hints are to be answered.
        known: All open runs of the cluster, and all known runs of ``job_ids(...)``.
        hints: What the hooks said since.
        recheck: What an earlier plan left open.
        caught_up: Accounting was read up to now. If not, the coming slices will end most of what is
            no longer listed, and asking for it by id would ask for everything twice.
    """
    runs = _Runs(known)
    new = {item.job_id for item in _active(seen) if not runs.has(item)}
    restarted = {job_id for job_id in new if runs.open(job_id)}
    gone = _gone(seen, known) if caught_up else set()
    unseen = {job.key.job_id for job in seen.finished if job.key not in known}
    moved = {job_id for job_id in unseen if runs.open(job_id)}
    remembered = unseen & _remembered(seen)
    begun, ended = _hinted(hints, runs)
    return Questions(
        details=frozenset(new | remembered | begun | set(recheck)),
        accounting=frozenset(restarted | gone | moved | ended | set(recheck)),
    )


def _remembered(seen: Observation) -> set[int]:
    """Give the finished jobs that the controller may still hold, as it says itself or by their age."""
    if seen.listed is not None:
        return {item.job_id for item in seen.listed}
    recent = seen.looked_at - REMEMBERED_S
    return {job.key.job_id for job in seen.finished if job.end_at is not None and job.end_at >= recent}


def _hinted(hints: Iterable[Hint], runs: _Runs) -> tuple[set[int], set[int]]:
    """Give the ids to ask the controller for, and those to ask accounting for."""
    begun, ended = set(), set()
    for hint in hints:
        is_open = bool(runs.open(hint.job_id))
        if is_open or hint.context == "epilog":
            ended.add(hint.job_id)
        if not is_open or hint.context == "prolog":
            begun.add(hint.job_id)
    return begun, ended


def plan(
    seen: Observation,
    asked: Questions,
    answers: Answers,
    known: Mapping[RunKey, Phase],
    *,
    floor: int,
    trigger: Trigger,
) -> Plan:
    """
    Compare what Slurm shows with what has been written down already.

    Args:
        seen: One look.
        asked: The questions it led to.
        answers: What Slurm said to them.
        known: As for ``questions``.
        floor: Runs that ended before (epoch seconds) and are not known are not ours to tell: a job id
            that came round again after years must not bring back its namesake.
        trigger: What made us look.

    Returns:
        Events, a run's start before its stop, and the ids to ask about again soon.
    """
    judge = _Judge(seen, asked, answers, known, floor=floor, trigger=trigger)
    events = (*judge.ended(), *judge.begun())
    return Plan(cluster=seen.cluster, events=events, cursor=seen.through, recheck=frozenset(judge.recheck))


def unsettled(hints: Iterable[Hint], done: Plan, known: Mapping[RunKey, Phase]) -> frozenset[int]:
    """Give the hinted ids about which this look found out nothing yet: slurmdbd may be a moment behind."""
    told = {event.job.key.job_id for event in done.events}
    running = {key.job_id for key, phase in known.items() if phase is Phase.STARTED}
    stopped = {key.job_id for key, phase in known.items() if phase is Phase.STOPPED}
    return frozenset(
        hint.job_id
        for hint in hints
        if hint.job_id not in told
        and (hint.job_id in running if hint.context == "epilog" else hint.job_id not in running | stopped)
    )


def merge(row: Job, details: Job | None) -> Job:
    """Give accounting's row, completed by what the controller said of the same run."""
    if details is None:
        return row
    blanks = {
        spec.name: getattr(details, spec.name)
        for spec in fields(Job)
        if getattr(row, spec.name) in (None, "", 0, ()) and spec.name not in ("end_at", "state")
    }
    return replace(row, **blanks)


def is_over(job: Job) -> bool:
    """
    Say whether accounting calls this run ended.

    A word that we do not know ends a run too once accounting gives it an end.
    """
    return job.end_at is not None and (job.state.final or job.state is JobState.UNKNOWN)


def _active(seen: Observation) -> Iterator[Listed]:
    return (item for item in seen.listed or () if item.state.active and item.start_at is not None)


def _gone(seen: Observation, known: Mapping[RunKey, Phase]) -> set[int]:
    """Open runs that the controller no longer lists as active and accounting did not just end."""
    if seen.listed is None:
        return set()
    active = {item.job_id for item in _active(seen)}
    ended = {job.key for job in seen.finished}
    return {
        key.job_id
        for key, phase in known.items()
        if phase is Phase.STARTED and key.job_id not in active and key not in ended
    }


class _Runs:
    """Known runs by job id."""

    def __init__(self, known: Mapping[RunKey, Phase]) -> None:
        self._known = known
        self._open: dict[int, list[RunKey]] = defaultdict(list)
        self._stopped: set[tuple[int, int]] = set()
        for key, phase in known.items():
            if phase is Phase.STARTED:
                self._open[key.job_id].append(key)
            else:
                self._stopped.add((key.job_id, key.start_at))

    def open(self, job_id: int) -> list[RunKey]:
        return self._open.get(job_id, [])

    def has(self, item: Listed) -> bool:
        assert item.start_at is not None
        return (item.job_id, item.start_at) in self._stopped or self.near(item.job_id, item.start_at)

    def near(self, job_id: int, start_at: int) -> bool:
        return any(abs(key.start_at - start_at) <= START_TOLERANCE_S for key in self.open(job_id))


class _Judge:
    """One look's evidence, and the events it leads to."""

    def __init__(
        self,
        seen: Observation,
        asked: Questions,
        answers: Answers,
        known: Mapping[RunKey, Phase],
        *,
        floor: int,
        trigger: Trigger,
    ) -> None:
        self.recheck: set[int] = set()
        self._known = known
        self._runs = _Runs(known)
        self._floor = floor
        self._trigger = trigger
        self._listed = {item.job_id for item in _active(seen)}
        rows = (*seen.finished, *(answers.accounting or ()))
        self._rows = {row.key: row for row in rows}
        self._starts = _starts_by_id(self._rows)
        self._answered = asked.accounting if answers.accounting is not None else frozenset()
        self._details = {job.key: job for job in answers.details or ()}
        self._unseen = (
            asked.details - {key.job_id for key in self._details}
            if answers.details is not None
            else frozenset()
        )
        self._closed: set[RunKey] = set()

    def ended(self) -> Iterator[Event]:
        """Give the stops that accounting leads to, and starts of runs that came and went unseen."""
        for row in sorted(self._rows.values(), key=_by_start):
            if not is_over(row) or self._known.get(row.key) is Phase.STOPPED:
                continue
            if self._known.get(row.key) is Phase.STARTED:
                yield self._stop(row, row.key)
            else:
                yield from self._ended_unknown(row)

    def _ended_unknown(self, row: Job) -> Iterator[Event]:
        moved = self._orphans(row.key)
        if moved and row.key.job_id not in self._answered:
            self.recheck.add(row.key.job_id)
        elif moved:  # accounting knows no run that began when ours did: it is this one, its start moved
            yield self._stop(row, moved[0])
        elif row.end_at is not None and row.end_at >= self._floor:
            yield Started(merge(row, self._details.get(row.key)), self._trigger)
            yield self._stop(row, row.key)

    def begun(self) -> Iterator[Event]:
        """Give the starts of runs that hold an allocation and are new. Call after ``ended``."""
        for job in sorted(self._details.values(), key=_by_start):
            if job.state.active and self._is_new(job):
                yield Started(job, self._trigger)
        for job_id in sorted(self._unseen & self._listed):
            yield from self._begun_unseen(job_id)

    def _is_new(self, job: Job) -> bool:
        key = job.key
        if key in self._known or key in self._closed:
            return False
        if self._near(key):
            return False
        before = [run for run in self._runs.open(key.job_id) if run not in self._closed]
        if not before:
            return True
        if key.job_id not in self._answered or any(run in self._rows for run in before):
            self.recheck.add(key.job_id)  # the run before is still open in accounting: wait for its end
            return False
        # Accounting has this start and not ours: one run whose start moved. Without either, ask again.
        if key not in self._rows:
            self.recheck.add(key.job_id)
        return False

    def _begun_unseen(self, job_id: int) -> Iterator[Event]:
        """
        Announce from accounting alone what is listed as active but has no readable details.

        Without accounting's row there is nothing to tell yet: it is asked for at the next look.
        """
        rows = [row for key, row in self._rows.items() if key.job_id == job_id and row.state.active]
        fresh = [row for row in rows if self._is_new(row)]
        if not rows:
            self.recheck.add(job_id)
        for row in fresh:
            yield Started(row, self._trigger)

    def _near(self, key: RunKey) -> bool:
        return any(
            abs(run.start_at - key.start_at) <= START_TOLERANCE_S
            for run in self._runs.open(key.job_id)
            if run not in self._closed
        )

    def _orphans(self, key: RunKey) -> list[RunKey]:
        """Open runs of the id, begun before this row's end, that accounting does not have."""
        starts = self._starts[key.job_id]
        runs = self._runs.open(key.job_id)
        return [run for run in runs if run.start_at not in starts and run not in self._closed]

    def _stop(self, row: Job, key: RunKey) -> Stopped:
        self._closed.update((key, row.key))
        return Stopped(replace(row, key=key), self._trigger)


def _by_start(job: Job) -> tuple[int, int]:
    return job.key.start_at, job.key.job_id


def _starts_by_id(rows: Iterable[RunKey]) -> Mapping[int, set[int]]:
    starts: dict[int, set[int]] = defaultdict(set)
    for key in rows:
        starts[key.job_id].add(key.start_at)
    return starts
