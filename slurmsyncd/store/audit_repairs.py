"""The audit's side of the store: what a sink was told, and putting right what it lost."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from slurmsyncd.delivery import OVERTAKEN, REPEAT, DeliverySummary, Discrepancy
from slurmsyncd.model import EventKind, JobState, Plan, RunEnded, RunKey, RunStarted, Trigger
from slurmsyncd.store import ingest as intake
from slurmsyncd.store import outbox
from slurmsyncd.store.codec import CorruptBody, decode_history

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

    from slurmsyncd.delivery import Repair
    from slurmsyncd.model import Job
    from slurmsyncd.store.database import Database
    from slurmsyncd.store.outbox import DeliveryRow

_TOLD = """
    SELECT d.step, d.state, d.waiting_since, d.acked_at, d.reason
    FROM run r JOIN delivery d ON d.run_id = r.id
    WHERE r.job_id = ? AND r.start_at = ? AND r.cluster = ? AND d.sink = ?
"""
_ACKNOWLEDGED = """
    SELECT r.start_at, r.job_id FROM delivery d JOIN run r ON r.id = d.run_id
    WHERE d.sink = ? AND d.state = 'idle' AND r.cluster = ? AND d.acked_at < ?
    ORDER BY r.start_at, r.job_id
"""
# A backend that refuses a run (a requeue within a day) without a word seems to lose it each time.
_SENT_ANEW = 3
_SETTLED = """
    SELECT r.start_at, r.job_id FROM delivery d JOIN run r ON r.id = d.run_id
    WHERE d.sink = ? AND d.step = 'stop' AND d.state = 'done' AND r.cluster = ?
      AND d.waiting_since >= ? AND d.waiting_since < ?
      AND length(d.history) - length(replace(d.history, '"run_lost"', '')) < ? * length('"run_lost"')
    ORDER BY r.start_at, r.job_id
"""
_STOPPED = """
    SELECT z.body, z.crc FROM run r JOIN stopped z ON z.run_id = r.id
    WHERE r.job_id = ? AND r.start_at = ? AND r.cluster = ?
"""
_SECOND = "second_chance"
_DEAD = """
    SELECT d.id FROM delivery d JOIN run r ON r.id = d.run_id
    WHERE d.sink = ? AND d.state = 'dead' AND r.cluster = ? AND d.reason <> ? AND d.history NOT LIKE ?
    ORDER BY d.id LIMIT 1000
"""
_FIND = """
    SELECT d.id FROM run r JOIN delivery d ON d.run_id = r.id
    WHERE r.job_id = ? AND r.start_at = ? AND r.cluster = ? AND d.sink = ?
"""
# What the sink has it need not be told: its stop is all that is left.
_STOP_ALONE = """
    INSERT INTO delivery (run_id, sink, step, state, due_at, waiting_since, acked_at, reason)
    SELECT id, ?, 'stop', 'ready', ?, ?, ?, ? FROM run WHERE job_id = ? AND start_at = ? AND cluster = ?
    ON CONFLICT DO NOTHING
"""
_ALL_OF_IT = """
    INSERT INTO delivery (run_id, sink, step, state, due_at, waiting_since, reason)
    SELECT id, ?, 'start', 'ready', ?, ?, ? FROM run WHERE job_id = ? AND start_at = ? AND cluster = ?
    ON CONFLICT DO NOTHING
"""
_DETAIL = "found by the audit"


def delivery_summaries(
    database: Database, sink: str, keys: Iterable[RunKey]
) -> dict[RunKey, DeliverySummary]:
    """Return the delivery of each run that has one at the sink."""
    found = {}
    for key in keys:
        for step, state, since, acked_at, reason in database.rows(_TOLD, (*_where(key), sink)):
            found[key] = DeliverySummary(
                kind=EventKind(step), state=state, since=since, start_acknowledged_at=acked_at, reason=reason
            )
    return found


def delivered_open_runs(
    database: Database, sink: str, cluster: str, before: float
) -> Iterator[tuple[int, int]]:
    """Return start and job id of open runs whose start the sink accepted before a time."""
    return database.each(_ACKNOWLEDGED, (sink, cluster, before))


def delivered_ended_runs(
    database: Database, sink: str, cluster: str, since: float, before: float
) -> Iterator[tuple[int, int]]:
    """Return start and job id of runs whose stop was settled in a range, except those resent too often."""
    return database.each(_SETTLED, (sink, cluster, since, before, _SENT_ANEW))


def stops(database: Database, keys: Iterable[RunKey]) -> dict[RunKey, Job]:
    """Return the recorded ends of these runs; damaged records are left out."""
    found = {}
    for key in keys:
        for body, crc in database.rows(_STOPPED, _where(key)):
            with suppress(CorruptBody):
                found[key] = outbox.recorded_end(key, body, crc)
    return found


def second_chance(
    con: sqlite3.Connection, sink: str, cluster: str, *, before: float, now: float, limit: int
) -> int:
    """Make dead letters that died before due again, each once; return their number."""
    count = 0
    for (id_,) in con.execute(_DEAD, (sink, cluster, outbox.DAMAGED, f"%{_SECOND}%")).fetchall():
        at, _ = outbox.load_row(con, id_)
        if count < limit and at is not None and _died_at(at) < before:
            anew = outbox.with_history(at, _SECOND, "the sink has accepted runs since", now)
            anew = anew._replace(state="ready", due_at=now, start_attempts=0, stop_attempts=0)
            outbox.save_row(con, id_, anew._replace(failing_since=None))
            count += 1
    return count


def _died_at(at: DeliveryRow) -> float:
    history = decode_history(at.history)
    return history[-1][0] if history else at.waiting_since


def apply_repair(con: sqlite3.Connection, sink: str, wanted: Repair, now: float) -> bool:
    """Carry out one repair; False if the run has moved on meanwhile, or it was reported before."""
    match wanted.discrepancy:
        case Discrepancy.UNREPORTED_RUN if wanted.ended is not None:
            return _take_over(con, sink, wanted.ended, now)
        case Discrepancy.NOT_REPORTED:
            values = (sink, now, now, wanted.discrepancy.value, *_where(wanted.key))
            return con.execute(_ALL_OF_IT, values).rowcount > 0
        case Discrepancy.ENDED_TOO_EARLY | Discrepancy.ENDED_OTHERWISE | Discrepancy.UNREADABLE:
            return add_history(
                con, sink, wanted.key, (wanted.discrepancy.value, wanted.detail or _DETAIL), now
            )
        case (
            Discrepancy.STOP_LOST
            | Discrepancy.START_LOST
            | Discrepancy.RUN_LOST
            | Discrepancy.REJECTED_BUT_PRESENT
        ):
            id_, at, ended = _position(con, sink, wanted.key)
            to = None if at is None else moved(at, wanted.discrepancy, ended=ended, now=now)
            if to is not None:
                outbox.save_row(con, id_, to)
            return to is not None
    return False


def moved(at: DeliveryRow, finding: Discrepancy, *, ended: bool, now: float) -> DeliveryRow | None:
    """Return the row after a repair, None if the delivery has changed since the audit read it. Pure."""
    # By what it showed the sink has committed the run, so nothing has to be held back.
    then = outbox.with_history(at, finding.value, _DETAIL, now)._replace(
        waiting_since=now, failing_since=None
    )
    match finding, at.step, at.state:
        case Discrepancy.STOP_LOST, "stop", "done":
            return then._replace(state="ready", due_at=now, stop_attempts=0)
        case (Discrepancy.START_LOST, "stop", "idle") | (Discrepancy.RUN_LOST, "stop", "done"):
            anew = then._replace(start_attempts=0, stop_attempts=0, acked_at=None)
            return anew._replace(step="start", state="ready", due_at=now)
        case Discrepancy.REJECTED_BUT_PRESENT, "start", "dead" | "dropped" if at.state == "dead" or _gave_way(
            at
        ):
            state, due_at = ("ready", now) if ended else ("idle", None)
            return then._replace(step="stop", state=state, due_at=due_at, acked_at=now, hold_until=now)
    return None


def _gave_way(at: DeliveryRow) -> bool:
    """Return whether a run was dropped by the requeue policy and not by an operator."""
    return at.reason in {REPEAT, OVERTAKEN}


def add_history(con: sqlite3.Connection, sink: str, key: RunKey, words: tuple[str, str], now: float) -> bool:
    """Add (reason, detail) to the history of a delivery; False if it says so, or there is none."""
    id_, at, _ = _position(con, sink, key)
    if at is None or (at.reason, at.detail) == words:
        return False
    outbox.save_row(con, id_, outbox.with_history(at, *words, now))
    return True


def _position(con: sqlite3.Connection, sink: str, key: RunKey) -> tuple[int, DeliveryRow | None, bool]:
    row = con.execute(_FIND, (*_where(key), sink)).fetchone()
    return (0, None, False) if row is None else (row[0], *outbox.load_row(con, row[0]))


def _take_over(con: sqlite3.Connection, sink: str, run: Job, now: float) -> bool:
    """Write down a run that somebody else told this sink of, with its end; no other sink is told."""
    began = replace(run, state=JobState.RUNNING, end_at=None, exit_code="")
    events = (RunStarted(began, Trigger.POLL), RunEnded(run, Trigger.POLL))
    intake.record(con, Plan(cluster=run.key.cluster, events=events), (), now)
    reason = Discrepancy.UNREPORTED_RUN.value
    made = con.execute(_STOP_ALONE, (sink, now, now, now, reason, *_where(run.key)))
    return made.rowcount > 0


def _where(key: RunKey) -> tuple[int, int, str]:
    return key.job_id, key.start_at, key.cluster
