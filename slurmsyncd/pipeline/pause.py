"""A pause of a sink: why, since when, and when the next entry probes it."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slurmsyncd.delivery import backoff

if TYPE_CHECKING:
    from slurmsyncd.delivery import DeliveryPolicy, Outcome


@dataclass(slots=True)
class Pause:
    """
    Why a sink is sent one entry at a time, with growing waits in between; no reason: it is not paused.

    Attributes:
        detail: What it said.
        since: When that began (epoch seconds).
        action_required: An operator must act.
        resume_at: Monotonic seconds until which nothing is sent.
        asked_until: Monotonic seconds until which the sink asked to be left alone.
    """

    reason: str | None = None
    detail: str = ""
    since: float | None = None
    action_required: bool = False
    resume_at: float = 0.0
    asked_until: float = 0.0
    probes: int = 0

    @property
    def left_s(self) -> float:
        """Seconds for which nothing may be sent."""
        return max(0.0, self.resume_at - time.monotonic())

    def extend(self, outcome: Outcome, policy: DeliveryPolicy, at_most_s: float, now: float) -> None:
        """Begin a pause, or go on with one after a probe that failed."""
        began = time.monotonic()
        wait = min(backoff(self.probes, policy, dice=random.random()), at_most_s)  # noqa: S311
        self.asked_until = began + requested_wait_s(outcome, policy)
        self.resume_at = max(began + wait, self.asked_until)
        self.probes += 1
        self.since = now if self.since is None else self.since
        self.reason, self.detail, self.action_required = (
            outcome.reason,
            outcome.detail,
            outcome.action_required,
        )

    def cut(self) -> None:
        """Let the next entry probe the sink now, or when the wait that it asked for is over."""
        self.resume_at = min(self.resume_at, self.asked_until)


def requested_wait_s(outcome: Outcome, policy: DeliveryPolicy) -> float:
    """Return the wait that the sink asked for, within reason."""
    return max(0.0, min(outcome.retry_after_s or 0.0, policy.backoff_max_s))
