"""The collector of one cluster: polls Slurm, queries notified jobs, plans and records."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import structlog

from slurmsyncd.errors import DiskFull
from slurmsyncd.model import Notification, Observation, Trigger
from slurmsyncd.pipeline.gaps import Gaps, observe
from slurmsyncd.pipeline.planning import Planned, Planning
from slurmsyncd.pipeline.reading import AccountingProgress
from slurmsyncd.pipeline.rechecks import Rechecks
from slurmsyncd.pipeline.rhythm import Half, next_poll_at
from slurmsyncd.pipeline.tally import CollectTally

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from slurmsyncd.model import Plan
    from slurmsyncd.pipeline.rechecks import Item
    from slurmsyncd.pipeline.store_thread import StoreThread
    from slurmsyncd.ports import Clock, Source, Store

log = structlog.get_logger(__name__)


class NotificationWaiter(Protocol):
    """The origin of notifications; see ``triggers.notification_queue``."""

    async def wait(self, at_most_s: float) -> frozenset[Notification]:
        """Wait for notifications and return them; return none after ``at_most_s`` seconds."""


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


class Collector:
    """
    One cluster's source, planner and cursor.

    Args:
        recorded: Called with each plan that is on the disk.
        monotonic: Seconds of a clock that never jumps.
        chance: Numbers from 0 to 1, at random.
    """

    def __init__(
        self,
        source: Source,
        store: Store,
        thread: StoreThread,
        policy: CollectPolicy,
        clock: Clock,
        *,
        recorded: Callable[[Plan], Awaitable[None]],
        monotonic: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        span_s = int(policy.max_span_s)
        self.tally = CollectTally()
        self._source = source
        self._policy = policy
        self._clock = clock
        self._monotonic = monotonic
        self._chance = chance
        self._recorded = recorded
        self._planning = Planning(
            source, store, thread, clock, self.tally, span_s=span_s, recorded=self._note_recorded
        )
        self._reading = AccountingProgress(
            source.cluster,
            store,
            thread,
            overlap_s=int(policy.overlap_s),
            span_s=span_s,
            monotonic=monotonic,
        )
        self._gaps = Gaps(source, store, thread, monotonic)
        self._rechecks = Rechecks()
        self._controller, self._accounting = Half(), Half()
        self._next_poll = float("-inf")
        self._no_room = False  # until the next poll
        self._away = False  # slurmctld did not list its jobs when it was asked last

    @property
    def cluster(self) -> str:
        """Slurm's name of the cluster."""
        return self._source.cluster

    @property
    def is_catching_up(self) -> bool:
        """Whether accounting has to be read further at once; polls and hints go on meanwhile."""
        return self._reading.position is not None

    @property
    def behind_s(self) -> float | None:
        """How long ago is what accounting was read up to (seconds); None if it was never read."""
        read_to = self._reading.read_to
        return None if read_to is None else max(0.0, self._clock.now() - read_to)

    @property
    def has_polled(self) -> bool:
        """Whether Slurm was looked at, as far back as that goes."""
        return self.tally.polls > 0 and self._reading.reached and not self.is_catching_up

    async def run(self, wakeup: NotificationWaiter) -> None:
        """Look for ever; what Slurm cannot answer now is asked again, alone. Runs until cancelled."""
        self._controller.next_at = self._accounting.next_at = self._monotonic()
        while True:
            now = self._monotonic()
            listing, accounting = self._controller.next_at <= now, self._accounting.next_at <= now
            if listing or accounting:
                self._no_room = False
                await self._guarded(self._look(listing=listing, accounting=accounting))
            elif self._reads_on:
                await self._guarded(self.catch_up())
            elif self._fills:
                await self._guarded(self.fill_gap())
            hints = await wakeup.wait(0.0 if self._reads_on or self._fills else self._patience())
            if hints or self._rechecks.take(self._monotonic()):
                await self._guarded(self.query_notified(hints))

    async def poll(self) -> None:
        """Look at everything the controller holds, and at the next slice of accounting."""
        await self._look(listing=True, accounting=True)

    async def catch_up(self) -> None:
        """Read one more slice of accounting."""
        await self._look(listing=False, accounting=True)

    async def fill_gap(self) -> None:
        """Try one window of accounting again that could not be read."""
        if (window := self._gaps.try_next()) is None:
            return
        now, is_filled = int(self._clock.now()), False
        try:
            seen = await observe(self._source, *window)
            if seen.accounting_read_until is not None:
                seen = replace(
                    seen, accounting_read_until=None, filled=(window[0], seen.accounting_read_until)
                )
                await self._judge(seen, Trigger.POLL, frozenset(), now=now, caught_up=True)
                is_filled = True
        finally:
            self._gaps.tried(window[0], filled=is_filled)

    async def query_notified(self, hints: Iterable[Notification] = ()) -> None:
        """
        Look at single jobs: those of the hooks' hints, and those an earlier look left open.

        What Slurm does not answer is asked again soon, and the poll will find the jobs.
        """
        hints = frozenset(hint for hint in hints if hint.job_id)  # a test's hint speaks of no job
        self.tally.notifications += len(hints)
        self._rechecks.add(hints, self._monotonic())
        due = self._rechecks.take(self._monotonic())
        # What began, the controller shows at once; accounting takes 0.3 s for an answer in 22.05.
        begun = frozenset(item for item in due if isinstance(item, Notification) and item.context == "prolog")
        for part in filter(None, (begun, due - begun)):
            now = int(self._clock.now())
            seen = Observation(cluster=self.cluster, observed_at=now)
            caught_up = self._reading.reached and not self.is_catching_up
            done = await self._judge(seen, Trigger.HOOK, part, now=now, caught_up=caught_up)
            for half, failed in ((self._controller, done.controller), (self._accounting, done.accounting)):
                if failed and not half.failures:  # else it has its time: hints must not put that off
                    self._failed(half, done.trouble, disk_full=done.disk_full)
            self._note_trouble()

    @property
    def _reads_on(self) -> bool:
        """Whether there is accounting to be read now."""
        return self.is_catching_up and not self._accounting.failures and not self._no_room

    @property
    def _fills(self) -> bool:
        """Whether a gap of accounting is tried again now."""
        can_read = self.has_polled and not self._accounting.failures and not self._no_room
        return can_read and self._gaps.is_due

    def _patience(self) -> float:
        """Seconds until something is to be done unasked: a recheck, or a poll of one half or both."""
        next_at = min(self._controller.next_at, self._accounting.next_at)
        due_at = self._rechecks.next_at()
        return max(0.0, (next_at if due_at is None else min(due_at, next_at)) - self._monotonic())

    async def _guarded(self, work: Awaitable[None]) -> None:
        try:
            await work
        except DiskFull as err:
            # Nothing was written down and the cursor stands: the next poll sees it all again.
            self.tally.failures += 1
            self._no_room = True
            for half in (self._controller, self._accounting):
                half.answered(self._next_poll, (str(err),), disk_full=True)
            self._note_trouble()

    async def _look(self, *, listing: bool, accounting: bool) -> None:
        began, until = self._monotonic(), int(self._clock.now())
        try:
            await self._reading.set_back(self._source.doubted_from)
            since, end = until, until
            if accounting:
                since, end = await self._gaps.around(await self._reading.since(until), until)
            seen = await self._gaps.observe(since, end, now=until, listing=listing, accounting=accounting)
            if listing:
                self._away = seen.job_list is None
            open_ = self._rechecks.take(None) if listing else frozenset()
            caught_up = seen.accounting_read_until is not None and seen.accounting_read_until >= until
            done = await self._judge(seen, Trigger.POLL, open_, now=until, caught_up=caught_up)
        finally:
            if self._next_poll <= began:
                self._next_poll = next_poll_at(began, self._monotonic(), self._policy.poll_s)
        if accounting:
            if seen.accounting_read_until is None:
                self._reading.stands(until, "; ".join(seen.errors))
            doubtful = seen.accounting_read_until is None or (listing and seen.job_list is None)
            self._reading.note(doubtful=doubtful, agreed=caught_up and not self._away)
            await self._reading.advance(seen.accounting_read_until, since, until)
        if listing and not self._away:
            await self._count_messages()
        self._note_answers(seen, done, listing=listing, accounting=accounting)

    async def _count_messages(self) -> None:
        """Count what slurmctld holds for slurmdbd, where accounting may lack rows or is to be settled."""
        if self._reading.asks():
            queued = await self._source.queued_messages()
            self._reading.note_queue(queued)
            self.tally.note_queue(queued, self._clock.now())

    async def _judge(
        self,
        seen: Observation,
        trigger: Trigger,
        open_: frozenset[Item],
        *,
        now: int,
        caught_up: bool,
    ) -> Planned:
        left: frozenset[Item] = open_  # unless we come through
        away = self._away and trigger is Trigger.POLL
        try:
            done = await self._planning.take(seen, trigger, open_, now=now, caught_up=caught_up, away=away)
            left = done.left
        finally:
            self._rechecks.settle(open_, left, self._monotonic())
            self.tally.rechecks = len(self._rechecks)
        return done

    async def _note_recorded(self, plan: Plan) -> None:
        await self._gaps.recorded(plan)
        await self._recorded(plan)

    def _note_answers(self, seen: Observation, done: Planned, *, listing: bool, accounting: bool) -> None:
        """Note of each half that was asked whether it answered all, and when it is asked next."""
        trouble, disk_full = (*seen.errors, *done.trouble), seen.disk_full or done.disk_full
        asked = [
            (half, failed)
            for half, was_asked, failed in (
                (self._controller, listing, seen.job_list is None or done.controller),
                (self._accounting, accounting, seen.accounting_read_until is None or done.accounting),
            )
            if was_asked
        ]
        in_part = not any(failed for _, failed in asked)
        for half, failed in asked:
            if failed:
                self._failed(half, trouble, disk_full=disk_full)
            else:
                half.answered(self._next_poll, trouble if in_part else (), disk_full=disk_full)
        answered = seen.job_list is not None or seen.accounting_read_until is not None
        self.tally.failures += not answered
        if listing and answered:
            self.tally.polls += 1
            self.tally.last_poll_at = self._clock.now()
        self._note_trouble()

    def _failed(self, half: Half, trouble: tuple[str, ...], *, disk_full: bool) -> None:
        now, fraction = self._monotonic(), self._chance()
        half.failed(trouble, now, self._policy.poll_s, fraction, disk_full=disk_full)

    def _note_trouble(self) -> None:
        """Log a change of state, not every cycle."""
        halves = (self._controller, self._accounting)
        now = "; ".join(dict.fromkeys(text for half in halves for text in half.trouble)) or None
        before, self.tally.error = self.tally.error, now
        self.tally.disk_full = any(half.disk_full for half in halves)
        self.tally.partial = bool(now) and not all(half.failures for half in halves)
        if bool(now) != bool(before):
            self.tally.error_since = self._clock.now() if now else None
        if now and not before:
            log.warning("look_failed", cluster=self.cluster, reason=now)
        elif before and not now:
            log.info("look_works_again", cluster=self.cluster)
