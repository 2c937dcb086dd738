from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from slurmsyncd.errors import StoreError
from slurmsyncd.model import EventKind, RunPhase
from tests.unit.store.builders import (
    T0,
    key,
    known,
    opened,
    plan,
    running,
    started,
    starts,
    stopped,
    tell_all,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from slurmsyncd.ports import Store
    from slurmsyncd.store import SqliteStore


def test_the_store_is_what_the_ports_promise(store: SqliteStore) -> None:
    """The rest of the daemon can use it as ``ports.Store`` (checked by mypy), and it starts out empty."""
    port: Store = store
    assert port.cursor("alpha") is None
    assert port.end_times("alpha", [1]) == {}
    assert port.changed_job_ids("alpha", ()) == frozenset()
    assert port.due("rest", EventKind.START, T0, 10) == []
    assert port.next_due_at("rest", EventKind.START, T0) is None


def test_recorded_runs_are_known_until_they_stop(store: SqliteStore) -> None:
    """Open runs are always given, stopped ones when they are asked for, other clusters' never."""
    one, two, again, other = key(1), key(2), key(2, T0 - 500), key(2, cluster="beta")
    ended_runs = (started(again), stopped(again), started(two), stopped(two))
    store.record(plan(started(one), *ended_runs, started(other)), T0)
    assert known(store, "alpha") == {one: RunPhase.STARTED}
    assert known(store, "alpha", [2, 3]) == {
        one: RunPhase.STARTED,
        two: RunPhase.STOPPED,
        again: RunPhase.STOPPED,
    }
    assert known(store, "beta") == {other: RunPhase.STARTED}


def test_what_runs_as_it_is_known_to_does_not_differ(store: SqliteStore) -> None:
    """What differs: gone, new, under another start, twice at once, and open though it runs again."""
    same, gone, moved, twice, again, over = (key(number) for number in range(1, 7))
    before = key(5, T0 - 100)
    open_ = map(started, (same, gone, moved, twice, before, again, over, key(8, cluster="beta")))
    store.record(plan(*open_, stopped(over)), T0)
    running = [(1, T0), (3, T0 + 9), (4, T0), (4, T0 + 9), (5, T0), (6, T0), (7, T0), (8, T0)]
    assert store.changed_job_ids("alpha", running) == {2, 3, 4, 5, 6, 7, 8}
    assert store.changed_job_ids("alpha", [(1, T0)]) == {2, 3, 4, 5}
    ends = {same: None, before: None, again: None, over: T0 + 60}
    assert store.end_times("alpha", [1, 5, 6, 7]) == ends


def test_record_counts_what_is_new(store: SqliteStore) -> None:
    """A repeated event changes nothing and is not counted."""
    events = (started(key(1)), stopped(key(1)), started(key(2)))
    assert store.record(plan(*events), T0) == 3
    assert store.record(plan(*events, stopped(key(2))), T0) == 1


def test_i3_a_repeated_event_leaves_the_frozen_body_alone(store: SqliteStore) -> None:
    """I3, J7: what was seen first is what is sent, whatever a later look shows of the run, say another user name."""
    store.record(plan(started(key(1), name="first")), T0)
    store.record(plan(started(key(1), name="second")), T0)
    (entry,) = starts(store, T0)
    assert entry.start == running(key(1), name="first")


def test_j1_j3_requeued_job_is_another_run(store: SqliteStore) -> None:
    """The same id with another start is a run of its own, with a delivery of its own."""
    store.record(plan(started(key(1, T0)), stopped(key(1, T0)), started(key(1, T0 + 100))), T0)
    assert known(store, "alpha") == {key(1, T0 + 100): RunPhase.STARTED}
    (story, again) = store.run_histories(1)
    assert (story.key.start_at, again.key.start_at) == (T0, T0 + 100)
    assert [each.deliveries[0].state for each in (story, again)] == ["ready", "ready"]


def test_cursor_moves_forward_only_unless_it_is_set(store: SqliteStore) -> None:
    """Z2: a plan never takes the position back; an operator can."""
    store.record(plan(cursor=500), T0)
    store.record(plan(cursor=400), T0)
    store.record(plan(), T0)
    assert store.cursor("alpha") == 500
    store.set_cursor("alpha", 300)
    assert store.cursor("alpha") == 300
    assert store.cursor("beta") is None


def test_i1_a_plan_that_cannot_be_recorded_leaves_nothing_behind(store: SqliteStore) -> None:
    """A stop of a run that never started is a bug: neither the other events nor the cursor are taken."""
    with pytest.raises(StoreError, match="never started"):
        store.record(plan(started(key(1)), stopped(key(2)), cursor=900), T0)
    assert known(store, "alpha") == {}
    assert store.cursor("alpha") is None
    assert starts(store, T0) == []


def test_everything_is_there_after_closing_and_opening(directory: Path) -> None:
    """Runs, cursor and what is due outlive the process."""
    first = opened(directory)
    first.record(plan(started(key(1)), started(key(2)), stopped(key(2)), cursor=7), T0)
    before = starts(first, T0)
    first.close()
    second = opened(directory)
    assert known(second, "alpha", [2]) == {key(1): RunPhase.STARTED, key(2): RunPhase.STOPPED}
    assert second.cursor("alpha") == 7
    assert starts(second, T0) == before
    second.close()


def test_a_new_sink_gets_the_runs_recorded_from_then_on(directory: Path) -> None:
    """A sink added later is told of later runs only; one taken away keeps what waits for it."""
    store = opened(directory, "rest")
    store.record(plan(started(key(1))), T0)
    store.close()
    store = opened(directory, "file")
    store.record(plan(stopped(key(1)), started(key(2))), T0)
    assert [entry.start.key for entry in starts(store, T0, sink="file")] == [key(2)]
    assert [entry.start.key for entry in starts(store, T0)] == [key(1)]
    assert store.sinks() == {"rest", "file"}
    store.set_sinks(["rest", "file"])
    store.record(plan(started(key(3))), T0)
    assert [entry.start.key for entry in starts(store, T0)] == [key(1), key(3)]
    store.close()


def test_i5_one_sink_does_not_move_with_another(directory: Path) -> None:
    """H26: what one sink was told says nothing about the other."""
    store = opened(directory, "rest", "file")
    store.record(plan(started(key(1)), stopped(key(1))), T0)
    tell_all(store, T0, sink="file")
    assert store.counts("file").states == {}
    assert len(starts(store, T0)) == 1
    store.close()


@pytest.mark.parametrize(
    "text",
    [
        lambda: "\ud800 half a pair",
        lambda: "\0\x1b[31m\n|'\"",
        lambda: "ü€🙂" * 40_000,
        lambda: "'; DROP TABLE run;--",
    ],
    ids=["surrogate", "control", "long", "sql"],
)
def test_s13_x5_hostile_text_is_kept_and_keeps_nobody_out(
    store: SqliteStore, text: Callable[[], str]
) -> None:
    """Any text of a user is taken in; only what UTF-8 cannot say is replaced."""
    store.record(plan(started(key(1), name=text()), started(key(2))), T0)
    first, second = starts(store, T0)
    assert first.start.name == text().encode("utf-8", "replace").decode()
    assert second.start == running(key(2))
