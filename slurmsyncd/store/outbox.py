"""The outbox: selects due deliveries and applies decisions to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from slurmsyncd.delivery import DeadLetter, Delivered, Drop, Park, ResendStart, Retry
from slurmsyncd.model import EventKind, OutboxEntry, RunKey, Trigger
from slurmsyncd.store.codec import CorruptBody, decode, decode_history, encode_history

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterable, Sequence

    from slurmsyncd.delivery import Verdict
    from slurmsyncd.model import Job
    from slurmsyncd.store.database import Database

log = structlog.get_logger()

# Reason of a delivery whose body is no longer what was written; it is never sent.
DAMAGED = "damaged_record"

_DETAIL_CHARS = 500
_HISTORY = 8
_TRIGGERS = {each.value: each for each in Trigger}

#: Seconds for which a start that fails keeps the starts of later runs of its job id waiting.
PATIENCE_S = 3600.0
# Deliveries at the newer end of the queue that may wait for their turn before the older end is taken.
_WINDOW = 128

_ENTRY = """
    SELECT d.id, d.acked_at, d.start_attempts, d.stop_attempts, r.cluster, r.job_id, r.start_at,
           a.body, a.crc, z.body, z.crc, a.at, a.trigger, z.at, z.trigger
    FROM delivery d JOIN run r ON r.id = d.run_id
    LEFT JOIN started a ON a.run_id = d.run_id LEFT JOIN stopped z ON z.run_id = d.run_id
    WHERE d.id = ?
"""
# A backend that has a run of a job id rejects earlier ones for good, so starts go in order. One that fails
# for long keeps none waiting; a clock that was set back must not make that longer.
_IN_TURN = """
    NOT EXISTS (
        SELECT 1 FROM run r
        JOIN run e ON e.job_id = r.job_id AND e.start_at < r.start_at AND e.cluster = r.cluster
        JOIN delivery p ON p.run_id = e.id AND p.sink = d.sink
        WHERE r.id = d.run_id AND p.step = 'start' AND p.due_at IS NOT NULL
          AND (p.failing_since IS NULL OR abs(:now - p.failing_since) < :patience)
    )
"""
_PICK_OLDEST = """
    SELECT d.id FROM delivery d WHERE d.sink = :sink AND d.step = :step AND d.due_at <= :now AND {turn}
    ORDER BY d.due_at, d.id LIMIT :limit
"""
_PICK_NEWEST = """
    SELECT d.id FROM (
        SELECT id, run_id, sink, due_at FROM delivery WHERE sink = :sink AND step = :step AND due_at <= :now
        ORDER BY due_at DESC, id DESC LIMIT :window
    ) d WHERE {turn} ORDER BY d.due_at DESC, d.id DESC LIMIT :limit
"""
_PICK_NEXT = """
    SELECT d.id, d.due_at FROM delivery d
    WHERE d.sink = :sink AND d.step = :step AND d.due_at IS NOT NULL AND {turn} ORDER BY d.due_at LIMIT :limit
"""


def _by_step(sql: str) -> dict[EventKind, str]:
    return {EventKind.START: sql.format(turn=_IN_TURN), EventKind.STOP: sql.format(turn="1")}


_OLDEST, _NEWEST, _NEXT = _by_step(_PICK_OLDEST), _by_step(_PICK_NEWEST), _by_step(_PICK_NEXT)
_STATE = """
    SELECT step, state, due_at, waiting_since, start_attempts, stop_attempts,
           acked_at, hold_until, failing_since, reason, detail, history,
           EXISTS (SELECT 1 FROM stopped z WHERE z.run_id = d.run_id)
    FROM delivery d WHERE id = ?
"""
_MOVE = """
    UPDATE delivery
    SET step = ?, state = ?, due_at = ?, waiting_since = ?, start_attempts = ?, stop_attempts = ?,
        acked_at = ?, hold_until = ?, failing_since = ?, reason = ?, detail = ?, history = ?
    WHERE id = ?
"""

_HASTEN = "UPDATE delivery SET due_at = ? WHERE id = ? AND due_at > ?"


class DeliveryRow(NamedTuple):
    """
    How far a delivery is: what verdicts change, in the order of ``_STATE`` and ``_MOVE``.

    Attributes:
        due_at: None unless it waits for the sink (``ready`` or ``parked``).
        waiting_since: When this step came up.
        stop_attempts: Outlives a rewind, so that sending the start again has an end.
        hold_until: The stop is not sent before.
        failing_since: First failed attempt of this step, None if there was none.
        history: JSON, the last attempts: ``[[at, step, reason, detail], …]``.
    """

    step: str
    state: str
    due_at: float | None
    waiting_since: float
    start_attempts: int
    stop_attempts: int
    acked_at: float | None
    hold_until: float
    failing_since: float | None
    reason: str
    detail: str
    history: str


def select_due(
    database: Database,
    sink: str,
    step: EventKind,
    now: float,
    *,
    limit: int,
    in_flight: Collection[int],
    newest_first: bool,
) -> list[OutboxEntry]:
    """
    Return what may be told now, oldest due first; damaged records are set dead on the way.

    A start waits for the starts of earlier runs of its job id, but not for one that has failed for long.
    """
    found: list[OutboxEntry] = []
    damaged: list[tuple[int, EventKind, DeadLetter]] = []
    for id_ in _picked(
        database, sink, step, now, limit=limit, in_flight=in_flight, newest_first=newest_first
    ):
        ((*row,),) = database.rows(_ENTRY, (id_,))
        if row[7] is None or (step is EventKind.STOP and row[9] is None):
            raise database.damaged(f"the record of {RunKey(*row[4:7])} is missing")
        try:
            found.append(_entry(sink, step, row))
        except CorruptBody as err:
            damaged.append((id_, step, DeadLetter(DAMAGED, f"{RunKey(*row[4:7])}: {err}")))
    if damaged:
        _mark_damaged(database, damaged, now)
    return found


def _picked(
    database: Database,
    sink: str,
    step: EventKind,
    now: float,
    *,
    limit: int,
    in_flight: Collection[int],
    newest_first: bool,
) -> list[int]:
    """Return the ids of what may be told now."""
    wanted = limit + len(in_flight)
    values = {**_turn(sink, step, now), "limit": wanted, "window": wanted + _WINDOW}
    sql = (_NEWEST if newest_first else _OLDEST)[step]
    ids = [id_ for (id_,) in database.rows(sql, values) if id_ not in in_flight]
    if newest_first and not ids:  # all of that end wait for their turn
        return _picked(database, sink, step, now, limit=limit, in_flight=in_flight, newest_first=False)
    return ids[:limit]


def next_due_at(
    database: Database, sink: str, step: EventKind, now: float, in_flight: Collection[int]
) -> float | None:
    """Return when the next entry whose turn it is and that is not in flight is due, None if nothing waits."""
    values = {**_turn(sink, step, now), "limit": 1 + len(in_flight)}
    rows = database.rows(_NEXT[step], values)
    return next((due_at for id_, due_at in rows if id_ not in in_flight), None)


def _turn(sink: str, step: EventKind, now: float) -> dict[str, object]:
    return {"sink": sink, "step": step.value, "now": now, "patience": PATIENCE_S}


def apply_decision(con: sqlite3.Connection, id_: int, step: EventKind, verdict: Verdict, now: float) -> bool:
    """Move one delivery; False if the operator has moved it meanwhile, or it was settled before."""
    at, ended = load_row(con, id_)
    if at is None or at.step != step.value or at.due_at is None:
        return False
    save_row(con, id_, row_after(at, verdict, ended=ended, now=now))
    return True


def hasten(con: sqlite3.Connection, ids: Iterable[int], now: float) -> None:
    """Make deliveries due that wait for a later attempt."""
    con.executemany(_HASTEN, [(now, id_, now) for id_ in ids])


def load_row(con: sqlite3.Connection, id_: int) -> tuple[DeliveryRow | None, bool]:
    """Return a delivery's row, None if it does not exist, and whether the end of its run is known."""
    row = con.execute(_STATE, (id_,)).fetchone()
    return (None, False) if row is None else (DeliveryRow(*row[:-1]), bool(row[-1]))


def save_row(con: sqlite3.Connection, id_: int, to: DeliveryRow) -> None:
    """Store the new state of a delivery."""
    con.execute(_MOVE, (*to, id_))


def row_after(at: DeliveryRow, verdict: Verdict, *, ended: bool, now: float) -> DeliveryRow:
    """Return the row after a decision. Pure. ``ended``: the run's end is known."""
    match verdict:
        case Delivered():
            return _done(at, verdict, ended=ended)
        case Retry(due_at, _, _, charged=False):
            return at._replace(due_at=due_at, reason=verdict.reason, detail=_cut(verdict.detail))
        case Retry(due_at):
            return _failed(at, verdict.reason, verdict.detail, now)._replace(state="ready", due_at=due_at)
        case Park(due_at):
            return _failed(at, verdict.reason, verdict.detail, now)._replace(state="parked", due_at=due_at)
        case DeadLetter():
            return _failed(at, verdict.reason, verdict.detail, now)._replace(state="dead", due_at=None)
        case Drop():
            dropped = with_history(at, verdict.reason, verdict.detail, now)
            return dropped._replace(state="dropped", due_at=None, failing_since=None)
        case ResendStart(due_at, reason):
            failed = _failed(at, reason, "the start is sent again", now)
            return failed._replace(
                step="start", state="ready", due_at=due_at, start_attempts=0, acked_at=None
            )


def _done(at: DeliveryRow, verdict: Delivered, *, ended: bool) -> DeliveryRow:
    at = at._replace(waiting_since=verdict.at, failing_since=None, reason=verdict.reason, detail="")
    if at.step == EventKind.STOP.value:
        return at._replace(state="done", due_at=None)
    return at._replace(
        step=EventKind.STOP.value,
        state="ready" if ended else "idle",
        due_at=verdict.next_at if ended else None,
        acked_at=verdict.at,
        hold_until=verdict.next_at,
    )


def with_history(at: DeliveryRow, reason: str, detail: str, now: float) -> DeliveryRow:
    """Return the row with one more line of history. Pure."""
    detail = _cut(detail)
    history = (*decode_history(at.history), (now, at.step, reason, detail))[-_HISTORY:]
    return at._replace(reason=reason, detail=detail, history=encode_history(history))


def _failed(at: DeliveryRow, reason: str, detail: str, now: float) -> DeliveryRow:
    starting = at.step == EventKind.START.value
    return with_history(at, reason, detail, now)._replace(
        start_attempts=at.start_attempts + starting,
        stop_attempts=at.stop_attempts + (not starting),
        failing_since=now if at.failing_since is None else at.failing_since,
    )


def _entry(sink: str, step: EventKind, row: Sequence[Any]) -> OutboxEntry:
    (id_, acked_at, *attempts), (cluster, job_id, start_at) = row[:4], row[4:7]
    start, start_crc, stop, stop_crc, *seen = row[7:]
    seen_at, trigger = seen[2:] if step is EventKind.STOP else seen[:2]
    key = RunKey(cluster, job_id, start_at)
    return OutboxEntry(
        id=id_,
        sink=sink,
        kind=step,
        start=_job(key, start, start_crc),
        stop=_stop(step, key, stop, stop_crc),
        attempts=attempts[step is EventKind.STOP],
        start_acknowledged_at=acked_at,
        recorded_at=seen_at,
        trigger=_TRIGGERS.get(trigger),  # it decides nothing, so another word does not hold the run up
    )


def _stop(step: EventKind, key: RunKey, body: bytes | None, crc: int) -> Job | None:
    if body is None:
        return None  # still running
    try:
        return recorded_end(key, body, crc)
    except CorruptBody:
        if step is EventKind.STOP:
            raise
        return None  # a start is told all the same


def recorded_end(key: RunKey, body: bytes, crc: int) -> Job:
    """
    Return the job record of a run as stored with its end.

    Raises:
        CorruptBody: The bytes are not such a record.
    """
    job = _job(key, body, crc)
    if job.end_at is None:
        raise CorruptBody("record of a run that has not ended")
    return job


def _job(key: RunKey, body: bytes, crc: int) -> Job:
    job = decode(body, crc)
    if job.key != key:
        raise CorruptBody("record of another run")
    return job


def _mark_damaged(
    database: Database, damaged: Sequence[tuple[int, EventKind, DeadLetter]], now: float
) -> None:
    for _, _, verdict in damaged:
        log.error(DAMAGED, path=str(database.path), run=verdict.detail)

    def work(con: sqlite3.Connection) -> None:
        for id_, step, verdict in damaged:
            apply_decision(con, id_, step, verdict, now)

    database.write_relaxed(work)


def _cut(text: str) -> str:
    return text[:_DETAIL_CHARS].encode("utf-8", "replace").decode()
