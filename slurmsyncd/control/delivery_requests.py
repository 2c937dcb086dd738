"""The requests that find deliveries: dead letters, parked ones, dropped ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from slurmsyncd.control.store_requests import Request
from slurmsyncd.model import Job, RunKey
from slurmsyncd.planner.known_runs import is_same, sighting
from slurmsyncd.store.queries import Group, Selection

if TYPE_CHECKING:
    from slurmsyncd.store.sqlite_store import SqliteStore


@dataclass(frozen=True, slots=True)
class AskGroups(Request[tuple[Group, ...]]):
    """Count what is selected by sink, state, step and reason."""

    gives: ClassVar[Any] = tuple[Group, ...]

    wanted: Selection

    def run(self, store: SqliteStore) -> tuple[Group, ...]:
        """Count."""
        return store.select_groups(self.wanted)


@dataclass(frozen=True, slots=True)
class AskIds(Request[tuple[int, ...]]):
    """Give the ids of what is selected, in order."""

    gives: ClassVar[Any] = tuple[int, ...]

    wanted: Selection

    def run(self, store: SqliteStore) -> tuple[int, ...]:
        """List them."""
        return store.select_ids(self.wanted)


@dataclass(frozen=True, slots=True)
class AskBare(Request[tuple[tuple[int, RunKey], ...]]):
    """Ask for the deliveries of which a record is damaged or was given up: id and run."""

    gives: ClassVar[Any] = tuple[tuple[int, RunKey], ...]

    ids: tuple[int, ...]

    def run(self, store: SqliteStore) -> tuple[tuple[int, RunKey], ...]:
        """List them."""
        return store.bare(self.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refill(Request[int]):
    """
    Record runs anew of which a record is damaged or was given up; gives how many there were.

    Attributes:
        jobs: All runs of the job ids, as accounting has them. One whose start moved keeps the start under
            which it was recorded first.
    """

    gives: ClassVar[Any] = int

    cluster: str
    jobs: tuple[Job, ...]

    def run(self, store: SqliteStore) -> int:
        """Record them."""
        known = store.end_times(self.cluster, {job.key.job_id for job in self.jobs})
        return store.refill(
            replace(job, key=key)
            for job in self.jobs
            for key, end_at in known.items()
            if key.job_id == job.key.job_id and is_same(key.start_at, end_at, sighting(job))
        )


REQUESTS: tuple[type[Request[Any]], ...] = (AskGroups, AskIds, AskBare, Refill)
