from __future__ import annotations

from typing import TYPE_CHECKING

from slurmsyncd.delivery import DeadLetter, Delivered, Drop, Park, Retry
from slurmsyncd.model import EventKind, RunPhase
from slurmsyncd.store import outbox
from slurmsyncd.store import queries as desk
from tests.unit.store.builders import (
    T0,
    ended,
    key,
    known,
    opened,
    plan,
    running,
    settle,
    started,
    starts,
    stopped,
    stops,
    tell_all,
    tell_starts,
)

if TYPE_CHECKING:
    from pathlib import Path

    from slurmsyncd.store import SqliteStore


def test_i7_counts_tell_how_many_wait_and_why(store: SqliteStore) -> None:
    """By state, by reason of the last attempt, and since when the oldest waits; what is done is not counted."""
    assert (store.counts("rest").states, store.counts("rest").waiting_since) == ({}, None)
    store.record(plan(*(started(key(n)) for n in range(6)), stopped(key(5))), T0)
    first, second, third, fourth, fifth, sixth = starts(store, T0)
    store.settle(
        [
            (first, DeadLetter("http_400", "")),
            (second, DeadLetter("http_400", "")),
            (third, Park(T0 + 99, "no_subcluster", "")),
            (fourth, Retry(T0 + 9, "http_500", "")),
            (sixth, Delivered(T0, T0, "ok")),
        ],
        T0,
    )
    settle(store, stops(store, T0), Delivered(T0, T0, "ok"), T0)
    store.record(plan(started(key(9))), T0 + 50)
    counts = store.counts("rest")
    assert counts.states == {"ready": 3, "parked": 1, "dead": 2}
    assert counts.reasons["dead", "http_400"] == 2
    assert counts.reasons["parked", "no_subcluster"] == 1
    assert counts.reasons["ready", "http_500"] == 1
    assert counts.waiting_since == T0
    assert fifth.id in {letter.id for letter in store.list_deliveries(state="ready")}


def test_d14_dead_letters_are_listed_by_reason_retried_and_dropped(store: SqliteStore) -> None:
    """An operator finds them in pages, tries some again as if for the first time, and gives up others."""
    store.record(plan(*(started(key(n)) for n in range(5))), T0)
    for number, entry in enumerate(starts(store, T0)):
        settle(
            store, [entry], DeadLetter("http_400" if number < 3 else "bad_times", f"no {number}"), T0 + number
        )
    page = store.list_deliveries("rest", reason="http_400", limit=2)
    assert [letter.key.job_id for letter in page] == [0, 1]
    assert [letter.key.job_id for letter in store.list_deliveries(reason="http_400", after=page[-1].id)] == [
        2
    ]
    assert page[0].history == ((T0, "start", "http_400", "no 0"),)
    assert store.retry([letter.id for letter in page], T0 + 100) == 2
    assert [(entry.start.key.job_id, entry.attempts) for entry in starts(store, T0 + 100)] == [(0, 0), (1, 0)]
    assert store.drop([letter.id for letter in store.list_deliveries(reason="bad_times")]) == 2
    assert store.drop([12345]) == 0
    assert store.counts("rest").states == {"ready": 2, "dead": 1, "dropped": 2}


def test_what_the_requeue_policy_left_out_can_be_sent_after_all(store: SqliteStore) -> None:
    """Once the policy is another one; what an operator gave up stays given up."""
    store.record(plan(started(key(1))), T0)
    (entry,) = starts(store, T0)
    settle(store, [entry], Drop("repeat_of_earlier_run", "the backend has another"), T0)
    assert store.counts("rest").reasons == {("dropped", "repeat_of_earlier_run"): 1}
    assert store.retry([entry.id], T0) == 1
    assert starts(store, T0) == [entry]


def test_what_is_done_or_dropped_is_not_brought_back(store: SqliteStore) -> None:
    """Retrying goes for what waits or is dead, so that no run is sent again behind its end."""
    store.record(plan(started(key(1)), stopped(key(1)), started(key(2))), T0)
    ids = [entry.id for entry in starts(store, T0)]
    store.drop(ids[1:])
    tell_all(store, T0)
    assert store.retry(ids, T0) == 0
    assert (starts(store, T0 + 9), stops(store, T0 + 9)) == ([], [])


def test_runs_of_tells_the_story_of_a_job(directory: Path) -> None:
    """All runs of an id, oldest first, with their records, what made us look, and how far each sink is."""
    store = opened(directory, "rest", "file")
    first, second = key(7, T0), key(7, T0 + 500)
    store.record(plan(started(first), stopped(first)), T0 + 90)
    store.record(plan(started(second)), T0 + 510)
    tell_starts(store, T0 + 600)
    tell_starts(store, T0 + 600)
    one, two = store.run_histories(7)
    assert (one.key, one.phase, one.start, one.stop) == (
        first,
        RunPhase.STOPPED,
        running(first),
        ended(first),
    )
    assert (one.started_by, one.stopped_by, one.started_seen_at) == ("hook", "poll", T0 + 90)
    assert (two.key, two.phase, two.stop, two.stopped_seen_at) == (second, RunPhase.STARTED, None, None)
    assert [(each.sink, each.step, each.state) for each in one.deliveries] == [
        ("file", EventKind.START, "ready"),
        ("rest", EventKind.STOP, "ready"),
    ]
    assert [each.state for each in two.deliveries] == ["ready", "idle"]
    assert store.run_histories(8) == ()
    store.close()


def test_i6_j9_prune_forgets_only_what_is_settled_and_old(directory: Path) -> None:
    """Every sink has it, and its accounting is out of reach of every look back; in batches."""
    store = opened(directory, "rest", "file")
    old, still_running, told_to_one, fresh = [key(n) for n in range(1, 6)], key(6), key(7), key(8, T0 + 1000)
    store.record(plan(*map(started, old), started(still_running), *map(stopped, old)), T0)
    tell_all(store, T0)
    tell_all(store, T0, sink="file")
    store.record(plan(started(told_to_one), stopped(told_to_one)), T0)
    tell_all(store, T0)
    store.record(plan(started(fresh), stopped(fresh)), T0 + 1100)
    tell_all(store, T0 + 1100)
    assert [store.prune(T0 + 1200, keep_s=600, limit=3) for _ in range(3)] == [3, 2, 0]
    assert known(store, "alpha", range(10)) == {
        still_running: RunPhase.STARTED,
        told_to_one: RunPhase.STOPPED,
        fresh: RunPhase.STOPPED,
    }
    store.close()


def test_i2_prune_never_forgets_what_waits_or_is_dead(store: SqliteStore) -> None:
    """A run that one sink has not been told of stays, however old it is."""
    store.record(plan(*(started(key(n)) for n in range(3)), *(stopped(key(n)) for n in range(3))), T0)
    first, second, third = starts(store, T0)
    store.settle([(first, DeadLetter("http_400", "")), (second, Delivered(T0, T0, "ok"))], T0)
    assert store.prune(T0 + 10**9, keep_s=0) == 0
    store.drop([first.id, second.id, third.id])
    assert store.prune(T0 + 10**9, keep_s=0) == 3
    assert known(store, "alpha", range(3)) == {}


def test_a_run_is_kept_while_its_record_is_young_though_it_ended_long_ago(store: SqliteStore) -> None:
    """What a backfill wrote down today is not forgotten at once: the next look would take it for new."""
    store.record(plan(started(key(1)), stopped(key(1))), T0 + 10**6)
    tell_all(store, T0 + 10**6)
    assert store.prune(T0 + 10**6 + 10, keep_s=600) == 0


def test_a_run_is_kept_while_its_end_is_young_though_its_record_is_old(store: SqliteStore) -> None:
    """Our clock was behind when it was written down: accounting still shows it to the next look."""
    store.record(plan(started(key(1)), stopped(key(1), end_at=T0 + 1000)), T0)
    tell_all(store, T0)
    assert store.prune(T0 + 1500, keep_s=600) == 0
    assert store.prune(T0 + 1700, keep_s=600) == 1


def test_ids_of_forgotten_deliveries_are_not_used_again(store: SqliteStore) -> None:
    """A verdict that comes after the operator dropped the run, and it was forgotten, hits nobody."""
    store.record(plan(started(key(1)), stopped(key(1))), T0)
    (late,) = starts(store, T0)
    store.drop([late.id])
    assert store.prune(T0 + 10**6, keep_s=0) == 1
    store.record(plan(started(key(2))), T0)
    settle(store, [late], DeadLetter("http_400", ""), T0)
    assert store.counts("rest").states == {"ready": 1}


def test_z1_what_a_wrong_clock_put_off_for_years_is_brought_back(store: SqliteStore) -> None:
    """No wait is longer than a day: an instant further off came from a clock that was wrong."""
    store.record(plan(started(key(1)), started(key(2))), T0)
    late, soon = starts(store, T0)
    store.settle([(late, Retry(T0 + 10**8, "http_500", "")), (soon, Retry(T0 + 3600, "http_500", ""))], T0)
    store.prune(T0 + 10, keep_s=0)
    assert [entry.id for entry in starts(store, T0 + 10)] == [late.id]


def test_what_a_delivery_asks_is_found_by_index(store: SqliteStore) -> None:
    """What is asked at each step of a delivery never reads over the whole table."""
    values = {**outbox._turn("rest", EventKind.START, 0), "limit": 1, "window": 1}
    for sql in (*outbox._OLDEST.values(), *outbox._NEXT.values(), outbox._ENTRY, desk._COUNTS):
        given = (1,) * sql.count("?") or values
        steps = [row[3] for row in store._db.rows(f"EXPLAIN QUERY PLAN {sql}", given)]
        assert not [step for step in steps if step.startswith("SCAN") or "TEMP B-TREE FOR ORDER" in step], (
            steps
        )
    for sql in outbox._NEWEST.values():  # sorts the few ids of its window
        steps = [row[3] for row in store._db.rows(f"EXPLAIN QUERY PLAN {sql}", values)]
        assert [step for step in steps if step.startswith("SCAN")] == ["SCAN d"]
        assert any("delivery_due" in step for step in steps)
