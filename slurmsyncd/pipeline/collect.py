"""Look, plan, write down; again when a hook rings or the poll interval is over."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import structlog

from slurmsyncd import reconcile
from slurmsyncd.errors import DiskFull, SourceUnavailable
from slurmsyncd.model import Answers, Hint, Observation, Plan, Started, Trigger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from slurmsyncd.pipeline.storage import StoreThread
    from slurmsyncd.ports import Clock, Source, Store

log = structlog.get_logger(__name__)

#: A recheck that leads to nothing is left to the poll after this many rounds.
RECHECK_ROUNDS = 6
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
        poll_s: From the end of one full look to the next.
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
    rechecks: frozenset[int] = field(default_factory=frozenset)


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
        self._recheck: frozenset[int] = frozenset()
        self._rounds = 0
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
            if time.monotonic() >= next_poll:
                await self._guarded(self.look())
                next_poll = time.monotonic() + self._policy.poll_s
            elif self.behind:
                await self._guarded(self.catch_up())
            hints = await wakeup.wait(0.0 if self.behind else self._patience(next_poll))
            if hints or (self._recheck and not self.behind and time.monotonic() < next_poll):
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
        await self._take(seen, Trigger.POLL, caught_up=caught_up)
        if seen.through is not None and not caught_up:
            self._position = seen.through
        self._note_trouble(seen.trouble)
        self._note_progress(until)

    async def answer(self, hints: Iterable[Hint]) -> None:
        """
        Look at single jobs: those of the hooks' hints, and those an earlier look left open.

        Raises:
            SourceUnavailable: Slurm did not answer; the poll will find the jobs.
        """
        hints = frozenset(hints)
        self.tally.hints += len(hints)
        seen = Observation(cluster=self._source.cluster, looked_at=int(self._clock.now()))
        await self._take(seen, Trigger.HOOK, hints=hints)

    async def _guarded(self, work: Awaitable[None]) -> None:
        try:
            await work
        except (SourceUnavailable, DiskFull) as err:
            # Nothing was written down and the cursor stands: the next look sees it all again.
            self.tally.failures += 1
            self._note_trouble((str(err),))

    async def _take(
        self,
        seen: Observation,
        trigger: Trigger,
        *,
        hints: frozenset[Hint] = frozenset(),
        caught_up: bool = True,
    ) -> None:
        """Judge one look and write down what it leads to."""
        ids = reconcile.job_ids(seen, hints, self._recheck)
        known = await self._thread(self._store.known, seen.cluster, ids)
        asked = reconcile.questions(seen, known, hints, self._recheck, caught_up=caught_up)
        answers = await self._source.ask(asked) if asked else Answers()
        floor = seen.looked_at - int(self._policy.max_span_s)
        plan = reconcile.plan(seen, asked, answers, known, floor=floor, trigger=trigger)
        await self._thread(self._store.record, plan, self._clock.now())
        self._plan_recheck(plan.recheck | reconcile.unsettled(hints, plan, known))
        self._count(seen, answers, plan)
        await self._recorded(plan)

    async def _since(self, until: int) -> int:
        """Where to read accounting from: the cursor less the overlap, bounded on both sides."""
        cursor = await self._thread(self._store.cursor, self._source.cluster)
        floor = until - int(self._policy.max_span_s)
        if cursor is None:
            return floor
        if cursor > until:
            log.warning("checkpoint_in_future", cluster=self._source.cluster, checkpoint=cursor, now=until)
            cursor = until
        since = cursor - int(self._policy.overlap_s)
        if since < floor:
            log.warning(
                "look_back_limited",
                cluster=self._source.cluster,
                skipped_from=since,
                skipped_to=floor,
                remedy="raise daemon.max_span and restart to read further back",
            )
        return max(since, floor)

    def _plan_recheck(self, ids: frozenset[int]) -> None:
        self._rounds = self._rounds + 1 if ids and ids <= self._recheck else 0
        self._recheck = ids if self._rounds < RECHECK_ROUNDS else frozenset()
        self.tally.rechecks = self._recheck

    def _patience(self, next_full: float) -> float:
        """Seconds until something is to be done unasked: a recheck, soon and then ever later, or the poll."""
        left = max(0.0, next_full - time.monotonic())
        return min(left, 2.0**self._rounds) if self._recheck else left

    def _count(self, seen: Observation, answers: Answers, plan: Plan) -> None:
        starts = [event.job for event in plan.events if isinstance(event, Started)]
        self.tally.starts += len(starts)
        self.tally.stops += len(plan.events) - len(starts)
        self.tally.incomplete += sum(job.allocation is None for job in starts)
        self.tally.never_started += seen.never_started
        self.tally.set_aside += seen.set_aside + answers.set_aside

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
        if now and not before:
            log.warning("look_failed", cluster=self._source.cluster, reason=now)
        elif before and not now:
            log.info("look_works_again", cluster=self._source.cluster)
