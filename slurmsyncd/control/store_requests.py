"""
The requests that the store answers, each a frozen value that carries itself out.

The daemon runs them in its store thread; a command does it itself where no daemon runs. So there is one code
for both, and the wire is the value as JSON under its class's name.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from slurmsyncd.model import Gap  # noqa: TC001 - decoding needs the type
from slurmsyncd.store.queries import Delivery, DeliverySelection, RunHistory

if TYPE_CHECKING:
    from slurmsyncd.store.sqlite_store import SqliteStore

T = TypeVar("T")


class ControlRequest(Generic[T]):
    """
    One request.

    Attributes:
        response_type: Type of the answer, for decoding it.
    """

    __slots__ = ()

    response_type: ClassVar[Any]

    def run(self, store: SqliteStore) -> T:
        """Carry it out; called where the store may be called."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkTotals:
    """
    What one sink has not been told of.

    Attributes:
        states: ready, parked, idle (running, its start told), dead, dropped → how many.
        reasons: State → reason of the last attempt → how many.
        waiting_since: Since when the oldest ready or parked step waits (epoch seconds), None if none does.
        oldest: State → since when its oldest step waits.
        failing_since: State → when the latest of its failing steps failed first.
    """

    states: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, dict[str, int]] = field(default_factory=dict)
    oldest: dict[str, float] = field(default_factory=dict)
    failing_since: dict[str, float] = field(default_factory=dict)
    waiting_since: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """
    What is written down, in numbers.

    Attributes:
        sinks: Name → what it has not been told of.
        open_runs: Cluster → runs that have started and not stopped.
        cursors: Cluster → position in its accounting (epoch seconds).
        incident: When and why something written down was last found lost, None if never or acknowledged.
        gaps: Spans of accounting that could not be read.
    """

    sinks: dict[str, SinkTotals]
    open_runs: dict[str, int]
    cursors: dict[str, int]
    incident: tuple[float, str] | None
    gaps: tuple[Gap, ...] = ()


@dataclass(frozen=True, slots=True)
class GetTotals(ControlRequest[Totals]):
    """Ask for what is written down, in numbers."""

    response_type: ClassVar[Any] = Totals

    def run(self, store: SqliteStore) -> Totals:
        """Count."""
        return Totals(
            sinks={name: _totals(store, name) for name in store.all_sinks()},
            open_runs=store.open_runs(),
            cursors=store.cursors(),
            incident=store.data_loss(),
            gaps=store.all_gaps(),
        )


@dataclass(frozen=True, slots=True)
class ListDeliveries(ControlRequest[tuple[Delivery, ...]]):
    """List the deliveries that are meant by id, from behind ``after``."""

    response_type: ClassVar[Any] = tuple[Delivery, ...]

    wanted: DeliverySelection
    limit: int = 500
    after: int = 0

    def run(self, store: SqliteStore) -> tuple[Delivery, ...]:
        """List them."""
        return store.select(self.wanted, limit=self.limit, after=self.after)


@dataclass(frozen=True, slots=True)
class GetRunHistories(ControlRequest[tuple[RunHistory, ...]]):
    """Ask for all that is known of a job's runs, oldest first."""

    response_type: ClassVar[Any] = tuple[RunHistory, ...]

    job_id: int

    def run(self, store: SqliteStore) -> tuple[RunHistory, ...]:
        """Tell."""
        return store.run_histories(self.job_id)


@dataclass(frozen=True, slots=True)
class RetryDeliveries(ControlRequest[int]):
    """Request to make dead or parked deliveries due immediately; returns their number."""

    response_type: ClassVar[Any] = int

    ids: tuple[int, ...]

    def run(self, store: SqliteStore) -> int:
        """Make them due."""
        return store.retry(self.ids, time.time())


@dataclass(frozen=True, slots=True)
class DropDeliveries(ControlRequest[int]):
    """Request to drop deliveries permanently; returns their number."""

    response_type: ClassVar[Any] = int

    ids: tuple[int, ...]

    def run(self, store: SqliteStore) -> int:
        """Drop them."""
        return store.drop(self.ids)


@dataclass(frozen=True, slots=True)
class AcknowledgeDataLoss(ControlRequest[None]):
    """Note that the operator knows of the incident."""

    response_type: ClassVar[Any] = None

    def run(self, store: SqliteStore) -> None:
        """Note it."""
        store.acknowledge_data_loss()


def _totals(store: SqliteStore, sink: str) -> SinkTotals:
    found = store.counts(sink)
    reasons: dict[str, dict[str, int]] = {}
    for (state, reason), number in found.reasons.items():
        reasons.setdefault(state, {})[reason] = number
    return SinkTotals(
        states=dict(found.states),
        reasons=reasons,
        waiting_since=found.waiting_since,
        oldest=dict(found.oldest),
        failing_since=dict(found.failing_since),
    )


REQUESTS: tuple[type[ControlRequest[Any]], ...] = (
    GetTotals,
    ListDeliveries,
    GetRunHistories,
    RetryDeliveries,
    DropDeliveries,
    AcknowledgeDataLoss,
)
