"""Read what Slurm has: accounting in slices, one at a time, and what runs now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from slurmsyncd.errors import SourceUnavailable
from slurmsyncd.model import Job, JobState, RunKey
from slurmsyncd.reconcile import is_over

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from slurmsyncd.ports import Source

DAY_S = 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """
    Some of accounting, never of more than one day (UTC).

    Attributes:
        until: How far it goes (epoch seconds, exclusive).
        runs: That ended in it.
        never_started: Jobs that ended without having begun.
        set_aside: Records that were not understood.
    """

    until: int
    runs: tuple[Job, ...]
    never_started: int
    set_aside: int


async def slices(source: Source, since: int, until: int) -> AsyncIterator[Slice]:
    """
    Give accounting from ``since`` until ``until`` (epoch seconds, exclusive).

    Raises:
        SourceUnavailable: Slurm does not answer.
    """
    at = since
    while at < until:
        midnight = (at // DAY_S + 1) * DAY_S
        seen = await source.look(at, min(midnight, until), listing=False)
        if seen.through is None or seen.through <= at:
            raise SourceUnavailable("; ".join(seen.trouble) or "accounting does not answer")
        # Windows have their ends in common; each run is counted where its end belongs.
        runs = tuple(run for run in seen.finished if _ended_within(run, at, seen.through))
        yield Slice(until=seen.through, runs=runs, never_started=seen.never_started, set_aside=seen.set_aside)
        at = seen.through


def _ended_within(run: Job, since: int, until: int) -> bool:
    return is_over(run) and run.end_at is not None and since <= run.end_at < until


async def running(source: Source, now: int) -> tuple[Job, ...]:
    """
    Give what runs now, as the controller lists it: identity and state.

    Raises:
        SourceUnavailable: The controller does not answer.
    """
    seen = await source.look(now, now)
    if seen.listed is None:
        raise SourceUnavailable("; ".join(seen.trouble) or "the controller does not answer")
    return tuple(
        Job(key=RunKey(seen.cluster, item.job_id, item.start_at), state=item.state)
        for item in seen.listed
        if item.start_at is not None and item.state in (JobState.RUNNING, JobState.SUSPENDED)
    )
