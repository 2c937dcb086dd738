"""What became of a run, case by case."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmsyncd.commands.verify.compare import (
    REMEMBERED_S,
    KnownRange,
    RunStatus,
    find_stored,
    known_range,
    remedy,
    status_of,
    with_backend_state,
)
from slurmsyncd.delivery import (
    OVERTAKEN,
    REPEAT,
    REPLACED,
    DeliverySummary,
    Discrepancy,
    RemoteState,
    StoredRun,
)
from slurmsyncd.model import EventKind, Job, JobState, RunKey
from slurmsyncd.planner.audit import NOT_SENT
from slurmsyncd.planner.known_runs import MOVE_LIMIT_S

if TYPE_CHECKING:
    from collections.abc import Sequence

T0 = 1_700_000_000
SINK = "cc"
#: The daemon has read up to some time after the runs of these tests.
WITHIN = KnownRange(read_from=T0 + 20_000, known_from=T0 - 100_000)


def ran(start_at: int = T0, end_at: int | None = T0 + 60) -> Job:
    state = JobState.RUNNING if end_at is None else JobState.COMPLETED
    return Job(key=RunKey("alpha", 7, start_at), state=state, end_at=end_at)


def told(state: str = "done", step: EventKind = EventKind.STOP, reason: str = "accepted") -> DeliverySummary:
    return DeliverySummary(
        kind=step, state=state, since=T0 + 100, start_acknowledged_at=T0 + 50, reason=reason
    )


def written(
    start_at: int = T0, end_at: int | None = T0 + 60, told_: DeliverySummary | None = None
) -> StoredRun:
    told_ = told_ or told("done" if end_at is not None else "idle")
    return StoredRun(key=RunKey("alpha", 7, start_at), end_at=end_at, deliveries={SINK: told_})


ENDED = [
    ("both told", [written()], RunStatus.DELIVERED),
    ("its start waits", [written(told_=told("ready", EventKind.START))], RunStatus.WAITING),
    ("its stop waits", [written(told_=told("ready"))], RunStatus.WAITING),
    ("parked", [written(told_=told("parked", reason="no_subcluster"))], RunStatus.PARKED),
    ("dead", [written(told_=told("dead", EventKind.START, "http_400"))], RunStatus.DEAD),
    ("refused as a repeat", [written(told_=told("dead", EventKind.START, REPEAT))], RunStatus.REFUSED),
    ("left out as a repeat", [written(told_=told("dropped", EventKind.START, REPEAT))], RunStatus.REFUSED),
    ("refused for a later run", [written(told_=told("dead", EventKind.START, OVERTAKEN))], RunStatus.REFUSED),
    ("gave way to a requeue", [written(told_=told(reason=REPLACED))], RunStatus.REFUSED),
    ("on ignored hosts", [written(told_=told(reason=NOT_SENT))], RunStatus.IGNORED),
    ("dropped", [written(told_=told("dropped"))], RunStatus.DROPPED),
    ("known as running", [written(end_at=None)], RunStatus.UNREAD),
    (
        "known as running, its start waits",
        [written(end_at=None, told_=told("ready", EventKind.START))],
        RunStatus.WAITING,
    ),
    ("not written down", [], RunStatus.MISSING),
    ("another run of the id is", [written(T0 - 500, T0 - 400)], RunStatus.MISSING),
    ("the run after it is, and runs", [written(T0 + 120, None)], RunStatus.MISSING),
    ("its start moved", [written(T0 - 300)], RunStatus.DELIVERED),
    ("its start moved while it ran", [written(T0 - 300, None)], RunStatus.UNREAD),
    ("its start moved by hours", [written(T0 - 5 * 3600)], RunStatus.DELIVERED),
    ("the right one of two", [written(T0 - 500, T0 - 400, told("dead")), written()], RunStatus.DELIVERED),
    (
        "for another sink only",
        [StoredRun(key=RunKey("alpha", 7, T0), end_at=T0 + 60, deliveries={})],
        RunStatus.MISSING,
    ),
]

RUNNING = [
    ("told", [written(end_at=None)], RunStatus.DELIVERED),
    ("on ignored hosts", [written(end_at=None, told_=told("idle", reason=NOT_SENT))], RunStatus.IGNORED),
    ("its start waits", [written(end_at=None, told_=told("ready", EventKind.START))], RunStatus.WAITING),
    (
        "refused as a repeat",
        [written(end_at=None, told_=told("dead", EventKind.START, REPEAT))],
        RunStatus.REFUSED,
    ),
    ("its start moved", [written(T0 - 300, None)], RunStatus.DELIVERED),
    ("its earlier run is still open", [written(T0 - MOVE_LIMIT_S - 9, None)], RunStatus.UNREAD),
    ("its earlier run ended", [written(T0 - 500, T0 - 400)], RunStatus.MISSING),
    ("ended meanwhile", [written()], RunStatus.DELIVERED),
    ("not written down", [], RunStatus.MISSING),
]


@pytest.mark.parametrize(("known", "expected"), [case[1:] for case in ENDED], ids=[case[0] for case in ENDED])
def test_ended_runs(known: Sequence[StoredRun], expected: RunStatus) -> None:
    """What is written down of an ended run decides, under whatever start it was announced (J4)."""
    assert status_of(ran(), known, SINK, WITHIN) is expected


@pytest.mark.parametrize(
    ("known", "expected"), [case[1:] for case in RUNNING], ids=[case[0] for case in RUNNING]
)
def test_running_runs(known: Sequence[StoredRun], expected: RunStatus) -> None:
    """A running run is delivered once its start is told."""
    assert status_of(ran(end_at=None), known, SINK, WITHIN) is expected


@pytest.mark.parametrize(
    ("end_at", "expected"),
    [
        (WITHIN.read_from, RunStatus.UNREAD),
        (WITHIN.read_from - 1, RunStatus.MISSING),
        (WITHIN.known_from, RunStatus.MISSING),
        (WITHIN.known_from - 1, RunStatus.FORGOTTEN),
    ],
)
def test_only_what_the_daemon_has_passed_by_is_missing(end_at: int, expected: RunStatus) -> None:
    """What the next look reads is not missing, and of what is settled and old nothing need be known."""
    assert status_of(ran(end_at - 10, end_at), [], SINK, WITHIN) is expected


def test_a_run_that_has_just_begun_is_seen_by_the_next_look() -> None:
    """A run that began after the daemon's position is not missing yet."""
    assert status_of(ran(WITHIN.read_from, None), [], SINK, WITHIN) is RunStatus.UNREAD


@pytest.mark.parametrize(
    ("cursor", "read_from"),
    [
        (None, T0 - 1000),  # never looked: the whole look-back is read
        (T0 - 50, T0 - 150),
        (T0 + 50, T0 - 100),  # a clock that is a little ahead
        (T0 + 101, T0 - 1000),  # a clock that was wrong: all is read again
        (T0 - 5000, T0 - 1000),  # further back than the look-back the daemon does not go
    ],
)
def test_where_the_next_look_begins(cursor: int | None, read_from: int) -> None:
    """As the collector does: the position less the overlap, no further back than the look-back (Z1)."""
    found = known_range(cursor, T0, overlap_s=100, max_span_s=1000)
    assert found == KnownRange(read_from=read_from, known_from=T0 - 1000 - int(REMEMBERED_S))


CONFIRMED = [
    (RunStatus.DELIVERED, RemoteState.ENDED, told(), RunStatus.DELIVERED),
    (RunStatus.DELIVERED, RemoteState.ABSENT, told(), RunStatus.LOST),
    (RunStatus.DELIVERED, RemoteState.RUNNING, told(), RunStatus.LOST),
    (RunStatus.DELIVERED, RemoteState.RUNNING, told("idle"), RunStatus.DELIVERED),
    (RunStatus.DELIVERED, RemoteState.ABSENT, told("idle"), RunStatus.LOST),
    (RunStatus.DELIVERED, RemoteState.ENDED, told("idle"), RunStatus.LOST),
    (RunStatus.FORGOTTEN, RemoteState.ENDED, None, RunStatus.DELIVERED),
    (RunStatus.FORGOTTEN, RemoteState.ABSENT, None, RunStatus.MISSING),
    (RunStatus.FORGOTTEN, RemoteState.RUNNING, None, RunStatus.MISSING),
    (RunStatus.MISSING, RemoteState.ENDED, None, RunStatus.DELIVERED),
    (RunStatus.MISSING, RemoteState.ABSENT, None, RunStatus.MISSING),
    (RunStatus.WAITING, RemoteState.ABSENT, told("ready"), RunStatus.WAITING),
]


@pytest.mark.parametrize(("before", "there", "at", "after"), CONFIRMED)
def test_the_backend_has_the_last_word(
    before: RunStatus, there: RemoteState, at: DeliverySummary | None, after: RunStatus
) -> None:
    """What it was told and does not show is lost; what it shows as ended is there, whoever told it."""
    assert with_backend_state(before, there, at, asked_at=T0 + 5000, grace_s=300) is after


def test_within_the_grace_absence_proves_nothing() -> None:
    """A start that was acknowledged just now may wait for the backend's commit (H22)."""
    asked_at = told().start_acknowledged_at
    assert asked_at is not None
    found = with_backend_state(
        RunStatus.DELIVERED, RemoteState.ABSENT, told("idle"), asked_at=asked_at + 299, grace_s=300
    )
    assert found is RunStatus.DELIVERED


@pytest.mark.parametrize(
    ("at", "there", "finding"),
    [
        (None, None, Discrepancy.NOT_REPORTED),
        (told(), RemoteState.ABSENT, Discrepancy.RUN_LOST),
        (told(), RemoteState.RUNNING, Discrepancy.STOP_LOST),
        (told("idle"), RemoteState.ABSENT, Discrepancy.START_LOST),
        (told("idle"), RemoteState.ENDED, None),
        (told("ready"), RemoteState.ABSENT, None),
    ],
)
def test_what_is_sent_again(
    at: DeliverySummary | None, there: RemoteState | None, finding: Discrepancy | None
) -> None:
    """Only what the backend acknowledged and lost, or never heard of."""
    assert remedy(at, there) is finding


STARTS = st.integers(T0, T0 + 3 * MOVE_LIMIT_S)


@given(
    STARTS, st.integers(1, 5000), st.lists(st.tuples(STARTS, st.none() | st.integers(1, 5000)), max_size=4)
)
def test_what_is_found_is_the_run_or_may_be(
    start_at: int, ran_s: int, others: list[tuple[int, int | None]]
) -> None:
    """A run is found under its own start, the same end, or an open run that it overlaps; else it is not."""
    run = ran(start_at, start_at + ran_s)
    known = [written(at, None if s is None else at + s) for at, s in others]
    found = find_stored(run, known)
    same_start = [each for each in known if each.key.start_at == start_at]
    if same_start:
        assert found is not None
        assert found.key == run.key
    elif found is not None:
        assert abs(found.key.start_at - start_at) <= MOVE_LIMIT_S
        assert found.end_at in {None, run.end_at}
