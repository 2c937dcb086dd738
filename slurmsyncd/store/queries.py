"""What operators ask and decide: counts, dead letters, the story of a run, housekeeping."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from slurmsyncd.model import EventKind, Job, RunKey, RunPhase
from slurmsyncd.store.codec import CorruptBody, decode, decode_history

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

    from slurmsyncd.store.database import Database

# No verdict plans further ahead than some hours: what is due later was planned by a clock that was wrong.
_HORIZON_S = 86400.0

_COUNTS = """
    SELECT state, reason, count(*), min(waiting_since), max(failing_since) FROM delivery
    WHERE sink = ? AND state <> 'done' GROUP BY state, reason
"""
_DELIVERIES = """
    SELECT d.id, d.sink, r.cluster, r.job_id, r.start_at, d.step, d.state, d.due_at, d.waiting_since,
           d.start_attempts, d.stop_attempts, d.acked_at, d.failing_since, d.reason, d.detail, d.history
    FROM delivery d JOIN run r ON r.id = d.run_id
"""
_IDS = "SELECT d.id FROM delivery d JOIN run r ON r.id = d.run_id"
_GROUPS = """
    SELECT d.sink, d.state, d.step, d.reason, count(*),
           min(coalesce(d.failing_since, d.waiting_since)), max(coalesce(d.failing_since, d.waiting_since)),
           max(d.id)
    FROM delivery d JOIN run r ON r.id = d.run_id
"""
_RUNS = """
    SELECT r.id, r.cluster, r.job_id, r.start_at, r.phase, a.at, a.trigger, z.at, z.trigger,
           a.body, a.crc, z.body, z.crc
    FROM run r JOIN started a ON a.run_id = r.id LEFT JOIN stopped z ON z.run_id = r.id
"""
_RETRY = """
    UPDATE delivery
    SET state = 'ready', due_at = ?, start_attempts = 0, stop_attempts = 0, failing_since = NULL
    WHERE id = ? AND (
        state IN ('ready', 'parked', 'dead')
        OR (state = 'dropped' AND reason IN ('repeat_of_earlier_run', 'later_run_is_there'))
    )
"""
_DROP = (
    "UPDATE delivery SET state = 'dropped', due_at = NULL WHERE id = ? AND state NOT IN ('done', 'dropped')"
)
# What ended in a gap is kept as long as that stands: once it is read, none of its runs is told a second time.
_PRUNE = """
    DELETE FROM run WHERE id IN (
        SELECT r.id FROM run r JOIN stopped z ON z.run_id = r.id
        WHERE r.phase = 'stopped' AND r.end_at < ? AND z.at < ? AND NOT EXISTS (
            SELECT 1 FROM delivery d WHERE d.run_id = r.id AND d.state NOT IN ('done', 'dropped')
        ) AND NOT EXISTS (
            SELECT 1 FROM accounting_gap g
            WHERE g.cluster = r.cluster AND r.end_at BETWEEN g.since AND g.until
        ) ORDER BY r.end_at LIMIT ?
    )
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkTotals:
    """
    What one sink has not been told of, and why.

    Attributes:
        states: ready, parked, idle (running, its start told), dead, dropped → how many.
        reasons: (state, reason of the last attempt) → how many.
        waiting_since: Since when the oldest ready or parked step waits (epoch seconds), None if none does.
        oldest: State → since when its oldest step waits.
        failing_since: State → when the latest of its failing steps failed first.
    """

    states: Mapping[str, int] = field(default_factory=dict)
    reasons: Mapping[tuple[str, str], int] = field(default_factory=dict)
    oldest: Mapping[str, float] = field(default_factory=dict)
    failing_since: Mapping[str, float] = field(default_factory=dict)
    waiting_since: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverySelection:
    """
    Which deliveries are meant: those for which all that is given holds.

    Attributes:
        ids: Of deliveries; none: any.
        since_before: They failed first, or came up, before this (epoch seconds).
    """

    sink: str | None = None
    state: str | None = None
    reason: str | None = None
    job_id: int | None = None
    since_before: float | None = None
    ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryGroup:
    """
    Deliveries that stand alike for one reason.

    Attributes:
        count: How many.
        oldest_at: When the first of them failed first, or came up (epoch seconds).
        newest_at: Likewise the last.
        example: Id of one of them.
    """

    sink: str
    state: str
    step: EventKind
    reason: str
    count: int
    oldest_at: float
    newest_at: float
    example: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """
    How far one sink is with one run.

    Attributes:
        attempts: Charged to this step.
        failing_since: First failed attempt of this step, None if there was none.
        history: The last failed attempts, each (at, step, reason, detail).
    """

    id: int
    sink: str
    key: RunKey
    step: EventKind
    state: str
    due_at: float | None
    waiting_since: float
    attempts: int
    acked_at: float | None
    failing_since: float | None
    reason: str
    detail: str
    history: tuple[tuple[float, str, str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHistory:
    """
    All that is known of one run.

    Attributes:
        started_seen_at: When its start was written down (epoch seconds, our clock).
        started_by: What made us look then: ``hook`` or ``poll``.
        start: As announced; None if its record is damaged.
        stop: As it ended; None while it runs, or if its record is damaged.
    """

    key: RunKey
    phase: RunPhase
    started_seen_at: float
    started_by: str
    stopped_seen_at: float | None
    stopped_by: str | None
    start: Job | None
    stop: Job | None
    deliveries: tuple[Delivery, ...]


def counts(database: Database, sink: str) -> SinkTotals:
    """Count what a sink has not been told of."""
    rows = database.rows(_COUNTS, (sink,))
    states: dict[str, int] = {}
    oldest: dict[str, float] = {}
    failing: dict[str, float] = {}
    for state, _, number, since, failed_at in rows:
        states[state] = states.get(state, 0) + number
        oldest[state] = min(since, oldest.get(state, since))
        if failed_at is not None:
            failing[state] = max(failed_at, failing.get(state, failed_at))
    return SinkTotals(
        states=states,
        reasons={(state, reason): number for state, reason, number, *_ in rows},
        oldest=oldest,
        failing_since=failing,
        waiting_since=min(
            (since for state, since in oldest.items() if state in {"ready", "parked"}), default=None
        ),
    )


def list_deliveries(
    database: Database, wanted: DeliverySelection, limit: int, after: int
) -> tuple[Delivery, ...]:
    """List deliveries by id, from behind ``after``."""
    where, values = _where(wanted)
    rows = database.rows(
        f"{_DELIVERIES} WHERE {where} AND d.id > ? ORDER BY d.id LIMIT ?", [*values, after, limit]
    )
    return tuple(map(_delivery, rows))


def list_delivery_ids(database: Database, wanted: DeliverySelection) -> tuple[int, ...]:
    """Return the ids of deliveries, in order."""
    where, values = _where(wanted)
    rows = database.rows(f"{_IDS} WHERE {where} ORDER BY d.id", values)
    return tuple(id_ for (id_,) in rows)


def group_deliveries(database: Database, wanted: DeliverySelection) -> tuple[DeliveryGroup, ...]:
    """Count deliveries by sink, state, step and reason; the largest groups of a sink first."""
    where, values = _where(wanted)
    grouped = "GROUP BY d.sink, d.state, d.step, d.reason ORDER BY d.sink, count(*) DESC, d.reason"
    rows = database.rows(f"{_GROUPS} WHERE {where} {grouped}", values)
    return tuple(
        DeliveryGroup(
            sink=sink,
            state=state,
            step=EventKind(step),
            reason=reason,
            count=count,
            oldest_at=oldest_at,
            newest_at=newest_at,
            example=example,
        )
        for sink, state, step, reason, count, oldest_at, newest_at, example in rows
    )


def _where(wanted: DeliverySelection) -> tuple[str, list[Any]]:
    """Return a condition and its values."""
    given: list[tuple[str, Any]] = [
        ("d.sink = ?", wanted.sink),
        ("d.state = ?", wanted.state),
        ("d.reason = ?", wanted.reason),
        ("r.job_id = ?", wanted.job_id),
        ("coalesce(d.failing_since, d.waiting_since) < ?", wanted.since_before),
    ]
    given = [(condition, value) for condition, value in given if value is not None]
    # Said although another state may be given: only then the index of what is not told is taken.
    conditions = [condition for condition, _ in given] + ["d.state <> 'done'"] * (wanted.state != "done")
    if wanted.ids:  # more of them than there may be variables
        conditions.append(f"d.id IN ({','.join(map(str, wanted.ids))})")
    return " AND ".join(conditions) or "1", [value for _, value in given]


def retry_deliveries(con: sqlite3.Connection, ids: Iterable[int], now: float) -> int:
    """Make deliveries due at once, as if never tried."""
    return sum(con.execute(_RETRY, (now, id_)).rowcount for id_ in ids)


def drop_deliveries(con: sqlite3.Connection, ids: Iterable[int]) -> int:
    """Drop deliveries permanently."""
    return sum(con.execute(_DROP, (id_,)).rowcount for id_ in ids)


def run_histories(database: Database, job_id: int) -> tuple[RunHistory, ...]:
    """Tell all that is known of a job id."""
    rows = database.rows(f"{_RUNS} WHERE r.job_id = ? ORDER BY r.start_at, r.cluster", (job_id,))
    return tuple(_story(database, row) for row in rows)


def latest_runs(database: Database, limit: int) -> tuple[RunHistory, ...]:
    """Tell of the runs that were written down last, newest first."""
    rows = database.rows(f"{_RUNS} ORDER BY r.id DESC LIMIT ?", (limit,))
    return tuple(_story(database, row) for row in rows)


def _story(database: Database, row: tuple[Any, ...]) -> RunHistory:
    run_id, cluster, job_id, start_at, phase, started_at, started_by, stopped_at, stopped_by, *bodies = row
    deliveries = database.rows(f"{_DELIVERIES} WHERE d.run_id = ? ORDER BY d.sink", (run_id,))
    return RunHistory(
        key=RunKey(cluster, job_id, start_at),
        phase=RunPhase(phase),
        started_seen_at=started_at,
        started_by=started_by,
        stopped_seen_at=stopped_at,
        stopped_by=stopped_by,
        start=_readable(*bodies[:2]),
        stop=_readable(*bodies[2:]),
        deliveries=tuple(map(_delivery, deliveries)),
    )


def prune(con: sqlite3.Connection, now: float, keep_s: float, limit: int) -> int:
    """Forget what is settled and old; bring back what was put off too far."""
    con.execute("UPDATE delivery SET due_at = ? WHERE due_at > ?", (now, now + _HORIZON_S))
    return con.execute(_PRUNE, (now - keep_s, now - keep_s, limit)).rowcount


def _delivery(row: tuple[Any, ...]) -> Delivery:
    id_, sink, cluster, job_id, start_at, step, state, due_at, since, starts, stops, *rest = row
    acked_at, failing_since, reason, detail, history = rest
    return Delivery(
        id=id_,
        sink=sink,
        key=RunKey(cluster, job_id, start_at),
        step=EventKind(step),
        state=state,
        due_at=due_at,
        waiting_since=since,
        attempts=starts if step == EventKind.START.value else stops,
        acked_at=acked_at,
        failing_since=failing_since,
        reason=reason,
        detail=detail,
        history=decode_history(history),
    )


def _readable(body: bytes | None, crc: int) -> Job | None:
    try:
        return None if body is None else decode(body, crc)
    except CorruptBody:
        return None
