"""The requests that find deliveries: dead letters, parked ones, dropped ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from slurmsyncd.control.store_requests import ControlRequest
from slurmsyncd.model import Job, RunKey
from slurmsyncd.planner.known_runs import is_same_run, sighting_of
from slurmsyncd.store.queries import DeliveryGroup, DeliverySelection

if TYPE_CHECKING:
    from slurmsyncd.store.sqlite_store import SqliteStore


@dataclass(frozen=True, slots=True)
class GroupDeliveries(ControlRequest[tuple[DeliveryGroup, ...]]):
    """Count what is selected by sink, state, step and reason."""

    response_type: ClassVar[Any] = tuple[DeliveryGroup, ...]

    wanted: DeliverySelection

    def run(self, store: SqliteStore) -> tuple[DeliveryGroup, ...]:
        """Count."""
        return store.group_deliveries(self.wanted)


@dataclass(frozen=True, slots=True)
class ListDeliveryIds(ControlRequest[tuple[int, ...]]):
    """Request for the ids of the selected deliveries, in order."""

    response_type: ClassVar[Any] = tuple[int, ...]

    wanted: DeliverySelection

    def run(self, store: SqliteStore) -> tuple[int, ...]:
        """List them."""
        return store.select_ids(self.wanted)


@dataclass(frozen=True, slots=True)
class ListRunsWithoutBody(ControlRequest[tuple[tuple[int, RunKey], ...]]):
    """Ask for the deliveries of which a record is damaged or was given up: id and run."""

    response_type: ClassVar[Any] = tuple[tuple[int, RunKey], ...]

    ids: tuple[int, ...]

    def run(self, store: SqliteStore) -> tuple[tuple[int, RunKey], ...]:
        """List them."""
        return store.bare(self.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreBodies(ControlRequest[int]):
    """
    Request to restore records that are damaged or were discarded; returns the number of runs.

    Attributes:
        jobs: All runs of the job ids, as accounting has them. One whose start moved keeps the start under
            which it was recorded first.
    """

    response_type: ClassVar[Any] = int

    cluster: str
    jobs: tuple[Job, ...]

    def run(self, store: SqliteStore) -> int:
        """Record them."""
        known = store.end_times(self.cluster, {job.key.job_id for job in self.jobs})
        return store.refill(
            replace(job, key=key)
            for job in self.jobs
            for key, end_at in known.items()
            if key.job_id == job.key.job_id and is_same_run(key.start_at, end_at, sighting_of(job))
        )


REQUESTS: tuple[type[ControlRequest[Any]], ...] = (
    GroupDeliveries,
    ListDeliveryIds,
    ListRunsWithoutBody,
    RestoreBodies,
)
