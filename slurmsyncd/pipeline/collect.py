"""Look, plan, write down; again when a hook rings or the poll interval is over."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import structlog

from slurmsyncd import reconcile
from slurmsyncd.errors import DiskFull, SourceUnavailable
from slurmsyncd.model import Answers, Hint, Observation, Plan, Started, Trigger
from slurmsyncd.pipeline.rechecks import Rechecks
from slurmsyncd.pipeline.vanishing import Vanishing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from slurmsyncd.model import Questions, RunKey
    from slurmsyncd.pipeline.rechecks import Item
    from slurmsyncd.pipeline.storage import StoreThread
    from slurmsyncd.ports import Clock, Source, Store
    from slurmsyncd.reconcile import Known

log = structlog.get_logger(__name__)

#: Seconds between two lines about catching up.
PROGRESS_S = 10.0


class Ringing(Protocol):
    """Where hints come from; see ``triggers.wakeup``."""

    async def wait(self, at_most_s: float) -> frozenset[Hint]:
        """Give the hints collected since, or nothing after ``at_most_s``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectPolicy:
    """
    When and how far to look, in seconds.

    Attributes:
        poll_s: From one full look to the next; see ``next_poll_at``.
        overlap_s: By how much windows of accounting overlap.
        max_span_s: How far back to look at most.
    """

    poll_s: float
    overlap_s: float
    max_span_s: float


@dataclass(slots=True)
class CollectTally:
    """What a collector has done so far; read by status and metrics, written by the collector alone."""

    looks: int = 0
    failures: int = 0
    hints: int = 0
    starts: int = 0
    stops: int = 0
    incomplete: int = 0
    never_started: int = 0
    set_aside: int = 0
    last_look_at: float | None = None
    unavailable: str | None = None
    unavailable_since: float | None = None
    partly: bool = False  # only one half of the last look did not answer
    rechecks: int = 0


class Collector:
    """One cluster's source, planner and cursor."""

    def __init__(
        self,
        source: Source,
        store: Store,
        thread: StoreThread,
        policy: CollectPolicy,
        clock: Clock,
        *,
        recorded: Callable[[Plan], Awaitable[None]],
    ) -> None:
        self.tally = CollectTally()
        self._source = source
        self._store = store
        self._thread = thread
        self._policy = policy
        self._clock = clock
        self._recorded = recorded
        self._rechecks = Rechecks()
        self._moved: dict[RunKey, RunKey] = {}  # spares questions only: what is forgotten is found out again
        self._vanishing = Vanishing()
        self._away = False  # slurmctld did not list its jobs last time
        self._limited = False
        self._position: int | None = None  # in accounting, while catching up
        self._progress_at: float | None = None

    @property
    def cluster(self) -> str:
        """Slurm's name of the cluster."""
        return self._source.cluster

    async def run(self, wakeup: Ringing) -> None:
        """Look for ever; what Slurm cannot answer now is asked again. Runs until cancelled."""
        next_poll = time.monotonic()
        while True:
            if (began := time.monotonic()) >= next_poll:
                await self._guarded(self.look())
                next_poll = next_poll_at(began, time.monotonic(), self._policy.poll_s)
            elif self.behind:
                await self._guarded(self.catch_up())
            hints = await wakeup.wait(0.0 if self.behind else self._patience(next_poll))
            if hints or self._rechecks.take(time.monotonic()):
                await self._guarded(self.answer(hints))

    @property
    def behind(self) -> bool:
        """Whether accounting has to be read further at once; polls and hints go on meanwhile."""
        return self._position is not None

    async def look(self) -> None:
        """
        Look at everything the controller holds, and at the next slice of accounting.

        Raises:
            SourceUnavailable: Slurm did not answer; nothing was written down.
        """
        await self._look(listing=True)
        self.tally.looks += 1
        self.tally.last_look_at = self._clock.now()

    async def catch_up(self) -> None:
        """
        Read one more slice of accounting.

        Raises:
            SourceUnavailable: Slurm did not answer; the next poll goes on from here.
        """
        await self._look(listing=False)

    async def _look(self, *, listing: bool) -> None:
        until = int(self._clock.now())
        since, self._position = self._position, None
        if since is None:
            since = await self._since(until)
        seen = await self._source.look(since, until, listing=listing)
        caught_up = seen.through is not None and seen.through >= until
        if listing:
            self._away = seen.listed is None
        open_ = self._rechecks.take(None) if listing else frozenset()
        trouble = await self._take(seen, Trigger.POLL, open_, now=until, caught_up=caught_up)
        # A source that came no further is left to the next poll.
        if seen.through is not None and not caught_up and seen.through > since:
            self._position = seen.through
        if listing or trouble:
            self.tally.partly = bool(trouble)
            self._note_trouble(trouble)
        self._note_progress(until)

    async def answer(self, hints: Iterable[Hint] = ()) -> None:
        """
        Look at single jobs: those of the hooks' hints, and those an earlier look left open.

        What Slurm does not answer is asked again soon, and the poll will find the jobs.
        """
        hints = frozenset(hint for hint in hints if hint.job_id)  # a test's hint speaks of no job
        self.tally.hints += len(hints)
        self._rechecks.add(hints, time.monotonic())
        due = self._rechecks.take(time.monotonic())
        # What began, the controller shows at once; accounting takes 0.3 s for an answer in 22.05.
        begun = frozenset(item for item in due if isinstance(item, Hint) and item.context == "prolog")
        for part in filter(None, (begun, due - begun)):
            now = int(self._clock.now())
            seen = Observation(cluster=self.cluster, looked_at=now)
            if trouble := await self._take(seen, Trigger.HOOK, part, now=now):
                self._note_trouble(trouble)

    async def _guarded(self, work: Awaitable[None]) -> None:
        try:
            await work
        except (SourceUnavailable, DiskFull) as err:
            # Nothing was written down and the cursor stands: the next look sees it all again.
            self.tally.failures += 1
            self.tally.partly = False
            self._note_trouble((str(err),))

    async def _take(
        self,
        seen: Observation,
        trigger: Trigger,
        open_: frozenset[Item],
        *,
        now: int,
        caught_up: bool = True,
    ) -> tuple[str, ...]:
        """Judge one look together with what is open, and write down what it leads to. Returns the trouble."""
        hints = frozenset(item for item in open_ if isinstance(item, Hint))
        recheck = frozenset(item for item in open_ if isinstance(item, int))
        left: frozenset[Item] = open_  # unless we come through
        trouble = seen.trouble
        try:
            # Judging is done in the store's thread, too: for 100,000 jobs it takes some tenths of a second.
            seen, known, asked = await self._thread(
                self._questions,
                seen,
                hints,
                recheck,
                caught_up=caught_up,
                away=self._away and trigger is Trigger.POLL,
            )
            size = await self._source.portion() if asked.details else 0
            for part, questions in reconcile.portions(asked, seen, hints, size):
                answers = await self._ask(questions)
                plan = await self._write_down(part, questions, answers, known, now=now, trigger=trigger)
                trouble += answers.trouble
                unanswered = answers.left(questions)
                if part is seen:
                    self._keep_moved(plan, known)
                    left = plan.recheck | reconcile.unsettled(hints, plan, known)
                    left |= recheck & unanswered.job_ids
                    later = asked.details - questions.details
                    known = {key: end_at for key, end_at in known.items() if key.job_id in later}
                else:
                    left |= plan.recheck
                del plan, answers  # not to be held beside the next
                if unanswered.details == questions.details != frozenset():
                    break  # nor would the others be answered; the next listing shows them again
        finally:
            self._rechecks.settle(open_, left, time.monotonic())
            self.tally.rechecks = len(self._rechecks)
        return trouble

    async def _ask(self, asked: Questions) -> Answers:
        """Ask by job id. What does not answer is missing, and keeps nothing else from being recorded."""
        if not asked:
            return Answers()
        try:
            return await self._source.ask(asked)
        except SourceUnavailable as err:
            return Answers(details=None, accounting=None, trouble=(str(err),))

    def _questions(
        self,
        seen: Observation,
        hints: frozenset[Hint],
        recheck: frozenset[int],
        *,
        caught_up: bool,
        away: bool,
    ) -> tuple[Observation, Known, Questions]:
        """Give what of a look is to be judged, what is known of that, and what is to be asked first."""
        differing = self._differing(seen)
        seen = reconcile.narrowed(seen, differing, hints, recheck)
        ids = reconcile.job_ids(seen, hints, recheck) | differing
        known = self._store.ends(self.cluster, ids)
        asked = reconcile.questions(
            seen, known, hints, recheck, moved=self._moved, caught_up=caught_up, away=away
        )
        if not asked.job_ids <= ids:  # what is gone from the listing; answers speak of all its runs
            known = self._store.ends(self.cluster, ids | asked.job_ids)
        return seen, known, asked

    def _differing(self, seen: Observation) -> frozenset[int]:
        """Give the ids of what may have changed: of all that runs, no more than that is held in memory."""
        moved = frozenset(key.job_id for key in self._moved)
        if seen.listed is None:
            return moved
        return moved | self._store.differing(self.cluster, reconcile.running(seen))

    async def _write_down(
        self,
        seen: Observation,
        asked: Questions,
        answers: Answers,
        known: Known,
        *,
        now: int,
        trigger: Trigger,
    ) -> Plan:
        """Judge and record; give what was recorded."""
        plan, gone = await self._thread(self._record, seen, asked, answers, known, now=now, trigger=trigger)
        self._vanishing.note(gone, now)
        self._count(seen, answers, plan)
        await self._recorded(plan)
        return plan

    def _record(
        self,
        seen: Observation,
        asked: Questions,
        answers: Answers,
        known: Known,
        *,
        now: int,
        trigger: Trigger,
    ) -> tuple[Plan, frozenset[RunKey] | None]:
        """Record what follows from a look; give that, and the open runs of which Slurm knows nothing."""
        plan = reconcile.plan(seen, asked, answers, known, floor=self._floor(now), trigger=trigger)
        self._store.record(plan, self._clock.now())
        return plan, reconcile.vanished(seen, asked, answers, known, now)

    def _keep_moved(self, plan: Plan, known: Known) -> None:
        still_open = {key for key, end_at in known.items() if end_at is None}
        found = {**self._moved, **dict(plan.moved)}
        self._moved = {shown: told for shown, told in found.items() if told in still_open}

    def _floor(self, now: int) -> int:
        return now - int(self._policy.max_span_s)

    async def _since(self, until: int) -> int:
        """Where to read accounting from: the cursor less the overlap, bounded on both sides."""
        cursor = await self._thread(self._store.cursor, self.cluster)
        floor, overlap = self._floor(until), int(self._policy.overlap_s)
        if cursor is None:
            return floor
        if cursor > until + overlap:
            # Some clock was wrong, so the checkpoint does not say what was read: read all that we may.
            log.warning("checkpoint_in_future", cluster=self.cluster, checkpoint=cursor, read_from=floor)
            await self._thread(self._store.set_cursor, self.cluster, floor)
            return floor
        if cursor < floor:
            self._note_limit(cursor, floor)
        return max(min(cursor, until) - overlap, floor)

    def _patience(self, next_poll: float) -> float:
        """Seconds until something is to be done unasked: a recheck, or the poll."""
        due_at = self._rechecks.next_at()
        return max(0.0, (next_poll if due_at is None else min(due_at, next_poll)) - time.monotonic())

    def _count(self, seen: Observation, answers: Answers, plan: Plan) -> None:
        starts = [event.job for event in plan.events if isinstance(event, Started)]
        self.tally.starts += len(starts)
        self.tally.stops += len(plan.events) - len(starts)
        self.tally.incomplete += sum(job.allocation is None for job in starts)
        self.tally.never_started += seen.never_started
        self.tally.set_aside += seen.set_aside + answers.set_aside

    def _note_limit(self, cursor: int, floor: int) -> None:
        """Name the span that is left out, once."""
        if not self._limited:
            log.warning(
                "look_back_limited",
                cluster=self.cluster,
                skipped_from=cursor,
                skipped_to=floor,
                remedy=f"slurmsyncd backfill --from {cursor} --to {floor}",
            )
        self._limited = True

    def _note_progress(self, until: int) -> None:
        """Tell of a long way to catch up: at its beginning, now and then, and at its end."""
        if self._position is None:
            if self._progress_at is not None:
                log.info("caught_up", cluster=self.cluster)
            self._progress_at = None
        elif self._progress_at is None or time.monotonic() >= self._progress_at + PROGRESS_S:
            self._progress_at = time.monotonic()
            log.info("catching_up", cluster=self.cluster, behind_s=until - self._position)

    def _note_trouble(self, trouble: tuple[str, ...]) -> None:
        """Log a change of state, not every cycle."""
        now = "; ".join(trouble) or None
        before, self.tally.unavailable = self.tally.unavailable, now
        if bool(now) != bool(before):
            self.tally.unavailable_since = self._clock.now() if now else None
        if now and not before:
            log.warning("look_failed", cluster=self.cluster, reason=now)
        elif before and not now:
            log.info("look_works_again", cluster=self.cluster)


def next_poll_at(began: float, ended: float, poll_s: float) -> float:
    """
    Give when to look again, after a look from ``began`` to ``ended`` (monotonic seconds).

    From beginning to beginning, so that whatever runs longer than the interval is seen while it runs. Where
    Slurm needs long to answer it gets its rest: nine tenths of the interval from the end.
    """
    return max(began + poll_s, ended + 0.9 * poll_s)
