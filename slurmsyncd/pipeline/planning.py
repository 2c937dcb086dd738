"""From an observation to what is recorded: ask what it leaves open, plan, write down."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from slurmsyncd import planner as reconcile
from slurmsyncd.errors import SourceUnavailable
from slurmsyncd.model import JobAnswers, Notification, Trigger
from slurmsyncd.pipeline.missing_runs import MissingRuns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from slurmsyncd.model import JobQuestions, Observation, Plan, RunKey
    from slurmsyncd.pipeline.rechecks import Item
    from slurmsyncd.pipeline.store_thread import StoreThread
    from slurmsyncd.pipeline.tally import CollectTally
    from slurmsyncd.planner import Known
    from slurmsyncd.ports import Clock, Source, Store


class Planned(NamedTuple):
    """
    What became of an observation.

    Attributes:
        left: What has to be asked again soon.
        controller: Whether the controller answered nothing of what it was asked by job id.
        accounting: Likewise.
        trouble: What was not answered, a line each.
        disk_full: An answer found no room on a disk of this host.
    """

    left: frozenset[Item]
    controller: bool = False
    accounting: bool = False
    trouble: tuple[str, ...] = ()
    disk_full: bool = False


class Planning:
    """
    Judges the observations of one cluster.

    Args:
        span_s: How far back runs are told of that nobody knew.
        recorded: Called with each plan that is on the disk.
    """

    def __init__(
        self,
        source: Source,
        store: Store,
        thread: StoreThread,
        clock: Clock,
        tally: CollectTally,
        *,
        span_s: int,
        recorded: Callable[[Plan], Awaitable[None]],
    ) -> None:
        self._source = source
        self._store = store
        self._thread = thread
        self._clock = clock
        self._tally = tally
        self._span_s = span_s
        self._recorded = recorded
        self._moved: dict[RunKey, RunKey] = {}  # spares questions only: what is forgotten is found out again
        self._vanishing = MissingRuns()

    async def take(
        self,
        seen: Observation,
        trigger: Trigger,
        open_: frozenset[Item],
        *,
        now: int,
        caught_up: bool = True,
        away: bool = False,
    ) -> Planned:
        """
        Judge an observation together with what is open, and record what it leads to.

        Args:
            seen: One look.
            trigger: What made us look.
            open_: Hints and rechecks that are asked for along.
            now: Epoch seconds.
            caught_up: Accounting was read up to now.
            away: The controller does not list its jobs, so it is not asked for their details.

        Raises:
            DiskFull: Nothing was recorded.
        """
        hints = frozenset(item for item in open_ if isinstance(item, Notification))
        recheck = frozenset(item for item in open_ if isinstance(item, int))
        # Judging is done in the store's thread, too: for 100,000 jobs it takes some tenths of a second.
        seen, known, asked = await self._thread(
            self._questions, seen, hints, recheck, caught_up=caught_up, away=away
        )
        size = await self._source.detail_batch_size() if asked.details else 0
        done = Planned(frozenset())
        for part, questions in reconcile.portions(asked, seen, hints, size, known=known):
            answers = await self._ask(questions)
            plan, gone = await self._thread(
                self._record, part, questions, answers, known, now=now, trigger=trigger
            )
            self._vanishing.note(gone, now)
            self._tally.count(part, answers, plan)
            await self._recorded(plan)
            left: frozenset[Item] = frozenset(plan.rechecks)
            if part is seen:
                self._keep_moved(plan, known)
                left |= reconcile.unsettled(hints, plan, known)
                left |= recheck & answers.left(questions).job_ids
                later = asked.details - questions.details
                known = {key: end_at for key, end_at in known.items() if key.job_id in later}
            done = _with(done, left, questions, answers)
            del plan, answers  # not to be held beside the next
            if done.controller:
                break  # nor would the others be answered; the next listing shows them again
        return done

    async def _ask(self, asked: JobQuestions) -> JobAnswers:
        """Ask by job id. What does not answer is missing, and keeps nothing else from being recorded."""
        if not asked:
            return JobAnswers()
        try:
            return await self._source.query_jobs(asked)
        except SourceUnavailable as err:
            return JobAnswers(details=None, accounting=None, errors=(str(err),), disk_full=err.disk_full)

    def _questions(
        self,
        seen: Observation,
        hints: frozenset[Notification],
        recheck: frozenset[int],
        *,
        caught_up: bool,
        away: bool,
    ) -> tuple[Observation, Known, JobQuestions]:
        """Return the narrowed observation, the known runs it concerns and the questions to ask first."""
        cluster, differing = self._source.cluster, self._differing(seen)
        seen = reconcile.narrowed(seen, differing, hints, recheck)
        ids = reconcile.job_ids(seen, hints, recheck) | differing
        known = self._store.end_times(cluster, ids)
        asked = reconcile.questions(
            seen, known, hints, recheck, moved=self._moved, caught_up=caught_up, away=away
        )
        if not asked.job_ids <= ids:  # what is gone from the listing; answers speak of all its runs
            known = self._store.end_times(cluster, ids | asked.job_ids)
        return seen, known, asked

    def _differing(self, seen: Observation) -> frozenset[int]:
        """Return the ids of jobs that may have changed. Only these of all running jobs are kept in memory."""
        moved = frozenset(key.job_id for key in self._moved)
        if seen.job_list is None:
            return moved
        return moved | self._store.changed_job_ids(self._source.cluster, reconcile.running(seen))

    def _record(
        self,
        seen: Observation,
        asked: JobQuestions,
        answers: JobAnswers,
        known: Known,
        *,
        now: int,
        trigger: Trigger,
    ) -> tuple[Plan, frozenset[RunKey] | None]:
        """Record the plan for an observation; return the plan and the missing runs."""
        floor = now - self._span_s
        if seen.filled:  # of what ended in a gap, however old, all that was reported is still known
            floor = min(floor, seen.filled[0])
        plan = reconcile.plan(seen, asked, answers, known, floor=floor, trigger=trigger)
        self._store.record(plan, self._clock.now())
        return plan, reconcile.vanished(seen, asked, answers, known, now)

    def _keep_moved(self, plan: Plan, known: Known) -> None:
        still_open = {key for key, end_at in known.items() if end_at is None}
        found = {**self._moved, **dict(plan.moved_starts)}
        self._moved = {shown: told for shown, told in found.items() if told in still_open}


def _with(done: Planned, left: frozenset[Item], asked: JobQuestions, answers: JobAnswers) -> Planned:
    return Planned(
        done.left | left,
        done.controller or (bool(asked.details) and answers.details is None),
        done.accounting or (bool(asked.accounting) and answers.accounting is None),
        done.trouble + answers.errors,
        done.disk_full or answers.disk_full,
    )
