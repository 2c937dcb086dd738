from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from slurmsyncd.delivery import DeadLetter, Delivered, Park, ResendStart, Retry
from slurmsyncd.model import EventKind, RunKey
from slurmsyncd.store import outbox
from slurmsyncd.store.codec import encode
from tests.unit.store.builders import (
    T0,
    ended,
    key,
    opened,
    plan,
    running,
    settle,
    started,
    starts,
    stopped,
    stops,
    tell_starts,
)

if TYPE_CHECKING:
    from pathlib import Path

    from slurmsyncd.store import SqliteStore


def test_i4_a_stop_is_due_only_after_its_start_is_settled_and_held(store: SqliteStore) -> None:
    """H24: the start first; its stop when the hold that began with the acknowledgement is over."""
    store.record(plan(started(key(1)), stopped(key(1))), T0)
    (entry,) = starts(store, T0)
    assert (entry.kind, entry.start, entry.stop) == (EventKind.START, running(key(1)), ended(key(1)))
    assert (stops(store, T0 + 9999), store.next_due_at("rest", EventKind.STOP, T0)) == ([], None)
    settle(store, [entry], Delivered(T0 + 5, T0 + 155, "ok"), T0 + 5)
    assert (starts(store, T0 + 9999), stops(store, T0 + 154)) == ([], [])
    assert store.next_due_at("rest", EventKind.STOP, T0) == T0 + 155
    (entry,) = stops(store, T0 + 155)
    assert (entry.kind, entry.start_acknowledged_at) == (EventKind.STOP, T0 + 5)
    assert (entry.start, entry.stop) == (running(key(1)), ended(key(1)))
    settle(store, [entry], Delivered(T0 + 200, T0 + 200, "ok"), T0 + 200)
    assert (starts(store, T0 + 9999), stops(store, T0 + 9999)) == ([], [])
    assert store.next_due_at("rest", EventKind.STOP, T0) is None


def test_h24_a_stop_that_comes_after_the_acknowledgement_is_held_as_well(store: SqliteStore) -> None:
    """A run that ends within the hold waits for it; one that ends later does not wait at all."""
    store.record(plan(started(key(1)), started(key(2))), T0)
    tell_starts(store, T0, hold_s=150)
    assert store.next_due_at("rest", EventKind.STOP, T0) is None
    store.record(plan(stopped(key(1))), T0 + 10)
    assert store.next_due_at("rest", EventKind.STOP, T0) == T0 + 150
    store.record(plan(stopped(key(2))), T0 + 500)
    assert [entry.start.key for entry in stops(store, T0 + 500)] == [key(1), key(2)]


def test_due_gives_the_oldest_first_and_no_more_than_asked(store: SqliteStore) -> None:
    """Order is by the time due, not by when the run was written down or by its id."""
    store.record(plan(started(key(1))), T0 + 20)
    store.record(plan(started(key(2))), T0 + 30)
    store.record(plan(started(key(3))), T0 + 10)
    due = starts(store, T0 + 30)
    assert [entry.start.key.job_id for entry in due] == [3, 1, 2]
    assert starts(store, T0 + 30, 2) == due[:2]
    assert starts(store, T0 + 9) == []


def test_what_is_in_flight_is_not_given_again(store: SqliteStore) -> None:
    """Never two requests for one run: entries under way are left out, and do not use up the limit."""
    store.record(plan(*(started(key(n)) for n in range(1, 6))), T0)
    under_way = [entry.id for entry in starts(store, T0, 3)]
    assert [entry.start.key.job_id for entry in store.due("rest", EventKind.START, T0, 2, under_way)] == [
        4,
        5,
    ]
    store.record(plan(stopped(key(1))), T0)
    assert [entry.start.key.job_id for entry in store.due("rest", EventKind.START, T0, 9, under_way)] == [
        4,
        5,
    ]


DAY = 86400
EARLY, LATER, LAST = key(1, T0), key(1, T0 + 2 * DAY), key(1, T0 + 4 * DAY)


def due_keys(store: SqliteStore, now: float, *, newest_first: bool = False) -> list[RunKey]:
    """Return the runs whose start may be told now."""
    return [
        entry.start.key for entry in store.due("rest", EventKind.START, now, 10, newest_first=newest_first)
    ]


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("recorded", [(EARLY, LATER, LAST), (LAST, LATER, EARLY)])
def test_j1_runs_of_one_job_id_are_told_in_order_of_start(
    store: SqliteStore, recorded: tuple[RunKey, ...], newest_first: bool
) -> None:
    """From either end of the queue and whatever was written down first; another job does not wait."""
    store.record(plan(started(key(2)), *map(started, recorded)), T0)
    for run in (EARLY, LATER, LAST):
        assert set(due_keys(store, T0, newest_first=newest_first)) - {key(2)} == {run}
        (entry,) = [entry for entry in starts(store, T0) if entry.start.key == run]
        assert set(due_keys(store, T0, newest_first=newest_first)) - {key(2)} == {run}, (
            "not while it is in flight"
        )
        settle(store, [entry], Delivered(T0, T0, "ok"), T0)


@pytest.mark.parametrize("end", [DeadLetter("http_400", ""), "dropped"])
def test_j1_a_run_that_is_given_up_keeps_no_later_one_waiting(
    store: SqliteStore, end: DeadLetter | str
) -> None:
    """By the sink or by an operator; tried again it goes first."""
    store.record(plan(started(EARLY), started(LATER)), T0)
    (entry,) = starts(store, T0)
    if isinstance(end, DeadLetter):
        settle(store, [entry], end, T0)
    else:
        store.drop([entry.id])
    assert due_keys(store, T0) == [LATER]
    if isinstance(end, DeadLetter):
        store.retry([entry.id], T0)
        assert due_keys(store, T0) == [EARLY]


@pytest.mark.parametrize("failure", [Park(T0 + 2000, "no_subcluster", ""), Retry(T0 + 300, "http_500", "")])
def test_j1_a_run_that_fails_keeps_a_later_one_waiting_for_an_hour_at_most(
    store: SqliteStore, failure: Park | Retry
) -> None:
    """Then the later one, which may be running, is shown, though the earlier may be rejected for it."""
    store.record(plan(started(EARLY), started(LATER)), T0)
    settle(store, starts(store, T0), failure, T0)
    assert due_keys(store, T0) == []
    assert store.next_due_at("rest", EventKind.START, T0) == failure.at, (
        "not at once, which would be a busy loop"
    )
    assert due_keys(store, T0 + outbox.PATIENCE_S - 1) == [EARLY]
    assert set(due_keys(store, T0 + outbox.PATIENCE_S)) == {EARLY, LATER}
    assert store.next_due_at("rest", EventKind.START, T0 + outbox.PATIENCE_S) == T0


def test_j1_an_outage_of_the_sink_does_not_use_up_that_hour(store: SqliteStore) -> None:
    """A backlog of days is told in order, too: what is charged to no entry is no failure of the earlier run."""
    store.record(plan(started(EARLY), started(LATER)), T0)
    settle(store, starts(store, T0), Retry(T0, "unreachable", "", charged=False), T0)
    assert due_keys(store, T0 + 9 * DAY) == [EARLY]


def test_j1_a_start_that_is_sent_again_goes_before_later_runs(store: SqliteStore) -> None:
    """The backend lost it: what has not been told of the later run waits for it."""
    store.record(plan(started(EARLY), stopped(EARLY)), T0)
    tell_starts(store, T0)
    store.record(plan(started(LATER)), T0)
    assert due_keys(store, T0) == [LATER]
    settle(store, stops(store, T0), ResendStart(T0, "start_missing"), T0)
    assert due_keys(store, T0) == [EARLY]


def test_j5_runs_of_another_cluster_or_sink_and_stops_do_not_wait(directory: Path) -> None:
    """Only a start waits, and only for a start of the very same job that the same sink is still to be told of."""
    store = opened(directory, "rest", "file")
    foreign = key(1, T0 + DAY, cluster="beta")
    store.record(plan(started(EARLY), started(LATER), stopped(EARLY), stopped(LATER)), T0)
    store.record(plan(started(foreign), cluster="beta"), T0)
    assert set(due_keys(store, T0)) == {EARLY, foreign}
    tell_starts(store, T0, sink="file")
    tell_starts(store, T0, sink="file")
    assert {entry.start.key for entry in stops(store, T0, sink="file")} == {EARLY, LATER}
    assert set(due_keys(store, T0)) == {EARLY, foreign}
    store.close()


def test_what_waits_for_its_turn_costs_the_newer_end_of_the_queue_little(store: SqliteStore) -> None:
    """Thousands of later runs at that end are not read over each time: what the database does stays the same."""
    runs = range(1, 4001)
    store.record(plan(*(started(key(n)) for n in runs)), T0)
    before = steps_of(store, newest_first=True)
    store.record(plan(*(started(key(n, T0 + DAY)) for n in runs)), T0 + 1)
    assert len(store.due("rest", EventKind.START, T0 + 1, 32, newest_first=True)) == 32
    assert steps_of(store, newest_first=True) < 3 * before
    assert steps_of(store, newest_first=False) < 3 * before


def steps_of(store: SqliteStore, *, newest_first: bool) -> int:
    """Return how many hundred steps SQLite's machine makes for one look into the queue."""
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    store._db._con.set_progress_handler(step, 100)
    store.due("rest", EventKind.START, T0 + 1, 32, newest_first=newest_first)
    store._db._con.set_progress_handler(None, 0)
    return count


def test_charged_retries_count_and_uncharged_ones_do_not(store: SqliteStore) -> None:
    """H1, H8: a sink that is down is charged to nobody; a failed attempt is, until the step is settled."""
    store.record(plan(started(key(1)), stopped(key(1))), T0)
    settle(store, starts(store, T0, 1), Retry(T0 + 5, "http_500", "oops"), T0)
    assert starts(store, T0 + 4, 1) == []
    (entry,) = starts(store, T0 + 5, 1)
    assert entry.attempts == 1
    settle(store, [entry], Retry(T0 + 6, "refused", "down", charged=False), T0 + 5)
    (entry,) = starts(store, T0 + 6, 1)
    assert entry.attempts == 1
    settle(store, [entry], Delivered(T0 + 6, T0 + 6, "ok"), T0 + 6)
    (entry,) = stops(store, T0 + 6)
    assert (entry.kind, entry.attempts) == (EventKind.STOP, 0)


def test_a_parked_entry_comes_back_slowly_and_can_still_succeed(store: SqliteStore) -> None:
    """H8: parked is out of the way, not lost; an uncharged retry leaves it parked."""
    store.record(plan(started(key(1))), T0)
    settle(store, starts(store, T0, 1), Park(T0 + 3600, "no_subcluster", "n1 unknown"), T0)
    assert store.counts("rest").reasons == {("parked", "no_subcluster"): 1}
    (entry,) = starts(store, T0 + 3600, 1)
    settle(store, [entry], Retry(T0 + 3600, "down", "", charged=False), T0 + 3600)
    assert store.counts("rest").states == {"parked": 1}
    settle(store, starts(store, T0 + 3600, 1), Delivered(T0 + 3601, T0 + 3601, "ok"), T0 + 3601)
    assert store.counts("rest").states == {"idle": 1}


def test_h11_a_rewound_stop_sends_the_start_again_and_the_count_goes_on(store: SqliteStore) -> None:
    """The start is due again, then the stop; the stop's attempts survive, so that it has an end."""
    store.record(plan(started(key(1)), stopped(key(1))), T0)
    for rewinds in range(4):
        (start,) = starts(store, T0, 1)
        assert (start.kind, start.attempts, start.start_acknowledged_at) == (EventKind.START, 0, None)
        settle(store, [start], Delivered(T0, T0, "ok"), T0)
        (stop,) = stops(store, T0)
        assert (stop.kind, stop.attempts) == (EventKind.STOP, rewinds)
        settle(store, [stop], ResendStart(T0, "not_found"), T0)


def test_i2_a_dead_start_takes_its_stop_along_and_stays_with_its_reason(store: SqliteStore) -> None:
    """H7, I5: nothing more is tried of this run, also not when its stop comes; the next run goes at once."""
    store.record(plan(started(key(1)), started(key(2))), T0)
    first, second = starts(store, T0)
    store.settle([(first, DeadLetter("http_400", "unknown host")), (second, Delivered(T0, T0, "ok"))], T0)
    store.record(plan(stopped(key(1)), stopped(key(2))), T0)
    assert [entry.start.key for entry in stops(store, T0 + 9999)] == [key(2)]
    assert starts(store, T0 + 9999) == []
    (letter,) = store.list_deliveries("rest")
    assert (letter.key, letter.step, letter.state) == (key(1), EventKind.START, "dead")
    assert (letter.reason, letter.detail, letter.attempts) == ("http_400", "unknown host", 1)


def test_a_verdict_that_comes_twice_or_too_late_changes_nothing(store: SqliteStore) -> None:
    """Settling what was settled or dropped meanwhile neither skips a step nor brings anything back."""
    store.record(plan(started(key(1)), stopped(key(1)), started(key(2))), T0)
    first, second = starts(store, T0)
    store.drop([second.id])
    for _ in range(2):
        store.settle([(first, Delivered(T0, T0 + 9, "ok")), (second, Retry(T0, "http_500", ""))], T0)
    assert store.counts("rest").states == {"ready": 1, "dropped": 1}
    (stop,) = stops(store, T0 + 9)
    assert (stop.id, stop.kind) == (first.id, EventKind.STOP)


def test_i6_history_keeps_the_last_attempts_and_details_are_cut(store: SqliteStore) -> None:
    """What a sink says ten thousand times does not grow the store."""
    store.record(plan(started(key(1))), T0)
    for number in range(30):
        settle(store, starts(store, T0, 1), Retry(T0, f"r{number}", "\ud800x" * 9999), T0 + number)
    (letter,) = store.list_deliveries("rest", state="ready")
    assert [attempt[2] for attempt in letter.history] == [f"r{number}" for number in range(22, 30)]
    assert len(json.dumps(letter.history)) < 8 * 700
    assert (letter.failing_since, letter.attempts) == (T0, 30)


@pytest.mark.parametrize("table", ["started", "stopped"])
def test_d6_a_flipped_byte_in_a_body_is_never_sent(store: SqliteStore, table: str) -> None:
    """The CRC finds it: a dead letter with its reason, everybody else goes on, nothing crashes."""
    runs = [key(n) for n in range(1, 4)]
    store.record(plan(*map(started, runs), *map(stopped, runs)), T0)
    tell_starts(store)
    flip(store, table, run_id=2)
    assert [entry.start.key.job_id for entry in stops(store, T0)] == [1, 3]
    (letter,) = store.list_deliveries("rest")
    assert (letter.key, letter.reason) == (key(2), "damaged_record")
    assert store.counts("rest").reasons["dead", "damaged_record"] == 1
    (story,) = store.run_histories(2)
    assert (story.start is None) == (table == "started")


def test_d6_a_start_goes_out_though_the_record_of_its_stop_is_damaged(store: SqliteStore) -> None:
    """What can be told is told; the dead letter comes with the step that needs what is lost."""
    store.record(plan(started(key(1)), stopped(key(1))), T0)
    flip(store, "stopped", run_id=1)
    (entry,) = starts(store, T0)
    assert (entry.kind, entry.stop) == (EventKind.START, None)
    settle(store, [entry], Delivered(T0, T0, "ok"), T0)
    assert stops(store, T0) == []
    assert store.list_deliveries("rest")[0].step is EventKind.STOP


def test_d6_the_checksum_is_what_counts_not_whether_it_can_be_read(store: SqliteStore) -> None:
    """A body that reads well but is not what was written is not sent."""
    store.record(plan(started(key(1), name="written")), T0)
    body, _ = encode(running(key(1), name="changed"))
    store._db.write_relaxed(lambda con: con.execute("UPDATE started SET body = ?", (body,)))
    assert starts(store, T0) == []
    assert store.list_deliveries("rest")[0].reason == "damaged_record"


def test_d6_a_body_of_another_run_is_damage_too(store: SqliteStore) -> None:
    """A sound body in the wrong row is not sent as this run's."""
    store.record(plan(started(key(1)), started(key(2))), T0)
    swap = (
        "UPDATE started SET (body, crc) = (SELECT body, crc FROM started WHERE run_id = 1) WHERE run_id = 2"
    )
    store._db.write_relaxed(lambda con: con.execute(swap))
    assert [entry.start.key.job_id for entry in starts(store, T0)] == [1]
    assert store.list_deliveries("rest")[0].reason == "damaged_record"


def flip(store: SqliteStore, table: str, run_id: int) -> None:
    """Turn one bit in the middle of a body, as a dying disk does."""
    ((body,),) = store._db.rows(f"SELECT body FROM {table} WHERE run_id = ?", (run_id,))
    middle = len(body) // 2
    bad = body[:middle] + bytes([body[middle] ^ 4]) + body[middle + 1 :]
    sql = f"UPDATE {table} SET body = ? WHERE run_id = ?"
    store._db.write_relaxed(lambda con: con.execute(sql, (bad, run_id)))
