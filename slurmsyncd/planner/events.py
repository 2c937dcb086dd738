"""The events that follow from an observation and from the answers to its questions. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import fields, replace
from typing import TYPE_CHECKING

from slurmsyncd.model import Job, JobState, Plan, RunEnded, RunKey, RunStarted
from slurmsyncd.planner.known_runs import KnownRunIndex, is_same_run, may_be_moved, sighting_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from slurmsyncd.model import Event, JobAnswers, JobQuestions, Notification, Observation, Trigger
    from slurmsyncd.planner.known_runs import Known

#: Fields for which accounting overrides the controller.
_ACCOUNTED = ("key", "state", "end_at", "exit_code")


def plan(
    seen: Observation, asked: JobQuestions, answers: JobAnswers, known: Known, *, floor: int, trigger: Trigger
) -> Plan:
    """
    Compare what Slurm shows with the known runs.

    Args:
        seen: The observation.
        asked: The questions that followed from the observation.
        answers: Slurm's answers to these questions.
        known: All open runs of the cluster, and all known runs of the ids that ended or were queried.
        floor: Unknown runs that ended before this time (epoch seconds) are not reported. When a job id
            wraps after years, its earlier run must not be reported again.
        trigger: What caused the observation.

    Returns:
        Events, the start of a run before its stop, the ids to query again soon, and starts that moved.
    """
    judge = _EventBuilder(seen, asked, answers, known, floor=floor, trigger=trigger)
    events = (*judge.ended(), *judge.begun())
    return Plan(
        cluster=seen.cluster,
        events=events,
        cursor=seen.accounting_read_until,
        rechecks=frozenset(judge.recheck),
        moved_starts=tuple(judge.moved.items()),
        gap=seen.gap,
        filled=seen.filled,
    )


def unsettled(hints: Collection[Notification], done: Plan, known: Known) -> frozenset[Notification]:
    """Return the notifications not yet explained: slurmdbd or the controller may lag by a moment."""
    if not hints:
        return frozenset()
    runs = KnownRunIndex(known)
    for event in done.events:
        runs.note(event.job.key, event.job.end_at if isinstance(event, RunEnded) else None)
    told = {event.job.key.job_id for event in done.events}
    over = told | {key.job_id for key, end_at in known.items() if end_at is not None}

    def explained(hint: Notification) -> bool:
        if hint.context == "epilog":
            return hint.job_id in over and not runs.open(hint.job_id)
        return hint.job_id in told or bool(runs.open(hint.job_id))

    return frozenset(hint for hint in hints if not explained(hint))


def merge_details(row: Job, details: Job | None) -> Job:
    """
    Return the controller's record of a run, with accounting's key, end and the fields only accounting has.

    A start may reach slurmdbd seconds after the end (22.05). Until then the row of a short job is named
    "allocation" and has no partition. Its NodeList may permanently name only the first host. Accounting
    does not preserve a quote in a job name.
    """
    if details is None:
        return row
    known = {spec.name: getattr(row, spec.name) for spec in fields(Job)}
    theirs = {
        name: value
        for name, value in known.items()
        if name in _ACCOUNTED or (value is not None and getattr(details, name) in (None, "", 0, ()))
    }
    return replace(details, **theirs)


def has_ended(job: Job) -> bool:
    """
    Return whether this run has ended in accounting.

    An unknown job state also ends a run once accounting has an end time.
    """
    return job.end_at is not None and (job.state.is_final or job.state is JobState.UNKNOWN)


class _EventBuilder:
    """The evidence of one observation, and the events that follow from it."""

    def __init__(
        self,
        seen: Observation,
        asked: JobQuestions,
        answers: JobAnswers,
        known: Known,
        *,
        floor: int,
        trigger: Trigger,
    ) -> None:
        self.recheck: set[int] = set()
        self.moved: dict[RunKey, RunKey] = {}
        self._runs = KnownRunIndex(known)
        self._floor = floor
        self._trigger = trigger
        self._listed = {
            item.job_id for item in seen.job_list or () if item.state.is_active and item.start_at is not None
        }
        # Only queried ids are compared: for other ids, some known runs may not be loaded.
        asked_rows = (row for row in answers.accounting or () if row.key.job_id in asked.accounting)
        self._rows = _one_each((*seen.ended_runs, *asked_rows))
        self._starts = _starts_by_id(self._rows)
        self._again = asked.again
        left = answers.left(asked)
        self._answered = asked.accounting - left.accounting
        shown = [job for job in answers.details or () if job.key.job_id in asked.details]
        self._details = _one_each(shown)
        self._unseen = asked.details - left.details - {key.job_id for key in self._details}

    def ended(self) -> Iterator[Event]:
        """Return the stops that accounting shows, and the starts of runs that ended before an observation."""
        for row in sorted(self._rows.values(), key=_by_start):
            if not has_ended(row) or self._runs.is_ended(row):
                continue
            if self._runs.is_open(row.key):
                yield self._stop(row, row.key)
            else:
                yield from self._ended_unknown(row)

    def _ended_unknown(self, row: Job) -> Iterator[Event]:
        moved = [at for at in self._runs.move_candidates(row) if at not in self._starts[row.key.job_id]]
        if moved and row.key.job_id not in self._answered:
            self.recheck.add(row.key.job_id)
        elif moved:  # accounting has no run with the known start: this row is that run, its start moved
            yield self._stop(row, replace(row.key, start_at=moved[0]))
        elif row.end_at is not None and row.end_at >= self._floor:
            yield RunStarted(merge_details(row, self._shown(row)), self._trigger)
            yield self._stop(row, row.key)

    def begun(self) -> Iterator[Event]:
        """Return the starts of new runs that hold or held an allocation. Call this after ``ended``."""
        for job in sorted(self._details.values(), key=_by_start):
            # A run that ended without an allocation never started, although Slurm gives it a start time.
            if (job.state.is_active or (job.state.is_final and job.allocation)) and self._is_new(job):
                yield self._start(job)
        for job_id in sorted(self._unseen):
            yield from self._begun_unseen(job_id)

    def _is_new(self, job: Job) -> bool:
        if self._runs.is_known(sighting_of(job)) or self._is_too_old(job):
            return False
        before = self._runs.open(job.key.job_id)
        if before:
            return self._follows(job.key, before)
        if job.state is JobState.COMPLETING and job.key.job_id in self._answered:
            return self._is_confirmed(job.key)
        return True

    def _is_confirmed(self, key: RunKey) -> bool:
        # A job that is being requeued is COMPLETING under the start of a run that has not begun.
        if key not in self._rows:
            self.recheck.add(key.job_id)
        return key in self._rows

    def _follows(self, key: RunKey, before: Sequence[int]) -> bool:
        """Return whether a run differs from the runs that are still open under its job id."""
        starts = self._starts[key.job_id] if key.job_id in self._answered else set(before)
        if starts.intersection(before) or key.start_at not in starts:
            self.recheck.add(key.job_id)  # accounting has the earlier run as open, or lacks this one
            return False
        nearest = min(before, key=lambda at: abs(key.start_at - at))
        if not may_be_moved(nearest, self._rows[key]):
            return True
        # Accounting has this start and not the known one: a single run whose start moved.
        self.moved[key] = replace(key, start_at=nearest)
        return False

    def _is_too_old(self, job: Job) -> bool:
        row = self._rows.get(job.key, job)
        return row.end_at is not None and row.end_at < self._floor

    def _begun_unseen(self, job_id: int) -> Iterator[Event]:
        """
        Report from accounting alone a job that is listed as active but has no readable details.

        This happens only at the second query: the controller may have died during an empty answer.
        """
        rows = [row for key, row in self._rows.items() if key.job_id == job_id and row.state.is_active]
        fresh = [row for row in rows if self._is_new(row)]
        if job_id not in self._listed:
            self.recheck.update(row.key.job_id for row in fresh)
        elif fresh and job_id in self._again:
            yield from map(self._start, fresh)
        elif fresh or not rows:
            self.recheck.add(job_id)

    def _shown(self, row: Job) -> Job | None:
        """Return the controller's details of accounting's run, under this start or one that moved."""
        of_id = (job for key, job in self._details.items() if key.job_id == row.key.job_id)
        same = [job for job in of_id if is_same_run(row.key.start_at, row.end_at, sighting_of(job))]
        return min(same, key=lambda job: abs(job.key.start_at - row.key.start_at), default=None)

    def _start(self, job: Job) -> RunStarted:
        self._runs.note(job.key, None)
        return RunStarted(job, self._trigger)

    def _stop(self, row: Job, key: RunKey) -> RunEnded:
        self._runs.note(key, row.end_at)
        self._runs.note(row.key, row.end_at)
        return RunEnded(row if row.key == key else replace(row, key=key), self._trigger)


def _by_start(job: Job) -> tuple[int, int]:
    return job.key.start_at, job.key.job_id


def _one_each(jobs: Iterable[Job]) -> dict[RunKey, Job]:
    """Return one record per run: that of the latest restart, preferably one that has not ended."""
    found: dict[RunKey, Job] = {}
    for job in jobs:
        if job.key not in found or _lateness(job) >= _lateness(found[job.key]):
            found[job.key] = job
    return found


def _lateness(job: Job) -> tuple[int, float]:
    return job.restarts or 0, float("inf") if job.end_at is None else job.end_at


def _starts_by_id(rows: Iterable[RunKey]) -> Mapping[int, set[int]]:
    starts: dict[int, set[int]] = defaultdict(set)
    for key in rows:
        starts[key.job_id].add(key.start_at)
    return starts
