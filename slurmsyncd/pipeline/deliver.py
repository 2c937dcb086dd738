"""Drain one sink's queue: starts and stops in lanes of their own, results settled in groups."""

from __future__ import annotations

import logging
import math
import random
import time
from typing import TYPE_CHECKING

import anyio
import structlog

from slurmsyncd.delivery import DeadLetter, Drop, OutcomeKind, Park, Retry, backoff, decide
from slurmsyncd.errors import DiskFull
from slurmsyncd.model import OutboxEntry
from slurmsyncd.pipeline.auto_reset_event import AutoResetEvent
from slurmsyncd.pipeline.pause import requested_wait_s
from slurmsyncd.pipeline.sink_health import SinkHealth

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anyio.abc import ObjectReceiveStream

    from slurmsyncd.delivery import DeliveryPolicy, Outcome, Standing, Verdict
    from slurmsyncd.model import EventKind
    from slurmsyncd.pipeline.store_thread import StoreThread
    from slurmsyncd.ports import Clock, OutboxReader, Sink

log = structlog.get_logger(__name__)

#: Longest sleep between two looks into the queue; a ring or a due entry comes first.
IDLE_S = 30.0
#: Shortest: what is due at once and yet not given is no reason to spin.
LEAST_S = 0.05
#: Results that come in so soon after one another are written down together: a transaction, and the looks into
#: the queue that follow it, cost more than an exchange.
GATHER_S = 0.01
#: Between two attempts to write results down on a full disk.
DISK_FULL_S = 5.0


class DeliveryLoop:
    """
    One sink: its lanes, and the settling of what came out.

    Attributes:
        sink: Whom we tell.
        health: How it is doing.
        finished: Set when ``run`` has ended.
    """

    def __init__(
        self,
        sink: Sink,
        store: OutboxReader,
        thread: StoreThread,
        policy: DeliveryPolicy,
        clock: Clock,
        *,
        workers: Mapping[EventKind, int],
    ) -> None:
        self.sink = sink
        self.health = SinkHealth(sink.name, policy)
        self.finished = anyio.Event()
        self._store = store
        self._thread = thread
        self._policy = policy
        self._clock = clock
        self._workers = workers
        self._bells = {step: AutoResetEvent() for step in workers}
        self._in_flight: dict[EventKind, set[int]] = {step: set() for step in workers}
        self._newest = dict.fromkeys(workers, False)
        self._under_way = dict.fromkeys(workers, 0)
        self._resting: set[EventKind] = set()
        self._verdicts: list[tuple[OutboxEntry, Verdict]] = []
        self._to_settle = AutoResetEvent()
        self._stopping = False
        self._drained = anyio.Event()

    @property
    def in_flight(self) -> Mapping[EventKind, int]:
        """How many of each kind are under way or about to be."""
        return {step: len(ids) for step, ids in self._in_flight.items()}

    def wake(self) -> None:
        """Something may be due: look into the queue now."""
        self._resting.clear()
        for bell in self._bells.values():
            bell.set()

    def heard(self) -> None:
        """Probe a paused sink now: another request than a delivery succeeded."""
        if self.health.heard():
            self.wake()
            self._to_settle.set()

    def stop(self) -> None:
        """Begin nothing more; ``run`` returns once the exchanges under way are settled."""
        self._stopping = True
        self.wake()

    async def run(self, *, until_idle: bool = False) -> None:
        """
        Deliver whatever is due, oldest first, until stopped.

        Args:
            until_idle: Return as soon as nothing is due, or the sink is in trouble.
        """
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._settle_forever)
                async with anyio.create_task_group() as lanes:
                    for step in self._workers:
                        lanes.start_soon(self._drain, step, until_idle)
                self._drained.set()
                self._to_settle.set()
        finally:
            # Also when we are torn down: what was answered need not be sent again.
            with anyio.CancelScope(shield=True):
                await self._settle()
            self.finished.set()

    async def _drain(self, step: EventKind, until_idle: bool) -> None:
        hand_out, take = anyio.create_memory_object_stream[OutboxEntry](math.inf)
        async with take, anyio.create_task_group() as workers, hand_out:
            for _ in range(self._workers[step]):
                workers.start_soon(self._worker, take)
            while not self._stopping:
                for entry in await self._fetch(step):
                    self._in_flight[step].add(entry.id)
                    hand_out.send_nowait(entry)
                if until_idle and self._has_come_to_rest(step):
                    self.stop()
                else:
                    await self._bells[step].wait(await self._idle_s(step))

    def _has_come_to_rest(self, step: EventKind) -> bool:
        """Return whether all lanes are idle or the sink is paused. Settling a start may make its stop due."""
        if not any(self._in_flight.values()):
            self._resting.add(step)
        down = self.health.down.reason or self.health.disk_full
        return bool(down) or len(self._resting) == len(self._workers)

    def _capacity(self, step: EventKind) -> int:
        """Return how many more entries may be in flight; a paused sink is probed with one at a time."""
        if self.health.pause_s(step) or self.health.disk_full:
            return 0
        if self.health.down.reason:
            return 0 if any(self._in_flight.values()) else 1
        if self.health.lanes[step].pause.reason:
            return 0 if self._in_flight[step] else 1
        # Enough in hand that no worker waits for the store, few enough to be forgotten at a stop.
        return 8 * self._workers[step] - len(self._in_flight[step])

    async def _fetch(self, step: EventKind) -> Sequence[OutboxEntry]:
        """
        Return the outbox entries that may be sent now.

        Selects oldest first and newest first in turn, so that a long queue does not delay new starts.
        """
        room = self._capacity(step)
        if room <= 0:
            return ()
        newest = self._newest[step]
        self._newest[step] = not newest
        flying, now = tuple(self._in_flight[step]), self._clock.now()
        try:
            due = await self._thread(
                self._store.due, self.sink.name, step, now, room, flying, newest_first=newest
            )
        except DiskFull as err:
            self._note_full(err)
            return ()
        # Meanwhile the other lane may have taken the one probe.
        return due[: max(0, self._capacity(step))]

    async def _idle_s(self, step: EventKind) -> float:
        """Return the seconds until an entry is due; a wake-up ends the wait earlier."""
        if self.health.disk_full:
            return DISK_FULL_S
        if pause_s := self.health.pause_s(step):
            return pause_s
        if self._capacity(step) <= 0:
            return IDLE_S
        flying, now = tuple(self._in_flight[step]), self._clock.now()
        due_at = await self._thread(self._store.next_due_at, self.sink.name, step, now, flying)
        return IDLE_S if due_at is None else min(IDLE_S, max(LEAST_S, due_at - self._clock.now()))

    async def _worker(self, take: ObjectReceiveStream[OutboxEntry]) -> None:
        async for entry in take:
            if self._stopping or self._is_kept_back(entry.kind):
                self._release(entry)
            else:
                self._under_way[entry.kind] += 1
                await self._attempt(entry)
                self._under_way[entry.kind] -= 1

    def _is_kept_back(self, step: EventKind) -> bool:
        """Return whether a fetched entry must wait: a sink that was paused since gets one at a time."""
        if self.health.down.reason:
            return self.health.pause_s(step) > 0 or any(self._under_way.values())
        paused = self.health.lanes[step].pause
        return bool(paused.reason) and (paused.left_s > 0 or self._under_way[step] > 0)

    async def _attempt(self, entry: OutboxEntry) -> None:
        began, number = time.monotonic(), self.health.began(entry)
        outcome = await self.sink.deliver(entry)
        self._say(entry, outcome, time.monotonic() - began)
        standing = self.health.record_outcome(entry, outcome, self._clock.now(), number)
        if outcome.result is OutcomeKind.SINK_UNAVAILABLE:
            self._release(entry)  # the sink's trouble is charged to no entry
            return
        verdict = self._judge(entry, outcome, standing)
        if isinstance(verdict, DeadLetter | Park | Drop):
            self._report(entry, verdict)
        self._verdicts.append((entry, verdict))
        self._to_settle.set()

    def _judge(self, entry: OutboxEntry, outcome: Outcome, standing: Standing) -> Verdict:
        now = self._clock.now()
        dice = random.random()  # noqa: S311
        if outcome.result is OutcomeKind.FAILED and (failures := self.health.failures(entry)):
            # Not charged, but out of the way, lest the oldest entry be the only one ever tried.
            wait = max(backoff(failures, self._policy, dice=dice), requested_wait_s(outcome, self._policy))
            return Retry(now + wait, outcome.reason, outcome.detail, charged=False)
        return decide(entry, outcome, self._policy, now=now, dice=dice, standing=standing)

    def _release(self, entry: OutboxEntry) -> None:
        self._in_flight[entry.kind].discard(entry.id)
        self.wake()

    async def _settle_forever(self) -> None:
        while not self._drained.is_set():
            await self._to_settle.wait(IDLE_S)
            await anyio.sleep(GATHER_S)
            await self._settle()
            if self.health.disk_full:
                # The lanes run dry meanwhile: what is in flight stays so.
                with anyio.move_on_after(DISK_FULL_S):
                    await self._drained.wait()
                self._to_settle.set()

    async def _settle(self) -> None:
        """
        Write down all results at hand in one transaction.

        While it is written more results gather: groups grow with the load by themselves.
        """
        group = self._verdicts[:]
        try:
            if group:
                await self._thread(self._store.settle, group, self._clock.now())
            recalled = await self._recall()
        except DiskFull as err:
            self._note_full(err)
            return
        self.health.disk_full = False
        if not group and not recalled:
            return
        del self._verdicts[: len(group)]
        for entry, verdict in group:
            self._in_flight[entry.kind].discard(entry.id)
            if not isinstance(verdict, Retry):
                self.health.forget(entry, settled=not isinstance(verdict, Park))
        self.wake()

    async def _recall(self) -> bool:
        """Make entries due that need not wait any longer; return whether there were any."""
        recalled = tuple(self.health.recalled)
        if recalled:
            await self._thread(self._store.hasten, recalled, self._clock.now())
            self.health.recalled.difference_update(recalled)
        return bool(recalled)

    def _note_full(self, err: DiskFull) -> None:
        if not self.health.disk_full:
            log.warning("results_not_written", sink=self.sink.name, reason=str(err))
        self.health.disk_full = True
        self._to_settle.set()

    def _say(self, entry: OutboxEntry, outcome: Outcome, took_s: float) -> None:
        log.debug(
            "attempted",
            sink=self.sink.name,
            job=entry.start.key.job_id,
            step=entry.kind.value,
            result=outcome.result.value,
            reason=outcome.reason,
            took_ms=round(took_s * 1000),
        )

    def _report(self, entry: OutboxEntry, verdict: DeadLetter | Park | Drop) -> None:
        """Name a run that the sink does not take; it is kept, and seen by the operator."""
        left_out = isinstance(verdict, Drop)
        refused = "dead_letter" if isinstance(verdict, DeadLetter) else "parked"
        log.log(
            logging.INFO if left_out else logging.WARNING,
            "repeat_left_out" if left_out else refused,
            sink=self.sink.name,
            cluster=entry.start.key.cluster,
            job=entry.start.key.job_id,
            start_at=entry.start.key.start_at,
            step=entry.kind.value,
            reason=verdict.reason,
            detail=verdict.detail,
        )
