"""How one sink is doing: pauses, probes, and whether a failure is the entry's or the sink's."""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from slurmsyncd.delivery import Result, backoff
from slurmsyncd.pipeline.latency import Latency

if TYPE_CHECKING:
    from slurmsyncd.delivery import DeliveryPolicy, Outcome
    from slurmsyncd.model import Entry

log = structlog.get_logger(__name__)

#: Different runs failing one after the other, none in between answered, after which the sink is suspected.
#: Fewer may be runs that it chokes on: they have their own backoff and keep nobody waiting.
SUSPECT_AFTER = 3
#: Longest pause of a suspected sink. It answers, so asking costs little, and a fresh run may fare better.
SUSPECT_PAUSE_S = 30.0

_TAKEN = frozenset({Result.ACCEPTED, Result.ALREADY_THERE})


@dataclass(slots=True)
class SinkHealth:
    """
    How one sink is doing; read by status and metrics.

    Attributes:
        trouble: Why it is paused, None if it is not.
        detail: What it said then.
        trouble_since: When that began (epoch seconds).
        disk_full: Results wait for room on the disk.
        resume_at: Monotonic seconds until which nothing is sent.
        answers: Attempts that came to a proper answer, whatever it was.
        failing: Entries that failed since the last proper answer.
        results: How often each reason was given.
        latency: From what was seen to what was taken.
        told: Step → how many of them it took, or had already.
        failed: Attempts that came to anything else.
    """

    sink: str
    policy: DeliveryPolicy
    trouble: str | None = None
    detail: str = ""
    trouble_since: float | None = None
    alarm: bool = False
    disk_full: bool = False
    resume_at: float = 0.0
    pauses: int = 0
    answers: int = 0
    failing: set[int] = field(default_factory=set)
    last_answer_at: float | None = None
    results: dict[str, int] = field(default_factory=dict)
    told: dict[str, int] = field(default_factory=dict)
    failed: int = 0
    latency: Latency = field(default_factory=Latency)
    _failed: dict[int, tuple[int, int]] = field(default_factory=dict)

    @property
    def pause_s(self) -> float:
        """Seconds for which nothing may be sent."""
        return max(0.0, self.resume_at - time.monotonic())

    def note(self, entry: Entry, outcome: Outcome, now: float) -> None:
        """Follow an attempt's outcome."""
        self.results[outcome.reason] = self.results.get(outcome.reason, 0) + 1
        if outcome.result in _TAKEN:
            self.told[entry.step.value] = self.told.get(entry.step.value, 0) + 1
            self.latency.note(entry, now)
        else:
            self.failed += 1
        if outcome.result is Result.SINK_DOWN:
            self._pause(outcome, self.policy.backoff_max_s, now)
        elif outcome.result is Result.FAILED:
            if not self.failing:
                self._say_failure(entry, outcome)
            self.failing.add(entry.id)
            if len(self.failing) >= SUSPECT_AFTER:
                self._pause(outcome, SUSPECT_PAUSE_S, now)
        else:
            self._answered(now)

    def failures(self, entry: Entry) -> int:
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

    def forget(self, entry: Entry) -> None:
        """Know no more of an entry that is settled."""
        self._failed.pop(entry.id, None)

    def _pause(self, outcome: Outcome, at_most_s: float, now: float) -> None:
        if self.pause_s:
            return  # several exchanges of one burst failed: one pause, not several
        wait = min(backoff(self.pauses, self.policy, dice=random.random()), at_most_s)  # noqa: S311
        wait = max(wait, asked_wait_s(outcome, self.policy))
        self.resume_at = time.monotonic() + wait
        self.pauses += 1
        if self.trouble != outcome.reason:
            log.log(
                logging.ERROR if outcome.alarm else logging.WARNING,
                "sink_unavailable",
                sink=self.sink,
                reason=outcome.reason,
                detail=outcome.detail,
                next_try_s=round(wait, 1),
            )
        self.trouble_since = now if self.trouble_since is None else self.trouble_since
        self.trouble, self.detail, self.alarm = outcome.reason, outcome.detail, outcome.alarm

    def _say_failure(self, entry: Entry, outcome: Outcome) -> None:
        """Name the first failure since the last answer: few runs alone never make the sink suspected."""
        log.warning(
            "attempt_failed",
            sink=self.sink,
            job=entry.start.key.job_id,
            step=entry.step.value,
            reason=outcome.reason,
            detail=outcome.detail,
        )

    def _answered(self, now: float) -> None:
        self.last_answer_at = now
        self.answers += 1
        self.failing.clear()
        if self.trouble:
            log.info("sink_available_again", sink=self.sink)
            self.trouble, self.alarm, self.pauses, self.resume_at = None, False, 0, 0.0
            self.detail, self.trouble_since = "", None


def asked_wait_s(outcome: Outcome, policy: DeliveryPolicy) -> float:
    """Give the wait that the sink asked for, within reason."""
    return max(0.0, min(outcome.retry_after_s or 0.0, policy.backoff_max_s))
