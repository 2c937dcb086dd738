"""Read what Slurm has: accounting in slices, one at a time, and what runs now."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio

from slurmsyncd.errors import SourceUnavailable
from slurmsyncd.model import Job, JobState, RunKey
from slurmsyncd.pipeline.gaps import examine, is_narrowest, observe
from slurmsyncd.planner import has_ended
from slurmsyncd.planner.gaps import FAILURES, FLOOR_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from slurmsyncd.model import Gap, Observation
    from slurmsyncd.ports import Source

DAY_S = 86400
#: Seconds before the narrowest window is read again: slurmdbd may be restarting.
PAUSE_S: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """
    Some of accounting, never of more than one day (UTC).

    Attributes:
        until: How far it goes (epoch seconds, exclusive).
        runs: That ended in it.
        never_started: Jobs that ended without having begun.
        set_aside: Records that were not understood.
        since: Where it begins.
        unread: Why nothing of it could be read, None if it could.
    """

    until: int
    runs: tuple[Job, ...]
    never_started: int
    set_aside: int
    since: int = 0
    unread: Gap | None = None


async def slices(source: Source, since: int, until: int, *, pause_s: float = PAUSE_S) -> AsyncIterator[Slice]:
    """
    Return accounting from ``since`` until ``until`` (epoch seconds, exclusive), part by part.

    A window that fails is halved. One that cannot be read though others can is a part without runs.

    Args:
        source: The cluster.
        since: First second.
        until: The second behind the last.
        pause_s: Seconds before the narrowest window is read again.

    Raises:
        SourceUnavailable: Slurm does not answer.
    """
    at = since
    while at < until:
        midnight = (at // DAY_S + 1) * DAY_S
        seen = await _read(source, at, min(midnight, until), pause_s)
        if seen.gap is not None:
            end = min(seen.gap.until + 1, midnight, until)
            yield Slice(since=at, until=end, runs=(), never_started=0, set_aside=0, unread=seen.gap)
            at = end
            continue
        if seen.accounting_read_until is None or seen.accounting_read_until <= at:
            raise SourceUnavailable("; ".join(seen.errors) or "accounting does not answer")
        # Windows have their ends in common; each run is counted where its end belongs.
        runs = tuple(run for run in seen.ended_runs if _ended_within(run, at, seen.accounting_read_until))
        yield Slice(
            since=at,
            until=seen.accounting_read_until,
            runs=runs,
            never_started=seen.never_started,
            set_aside=seen.records_skipped,
        )
        at = seen.accounting_read_until


async def _read(source: Source, since: int, until: int, pause_s: float) -> Observation:
    """Read accounting from ``since`` on, as far as that goes; the last failure if it does not answer."""
    failures, is_first = 0, True
    while True:
        is_narrow = is_narrowest(source, since, until)
        seen = await observe(source, since, until)
        if seen.accounting_read_until is not None or seen.disk_full:
            return seen
        now = int(time.time())
        if is_first and (await observe(source, now - FLOOR_S, now)).accounting_read_until is None:
            return seen  # an outage: none of all the narrower windows would answer either
        failures, is_first = failures + is_narrow, False
        window = since, min(since + FLOOR_S, until)
        if again := await examine(source, window, now, failures):
            return again
        if failures >= FAILURES:
            return seen
        if is_narrow:
            await anyio.sleep(pause_s)


def _ended_within(run: Job, since: int, until: int) -> bool:
    return has_ended(run) and run.end_at is not None and since <= run.end_at < until


async def running(source: Source, now: int) -> tuple[Job, ...]:
    """
    Return what runs now, as the controller lists it: identity and state.

    Raises:
        SourceUnavailable: The controller does not answer.
    """
    seen = await source.poll(now, now)
    if seen.job_list is None:
        raise SourceUnavailable("; ".join(seen.errors) or "the controller does not answer")
    return tuple(
        Job(key=RunKey(seen.cluster, item.job_id, item.start_at), state=item.state)
        for item in seen.job_list
        if item.start_at is not None and item.state in (JobState.RUNNING, JobState.SUSPENDED)
    )
