"""Drain one sink's queue: starts and stops in lanes of their own, results settled in groups."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
import structlog

from slurmsyncd.delivery import Dead, Park, Result, Retry, backoff, judge
from slurmsyncd.errors import DiskFull
from slurmsyncd.pipeline.bell import Bell

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slurmsyncd.delivery import DeliveryPolicy, Outcome, Verdict
    from slurmsyncd.model import Entry, Step
    from slurmsyncd.pipeline.storage import StoreThread
    from slurmsyncd.ports import Clock, Sink, Store

log = structlog.get_logger(__name__)

#: Failures in a row, over all entries, after which the sink itself is suspected.
SUSPECT_AFTER = 5
#: Longest sleep between two looks into the queue; a ring or a due entry comes first.
IDLE_S = 30.0
#: Between two attempts to write results down on a full disk.
DISK_FULL_S = 5.0


@dataclass(slots=True)
class SinkHealth:
    """
    How one sink is doing; read by status and metrics.

    Attributes:
        trouble: Why it is paused, None if it is not.
        resume_at: Monotonic seconds until which nothing is sent.
        answers: Attempts that came to a proper answer, whatever it was.
        in_a_row: Failed attempts since the last proper answer.
        results: How often each reason was given.
    """

    trouble: str | None = None
    alarm: bool = False
    disk_full: bool = False
    resume_at: float = 0.0
    pauses: int = 0
    answers: int = 0
    in_a_row: int = 0
    last_answer_at: float | None = None
    results: dict[str, int] = field(default_factory=dict)


class Delivery:
    """One sink: its lanes, its health and the settling of what came out."""

    def __init__(
        self,
        sink: Sink,
        store: Store,
        thread: StoreThread,
        policy: DeliveryPolicy,
        clock: Clock,
        *,
        workers: Mapping[Step, int],
    ) -> None:
        self.sink = sink
        self.health = SinkHealth()
        self._store = store
        self._thread = thread
        self._policy = policy
        self._clock = clock
        self._bells = {step: Bell() for step in workers}
        self._workers = workers
        self._settled = Bell()
        self._verdicts: list[tuple[Entry, Verdict]] = []
        self._in_flight: dict[Step, set[int]] = {step: set() for step in workers}
        self._failed: dict[int, int] = {}  # entry → answers of the sink when it last failed
        self._stopping = False
        self.finished = anyio.Event()

    def ring(self) -> None:
        """Something may be due: look into the queue now."""
        for bell in self._bells.values():
            bell.ring()

    def stop(self) -> None:
        """Begin nothing more; ``run`` returns once the exchanges under way are settled."""
        self._stopping = True
        self.ring()

    async def run(self, *, until_idle: bool = False) -> None:
        """
        Deliver whatever is due, oldest first, until stopped.

        Args:
            until_idle: Return as soon as nothing is due, or the sink is in trouble.
        """
        async with anyio.create_task_group() as settling:
            settling.start_soon(self._settle_forever)
            async with anyio.create_task_group() as lanes:
                for step in self._workers:
                    lanes.start_soon(self._drain, step, until_idle)
            await self._settle()
            settling.cancel_scope.cancel()
        self.finished.set()

    async def _drain(self, step: Step, until_idle: bool) -> None:
        flying = self._in_flight[step]
        limit = anyio.CapacityLimiter(self._workers[step])
        async with anyio.create_task_group() as attempts:
            while not self._stopping:
                entries = await self._fetch(step, len(flying))
                for entry in entries:
                    flying.add(entry.id)
                    attempts.start_soon(self._attempt, entry, limit)
                if until_idle and (self.health.trouble or not (entries or flying)):
                    return
                if not entries:
                    await self._bells[step].wait(await self._idle_s(step))
                elif len(flying) >= self._window(step):
                    await self._bells[step].wait(IDLE_S)

    async def _fetch(self, step: Step, flying: int) -> list[Entry]:
        """Give what may be sent now; a sink in trouble is probed with one entry at a time."""
        if time.monotonic() < self.health.resume_at:
            return []
        window = 1 if self.health.trouble else self._window(step)
        if flying >= window:
            return []
        now = self._clock.now()
        ids = tuple(self._in_flight[step])
        due = await self._thread(self._store.due, self.sink.name, step, now, window - flying, ids)
        return list(due)

    def _window(self, step: Step) -> int:
        # Enough in hand that no worker waits for the store, few enough to be forgotten at a stop.
        return 8 * self._workers[step]

    async def _idle_s(self, step: Step) -> float:
        pause = self.health.resume_at - time.monotonic()
        if pause > 0:
            return pause
        if self._in_flight[step]:
            return IDLE_S
        due = await self._thread(self._store.next_due_at, self.sink.name, step)
        return IDLE_S if due is None else min(IDLE_S, max(0.05, due - self._clock.now()))

    async def _attempt(self, entry: Entry, limit: anyio.CapacityLimiter) -> None:
        """Make one attempt, unless meanwhile we are stopping or the sink is paused."""
        async with limit:
            if self._stopping or time.monotonic() < self.health.resume_at:
                self._release(entry)
                return
            began = time.monotonic()
            outcome = await self.sink.deliver(entry)
        self._note(entry, outcome, time.monotonic() - began)
        if outcome.result is Result.SINK_DOWN:
            self._release(entry)  # the sink's trouble is charged to no entry
            return
        verdict = judge(entry, outcome, self._policy, now=self._clock.now(), dice=random.random())  # noqa: S311
        if outcome.result is Result.FAILED and not self._others_succeed(entry):
            # Out of the way, lest the oldest entry be the only one ever tried; but not charged.
            wait = backoff(self.health.in_a_row, self._policy, dice=random.random())  # noqa: S311
            verdict = Retry(self._clock.now() + wait, outcome.reason, outcome.detail, charged=False)
        if isinstance(verdict, Dead | Park):
            self._report(entry, verdict)
        self._verdicts.append((entry, verdict))
        self._settled.ring()

    def _others_succeed(self, entry: Entry) -> bool:
        """Whether the sink has taken anything since this entry's last failure; then it is the entry."""
        before = self._failed.get(entry.id)
        self._failed[entry.id] = self.health.answers
        return before is None or self.health.answers > before

    def _release(self, entry: Entry) -> None:
        self._in_flight[entry.step].discard(entry.id)
        self._bells[entry.step].ring()

    async def _settle_forever(self) -> None:
        while True:
            await self._settled.wait(IDLE_S)
            await self._settle()
            if self.health.disk_full:
                await anyio.sleep(DISK_FULL_S)  # the lanes run dry meanwhile: what is in flight stays so
                self._settled.ring()

    async def _settle(self) -> None:
        """
        Write down all results at hand in one transaction.

        While it is written more results gather: groups grow with the load by themselves.
        """
        group, self._verdicts = self._verdicts, []
        if not group or not await self._written(group):
            self._verdicts = group + self._verdicts
            return
        for entry, verdict in group:
            self._in_flight[entry.step].discard(entry.id)
            if not isinstance(verdict, Retry):
                self._failed.pop(entry.id, None)
        self.ring()

    async def _written(self, group: list[tuple[Entry, Verdict]]) -> bool:
        """Whether the group is on the disk; on a full one it is kept, and written with the next."""
        try:
            await self._thread(self._store.settle, group, self._clock.now())
        except DiskFull as err:
            if not self.health.disk_full:
                log.warning("results_not_written", sink=self.sink.name, reason=str(err))
            self.health.disk_full = True
            return False
        self.health.disk_full = False
        return True

    def _note(self, entry: Entry, outcome: Outcome, took_s: float) -> None:
        self.health.results[outcome.reason] = self.health.results.get(outcome.reason, 0) + 1
        log.debug(
            "attempted",
            sink=self.sink.name,
            job=entry.start.key.job_id,
            step=entry.step.value,
            result=outcome.result.value,
            reason=outcome.reason,
            took_ms=round(took_s * 1000),
        )
        if outcome.result is Result.SINK_DOWN:
            self._pause(outcome)
        elif outcome.result is Result.FAILED:
            self.health.in_a_row += 1
            if self.health.in_a_row >= SUSPECT_AFTER:
                self._pause(outcome)
        else:
            self._answered()

    def _report(self, entry: Entry, verdict: Dead | Park) -> None:
        """Name a run that the sink does not take; it is kept, and seen by the operator."""
        log.warning(
            "dead_letter" if isinstance(verdict, Dead) else "parked",
            sink=self.sink.name,
            cluster=entry.start.key.cluster,
            job=entry.start.key.job_id,
            start_at=entry.start.key.start_at,
            step=entry.step.value,
            reason=verdict.reason,
            detail=verdict.detail,
        )

    def _pause(self, outcome: Outcome) -> None:
        health = self.health
        wait = backoff(health.pauses, self._policy, dice=random.random())  # noqa: S311
        if outcome.retry_after_s is not None:
            wait = max(wait, min(outcome.retry_after_s, self._policy.backoff_max_s))
        if time.monotonic() < health.resume_at:
            return  # several exchanges of one burst failed: one pause, not several
        health.resume_at = time.monotonic() + wait
        health.pauses += 1
        if health.trouble != outcome.reason:
            log.log(
                40 if outcome.alarm else 30,
                "sink_unavailable",
                sink=self.sink.name,
                reason=outcome.reason,
                detail=outcome.detail,
                next_try_s=round(wait, 1),
            )
        health.trouble, health.alarm = outcome.reason, outcome.alarm

    def _answered(self) -> None:
        health = self.health
        health.last_answer_at = self._clock.now()
        health.answers += 1
        health.in_a_row = 0
        if health.trouble:
            log.info("sink_available_again", sink=self.sink.name)
            health.trouble, health.alarm, health.pauses, health.resume_at = None, False, 0, 0.0
            self.ring()
