"""What a collector has done so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from slurmsyncd.model import RunStarted

if TYPE_CHECKING:
    from slurmsyncd.model import JobAnswers, Observation, Plan


@dataclass(slots=True)
class CollectTally:
    """
    What a collector has done so far; read by status and metrics, written by the collector alone.

    Attributes:
        polls: Polls that were answered, at least in part.
        failures: Looks that came to nothing.
        disk_full: What Slurm answered cannot be recorded, since a disk of this host is full.
        partial: Only one half of Slurm did not answer last.
        queued_messages: What slurmctld held for slurmdbd when it was asked last, None if it did not say.
        queued_since: Since when it held some each time (epoch seconds), None if it held none.
    """

    polls: int = 0
    failures: int = 0
    notifications: int = 0
    starts: int = 0
    stops: int = 0
    without_allocation: int = 0
    never_started: int = 0
    records_skipped: int = 0
    last_poll_at: float | None = None
    error: str | None = None
    error_since: float | None = None
    disk_full: bool = False
    partial: bool = False
    rechecks: int = 0
    queued_messages: int | None = None
    queued_since: float | None = None

    def note_queue(self, queued: int | None, now: float) -> None:
        """Note how many messages slurmctld holds for slurmdbd."""
        self.queued_messages = queued
        if not queued:
            self.queued_since = None
        elif self.queued_since is None:
            self.queued_since = now

    def count(self, seen: Observation, answers: JobAnswers, plan: Plan) -> None:
        """Count what was recorded, and what of it is less than it might be."""
        starts = [event.job for event in plan.events if isinstance(event, RunStarted)]
        self.starts += len(starts)
        self.stops += len(plan.events) - len(starts)
        self.without_allocation += sum(job.allocation is None for job in starts)
        self.never_started += seen.never_started
        self.records_skipped += seen.records_skipped + answers.records_skipped
