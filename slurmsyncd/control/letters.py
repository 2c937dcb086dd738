"""The requests that find deliveries: dead letters, parked ones, dropped ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from slurmsyncd.control.requests import Request
from slurmsyncd.store.desk import Group, Selection

if TYPE_CHECKING:
    from slurmsyncd.store.sqlite import SqliteStore


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


REQUESTS: tuple[type[Request[Any]], ...] = (AskGroups, AskIds)
