"""The requests about single runs: what is written down of them, and writing down what is missing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import structlog

from slurmsyncd.control.store_requests import ControlRequest
from slurmsyncd.delivery import Repair, StoredRun
from slurmsyncd.model import Gap, Job, Plan, RunEnded, RunStarted, Trigger
from slurmsyncd.planner.known_runs import KnownRunIndex, sighting_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slurmsyncd.model import Event
    from slurmsyncd.store.sqlite_store import SqliteStore

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRuns:
    """
    What is written down of some jobs.

    Attributes:
        cursor: Position in the cluster's accounting (epoch seconds), None if it was never looked at.
        runs: All their runs.
        gaps: Spans of the cluster's accounting that could not be read.
    """

    cursor: int | None
    runs: tuple[StoredRun, ...]
    gaps: tuple[Gap, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GetStoredRuns(ControlRequest[StoredRuns]):
    """Ask what is written down of jobs, and how far these sinks are with them."""

    response_type: ClassVar[Any] = StoredRuns

    cluster: str
    job_ids: tuple[int, ...]
    sinks: tuple[str, ...]

    def run(self, store: SqliteStore) -> StoredRuns:
        """Tell."""
        runs = store.end_times(self.cluster, self.job_ids)
        told = {sink: store.delivery_summaries(sink, runs) for sink in self.sinks}
        return StoredRuns(
            cursor=store.cursor(self.cluster),
            gaps=store.gaps(self.cluster),
            runs=tuple(
                StoredRun(
                    key=key,
                    end_at=end_at,
                    deliveries={sink: told[sink][key] for sink in self.sinks if key in told[sink]},
                )
                for key, end_at in runs.items()
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRuns(ControlRequest[int]):
    """
    Request to record missing runs in one transaction; returns their number.

    One that is written down meanwhile, be it under a start that moved, is left alone.

    Attributes:
        jobs: As accounting has them if they ended, else as the controller shows them.
    """

    response_type: ClassVar[Any] = int

    cluster: str
    jobs: tuple[Job, ...]

    def run(self, store: SqliteStore) -> int:
        """Write them down."""
        known = KnownRunIndex(store.end_times(self.cluster, {job.key.job_id for job in self.jobs}))
        jobs = [job for job in self.jobs if job.key.cluster == self.cluster and _is_new(job, known)]
        events = tuple(event for job in jobs for event in _events(job))
        store.record(Plan(cluster=self.cluster, events=events), time.time())
        return len(jobs)


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseGaps(ControlRequest[bool]):
    """
    Note that a span of accounting has been read and its runs are recorded; return whether it was a gap.

    Attributes:
        since: The second before its first (epoch seconds), as that of a gap.
        until: Its last second.
    """

    response_type: ClassVar[Any] = bool

    cluster: str
    since: int
    until: int

    def run(self, store: SqliteStore) -> bool:
        """Close what lies in it."""
        before = store.gaps(self.cluster)
        is_closed = store.close_gap(self.cluster, self.since, self.until)
        for gap in before if is_closed else ():
            since, until = max(gap.since, self.since), min(gap.until, self.until)
            if since < until:
                log.info("accounting_gap_closed", cluster=self.cluster, since=since, until=until)
        return is_closed


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairSink(ControlRequest[int]):
    """Request to deliver runs again that a sink lost or never received; returns their number."""

    response_type: ClassVar[Any] = int

    sink: str
    repairs: tuple[Repair, ...]

    def run(self, store: SqliteStore) -> int:
        """Carry it out."""
        return len(store.repair(self.sink, self.repairs, time.time()))


def _is_new(job: Job, known: KnownRunIndex) -> bool:
    if known.is_known(sighting_of(job)):
        return False
    # An open run of the id may be this one; the daemon asks Slurm, and tells them apart.
    return not (known.open(job.key.job_id) if job.end_at is None else known.move_candidates(job))


def _events(job: Job) -> Iterator[Event]:
    yield RunStarted(job, Trigger.POLL)
    if job.end_at is not None:
        yield RunEnded(job, Trigger.POLL)


REQUESTS: tuple[type[ControlRequest[Any]], ...] = (GetStoredRuns, RecordRuns, CloseGaps, RepairSink)
