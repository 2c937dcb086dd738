"""Dead letters that pile up: their records are bounded, their names are not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from slurmsyncd.control.delivery_requests import ListRunsWithoutBody, RestoreBodies
from slurmsyncd.delivery import DeadLetter
from tests.unit.store.builders import (
    CLUSTER,
    T0,
    ended,
    key,
    opened,
    plan,
    settle,
    started,
    starts,
    stopped,
    tell_all,
)

if TYPE_CHECKING:
    from pathlib import Path

    from slurmsyncd.store import SqliteStore

KEEP = 3


def records(store: SqliteStore) -> dict[int, tuple[bool, bool]]:
    """Return of which jobs start and stop can still be told."""
    runs = [store.run_histories(job_id)[0] for job_id in range(6)]
    return {run.key.job_id: (run.start is not None, run.stop is not None) for run in runs}


def bury(store: SqliteStore, sink: str = "rest") -> None:
    settle(store, starts(store, T0, sink=sink), DeadLetter("http_400", "no such thing"), T0)


def test_d15_i6_beyond_a_number_dead_letters_keep_name_and_reason_only(store: SqliteStore) -> None:
    """The oldest keep their records; each that goes is counted in a warning, and nothing is said twice."""
    runs = [key(n) for n in range(6)]
    store.record(plan(*map(started, runs), *map(stopped, runs)), T0)
    bury(store)
    with capture_logs() as logs:
        store.prune(T0, keep_s=0, keep=KEEP)
        store.prune(T0, keep_s=0, keep=KEEP)
    assert records(store) == {n: (n < KEEP, n < KEEP) for n in range(6)}
    assert [(line["event"], line["records_given_up"]) for line in logs] == [("dead_letters_pile_up", 6)]
    letters = store.list_deliveries()
    assert [(each.key, each.reason, each.detail) for each in letters] == [
        (run, "http_400", "no such thing") for run in runs
    ]
    assert all(len(each.history) == 1 for each in letters)


def test_d15_a_letter_without_its_record_is_never_sent_and_can_be_dropped(store: SqliteStore) -> None:
    """Tried again it is a dead letter as before, which says why; dropped it is forgotten like any other."""
    runs = [key(n) for n in range(6)]
    store.record(plan(*map(started, runs), *map(stopped, runs)), T0)
    bury(store)
    store.prune(T0, keep_s=0, keep=KEEP)
    ids = [letter.id for letter in store.list_deliveries()]
    store.retry(ids[-1:], T0)
    assert starts(store, T0) == []
    last = store.list_deliveries()[-1]
    assert (last.reason, last.history[0][2]) == ("damaged_record", "http_400")
    assert last.detail.endswith("given up, since there were too many dead letters")
    store.drop(ids)
    assert store.prune(T0 + 10**6, keep_s=0) == 6


@pytest.mark.parametrize("how", ["given up", "damaged"])
def test_d15_a_record_that_was_given_up_is_read_from_accounting_again_and_sent(
    store: SqliteStore, how: str
) -> None:
    """Also one that is damaged. A record that is sound stays as it was, with what only the controller knew."""
    runs = [key(n) for n in range(6)]
    store.record(plan(*map(started, runs), *map(stopped, runs)), T0)
    bury(store)
    if how == "given up":
        store.prune(T0, keep_s=0, keep=KEEP)
    else:
        spoil = "UPDATE {} SET crc = crc + 1 WHERE run_id > 3"
        store._db.write_relaxed(
            lambda con: [con.execute(spoil.format(name)) for name in ("started", "stopped")]
        )
    ids = tuple(letter.id for letter in store.list_deliveries())
    assert ListRunsWithoutBody(ids).run(store) == tuple(zip(ids[KEEP:], runs[KEEP:], strict=True))
    again = tuple(ended(run) for run in runs)
    assert RestoreBodies(cluster=CLUSTER, jobs=again).run(store) == 3
    assert ListRunsWithoutBody(ids).run(store) == ()
    assert store.retry(ids, T0) == 6
    sent = starts(store, T0)
    assert [entry.start.key for entry in sent] == runs
    assert [entry.start.allocation is not None for entry in sent] == [True] * 3 + [False] * 3
    assert all(entry.stop is not None for entry in sent)


def test_j4_a_run_whose_start_moved_is_refilled_under_its_first_one(store: SqliteStore) -> None:
    """Accounting has it under another start, with the same end; another run of the id is left alone."""
    first = key(1)
    store.record(plan(started(first), stopped(first, T0 + 60)), T0)
    bury(store)
    store.prune(T0, keep_s=0, keep=0)
    moved, other = ended(key(1, T0 + 5), end_at=T0 + 60), ended(key(1, T0 + 900), end_at=T0 + 990)
    assert RestoreBodies(cluster=CLUSTER, jobs=(other,)).run(store) == 0
    assert RestoreBodies(cluster=CLUSTER, jobs=(moved, other)).run(store) == 1
    (story,) = store.run_histories(1)
    assert story.start is not None
    assert story.start.key == first


def test_d15_i5_what_another_sink_is_still_to_be_told_is_kept(directory: Path) -> None:
    """A sink that refuses everything costs no other sink a run."""
    store = opened(directory, "rest", "file")
    runs = [key(n) for n in range(6)]
    store.record(plan(*map(started, runs), *map(stopped, runs)), T0)
    bury(store)
    store.prune(T0, keep_s=0, keep=KEEP)
    assert records(store) == dict.fromkeys(range(6), (True, True))
    tell_all(store, T0, sink="file")
    store.prune(T0, keep_s=0, keep=KEEP)
    assert records(store) == {n: (n < KEEP, n < KEEP) for n in range(6)}
    store.close()
