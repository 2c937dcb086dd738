"""How one sink is doing: pauses, probes, and whether a failure is the entry's or the sink's."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import structlog

from slurmsyncd.delivery import OutcomeKind, Standing
from slurmsyncd.model import EventKind
from slurmsyncd.pipeline.latency import Latency
from slurmsyncd.pipeline.pause import Pause
from slurmsyncd.pipeline.rejections import Rejections

if TYPE_CHECKING:
    from slurmsyncd.delivery import DeliveryPolicy, Outcome
    from slurmsyncd.model import OutboxEntry

log = structlog.get_logger(__name__)

#: Different runs failing one after the other, none in between answered, after which the sink is suspected.
#: Fewer may be runs that it chokes on: they have their own backoff and keep nobody waiting.
SUSPECT_AFTER = 3
#: Longest pause of a suspected sink. It answers, so asking costs little, and a fresh run may fare better.
SUSPECT_PAUSE_S = 30.0

_TAKEN = frozenset({OutcomeKind.ACCEPTED, OutcomeKind.ALREADY_DELIVERED})


@dataclass(slots=True)
class Lane:
    """
    What a sink does with one kind of step.

    Attributes:
        pause: While it rejects one entry after the other; the other step goes on.
    """

    rejections: Rejections = field(default_factory=Rejections)
    pause: Pause = field(default_factory=Pause)


@dataclass(slots=True)
class SinkHealth:
    """
    How one sink is doing; read by status and metrics.

    Attributes:
        down: The pause of the whole sink.
        lanes: What it does with starts, and with stops.
        disk_full: Results wait for room on the disk.
        answers: Attempts that came to a proper answer, whatever it was.
        failing: Entries that failed since the last proper answer.
        recalled: Entries that wait for a later attempt and need not any more.
        results: How often each reason was given.
        latency: From what was seen to what was taken.
        delivered: Step → how many of them it took, or had already.
        failed: Attempts that came to anything else.
    """

    sink: str
    policy: DeliveryPolicy
    down: Pause = field(default_factory=Pause)
    lanes: dict[EventKind, Lane] = field(default_factory=lambda: {step: Lane() for step in EventKind})
    disk_full: bool = False
    answers: int = 0
    failing: set[int] = field(default_factory=set)
    recalled: set[int] = field(default_factory=set)
    last_answer_at: float | None = None
    results: dict[str, int] = field(default_factory=dict)
    delivered: dict[str, int] = field(default_factory=dict)
    failed: int = 0
    latency: Latency = field(default_factory=Latency)
    _failed: dict[int, tuple[int, int]] = field(default_factory=dict)

    @property
    def pause(self) -> Pause:
        """The pause to report: the sink's, else that of a step; without a reason if there is none."""
        pauses = (self.down, *(lane.pause for lane in self.lanes.values()))
        return next((pause for pause in pauses if pause.reason), self.down)

    @property
    def pause_reason(self) -> str | None:
        """Why it is paused, None if it is not."""
        return self.pause.reason

    def pause_s(self, step: EventKind) -> float:
        """Return the seconds for which no event of this kind may be sent."""
        return max(self.down.left_s, self.lanes[step].pause.left_s)

    def began(self, entry: OutboxEntry) -> int:
        """Return the number that ``record_outcome`` needs for an attempt that begins now."""
        return self.lanes[entry.kind].rejections.number

    def record_outcome(self, entry: OutboxEntry, outcome: Outcome, now: float, began: int) -> Standing:
        """Record the outcome of an attempt; return the standing of the sink in case of a rejection."""
        self.results[outcome.reason] = self.results.get(outcome.reason, 0) + 1
        if outcome.result in _TAKEN:
            self.delivered[entry.kind.value] = self.delivered.get(entry.kind.value, 0) + 1
            self.latency.note(entry, now)
        else:
            self.failed += 1
        if outcome.result is OutcomeKind.SINK_UNAVAILABLE:
            self._pause(self.down, outcome, self.policy.backoff_max_s, now)
        elif outcome.result is OutcomeKind.FAILED:
            self._note_failure(entry, outcome, now)
        else:
            self._answered(now)
        if outcome.result is OutcomeKind.ACCEPTED:
            self._accepted(entry, began)
        elif _is_rejection(outcome):
            return self._rejected(entry, outcome, now)
        return Standing.UNPROVEN

    def heard(self) -> bool:
        """
        End the waits: another request than a delivery succeeded.

        Returns:
            Whether something waited. Whether the sink accepts runs again, only the next attempt shows.
        """
        pauses = [self.down, *(lane.pause for lane in self.lanes.values())]
        waiting = {id_ for id_, (answers, count) in self._failed.items() if count and answers == self.answers}
        self.recalled.update(waiting)
        for pause in pauses:
            pause.cut()
        return bool(waiting) or any(pause.reason for pause in pauses)

    def failures(self, entry: OutboxEntry) -> int:
        """
        Judge an entry that failed.

        Returns:
            0 if it may be the entry's own: its first failure, or the sink has answered others since the
            last one. Else how often it has failed since then.
        """
        answers, count = self._failed.get(entry.id, (-1, 0))
        count = count + 1 if answers == self.answers else 0
        self._failed[entry.id] = self.answers, count
        return count

    def forget(self, entry: OutboxEntry, *, settled: bool) -> None:
        """Know no more of an entry's failures; if it is settled, also of its rejections."""
        self._failed.pop(entry.id, None)
        if settled:
            self.lanes[entry.kind].rejections.forget(entry.id)

    def _note_failure(self, entry: OutboxEntry, outcome: Outcome, now: float) -> None:
        if not self.failing:
            self._say_failure(entry, outcome)
        self.failing.add(entry.id)
        if len(self.failing) >= SUSPECT_AFTER:
            self._pause(self.down, outcome, SUSPECT_PAUSE_S, now)

    def _rejected(self, entry: OutboxEntry, outcome: Outcome, now: float) -> Standing:
        lane = self.lanes[entry.kind]
        final = outcome.result is OutcomeKind.REJECTED
        standing = lane.rejections.add(entry.id, outcome.reason, final=final)
        if standing is Standing.SUSPECTED:
            self._pause(lane.pause, replace(outcome, action_required=True), SUSPECT_PAUSE_S, now)
        elif standing is Standing.UNPROVEN and final and not entry.attempts:
            self._say_failure(entry, outcome)
        return standing

    def _accepted(self, entry: OutboxEntry, began: int) -> None:
        lane = self.lanes[entry.kind]
        self.recalled.update(lane.rejections.accept(entry.id, began))
        if lane.pause.reason and not lane.rejections.suspicious:
            lane.pause = self._over()

    def _pause(self, pause: Pause, outcome: Outcome, at_most_s: float, now: float) -> None:
        if pause.left_s:
            return  # several exchanges of one burst failed: one pause, not several
        before = pause.reason
        pause.extend(outcome, self.policy, at_most_s, now)
        if before != outcome.reason:
            log.log(
                logging.ERROR if outcome.action_required else logging.WARNING,
                "sink_unavailable",
                sink=self.sink,
                reason=outcome.reason,
                detail=outcome.detail,
                next_try_s=round(pause.left_s, 1),
            )

    def _say_failure(self, entry: OutboxEntry, outcome: Outcome) -> None:
        """Name the first failure since the last answer: few runs alone never make the sink suspected."""
        log.warning(
            "attempt_failed",
            sink=self.sink,
            job=entry.start.key.job_id,
            step=entry.kind.value,
            reason=outcome.reason,
            detail=outcome.detail,
        )

    def _answered(self, now: float) -> None:
        if self.down.reason:
            self.recalled.update(self._failed)
            self.down = self._over()
        self.last_answer_at = now
        self.answers += 1
        self.failing.clear()

    def _over(self) -> Pause:
        log.info("sink_available_again", sink=self.sink)
        return Pause()


def _is_rejection(outcome: Outcome) -> bool:
    """Return whether an outcome can show that the sink rejects everything."""
    if outcome.result is OutcomeKind.REJECTED_UNTIL_FIXED:
        return outcome.status is not None  # else the configuration leaves the run out, and nothing was sent
    return outcome.result is OutcomeKind.REJECTED and not outcome.certain
