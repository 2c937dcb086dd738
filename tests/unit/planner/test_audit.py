"""The pure part: what is wrong with one run, from the sink's word, ours and Slurm's."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmsyncd.delivery import DeliverySummary, Discrepancy, RemoteState
from slurmsyncd.model import EventKind, Job, JobState, RunKey
from slurmsyncd.planner.audit import NOT_SENT, RunEvidence, find_discrepancy, needs_accounting
from slurmsyncd.store.audit_repairs import moved
from slurmsyncd.store.outbox import DeliveryRow
from tests.strategies import TIMES, jobs
from tests.unit.pipeline.audit.world import GRACE_S

NOW = 1_800_000_000.0
KEY = RunKey("alpha", 7, 1_799_990_000)
#: (step, state) that the store can hold.
PLACES = [
    *((EventKind.START, state) for state in ("ready", "parked", "dead", "dropped")),
    *((EventKind.STOP, state) for state in ("idle", "ready", "parked", "dead", "dropped", "done")),
]


def told(
    step: EventKind = EventKind.STOP, state: str = "idle", ago_s: float = 9000.0, reason: str = "accepted"
) -> DeliverySummary:
    return DeliverySummary(
        kind=step, state=state, since=NOW - ago_s, start_acknowledged_at=NOW - ago_s, reason=reason
    )


def seen(
    there: RemoteState, at: DeliverySummary | None, *rows: Job, key: RunKey = KEY, asked: bool = True
) -> RunEvidence:
    return RunEvidence(key=key, remote=there, asked_at=NOW, told=at, accounting=rows if asked else None)


def row(state: JobState, start_at: int = KEY.start_at, end_at: int | None = None) -> Job:
    return Job(key=replace(KEY, start_at=start_at), state=state, end_at=end_at)


def tolds() -> st.SearchStrategy[DeliverySummary | None]:
    ages = st.floats(-100.0, 10_000.0)
    made = st.builds(
        lambda place, since, acked, reason: DeliverySummary(
            kind=place[0],
            state=place[1],
            since=NOW - since,
            start_acknowledged_at=None if acked is None else NOW - acked,
            reason=reason,
        ),
        st.sampled_from(PLACES),
        ages,
        st.none() | ages,
        st.sampled_from(["accepted", "listed_already", NOT_SENT, "closed_wrongly"]),
    )
    return st.none() | made


def evidence() -> st.SearchStrategy[RunEvidence]:
    same_id = jobs().map(lambda job: replace(job, key=replace(job.key, job_id=KEY.job_id)))
    return st.builds(
        RunEvidence,
        key=st.builds(RunKey, st.just("alpha"), st.just(KEY.job_id), TIMES),
        remote=st.sampled_from(RemoteState),
        asked_at=st.just(NOW),
        told=tolds(),
        accounting=st.none() | st.lists(same_id, max_size=4).map(tuple),
        other_starts=st.just(()) | st.lists(TIMES, max_size=2).map(tuple),
    )


#: Where a run has to be still, for what was found to be repaired.
FOUND_AT = {
    Discrepancy.STOP_LOST: (EventKind.STOP, "done"),
    Discrepancy.START_LOST: (EventKind.STOP, "idle"),
    Discrepancy.RUN_LOST: (EventKind.STOP, "done"),
    Discrepancy.REJECTED_BUT_PRESENT: (EventKind.START, "dead"),
}

CASES = [
    # what the sink says, what was told, what Slurm says → what is wrong
    (RemoteState.RUNNING, told(state="done"), [], Discrepancy.STOP_LOST),
    (RemoteState.RUNNING, told(state="done", ago_s=-1.0), [], None),  # acknowledged while it was being asked
    (RemoteState.RUNNING, told(), [], None),
    (RemoteState.RUNNING, told(state="ready"), [], None),
    (RemoteState.RUNNING, told(state="dead"), [], None),  # its stop is a dead letter already
    (RemoteState.RUNNING, told(state="dropped"), [], None),  # the operator's word
    (RemoteState.RUNNING, told(EventKind.START, "dead"), [], Discrepancy.REJECTED_BUT_PRESENT),
    (RemoteState.RUNNING, told(EventKind.START, "parked"), [], None),
    (RemoteState.RUNNING, told(EventKind.START, "dropped"), [], None),
    (RemoteState.ABSENT, told(), [], Discrepancy.START_LOST),
    (RemoteState.ABSENT, told(ago_s=GRACE_S - 1), [], None),
    (RemoteState.ABSENT, told(reason=NOT_SENT), [], None),
    (RemoteState.ABSENT, told(state="ready"), [], None),  # its stop is on the way, and will say so
    (
        RemoteState.ABSENT,
        told(state="done"),
        [],
        Discrepancy.RUN_LOST,
    ),  # only looked up where publishing proves nothing
    (RemoteState.ABSENT, told(state="done", ago_s=GRACE_S - 1), [], None),
    (RemoteState.ABSENT, told(EventKind.START, "dead", reason="repeat_of_earlier_run"), [], None),
    (RemoteState.ABSENT, told(EventKind.START, "dropped", reason="repeat_of_earlier_run"), [], None),
    (
        RemoteState.RUNNING,
        told(EventKind.START, "dropped", reason="later_run_is_there"),
        [],
        Discrepancy.REJECTED_BUT_PRESENT,
    ),
    (RemoteState.RUNNING, told(EventKind.START, "dropped", reason="http_400"), [], None),
    (RemoteState.ABSENT, None, [], None),
    (RemoteState.ENDED, told(), [row(JobState.RUNNING)], Discrepancy.ENDED_TOO_EARLY),
    (RemoteState.ENDED, told(), [row(JobState.SUSPENDED)], Discrepancy.ENDED_TOO_EARLY),
    (RemoteState.ENDED, told(), [row(JobState.COMPLETED, end_at=KEY.start_at + 5)], None),
    (RemoteState.ENDED, told(), [row(JobState.RUNNING, KEY.start_at + 5000)], None),  # another run
    (RemoteState.ENDED, told(), [], None),
    (RemoteState.RUNNING, None, [row(JobState.RUNNING)], None),
    (RemoteState.RUNNING, None, [row(JobState.TIMEOUT, end_at=KEY.start_at + 5)], Discrepancy.UNREPORTED_RUN),
    (RemoteState.RUNNING, None, [row(JobState.COMPLETING, end_at=KEY.start_at + 5)], None),
    (RemoteState.RUNNING, None, [row(JobState.PENDING, 0)], Discrepancy.UNKNOWN_RUN),
    (RemoteState.RUNNING, None, [], Discrepancy.UNKNOWN_RUN),
    # a start that moved
    (
        RemoteState.RUNNING,
        None,
        [row(JobState.COMPLETED, KEY.start_at + 60, KEY.start_at + 90)],
        Discrepancy.UNREPORTED_RUN,
    ),
    (RemoteState.RUNNING, None, [row(JobState.RUNNING, KEY.start_at + 60)], None),
    # an earlier run that was over before this one began, and one of another age
    (
        RemoteState.RUNNING,
        None,
        [row(JobState.REQUEUED, KEY.start_at - 60, KEY.start_at - 1)],
        Discrepancy.UNKNOWN_RUN,
    ),
    (RemoteState.RUNNING, None, [row(JobState.RUNNING, KEY.start_at + 90_000)], Discrepancy.UNKNOWN_RUN),
]


@pytest.mark.parametrize(("there", "at", "rows", "finding"), CASES)
def test_the_table(
    there: RemoteState, at: DeliverySummary | None, rows: list[Job], finding: Discrepancy | None
) -> None:
    """Each row of the table."""
    found = find_discrepancy(seen(there, at, *rows), grace_s=GRACE_S)
    assert (found.discrepancy if found else None) is finding


def test_without_an_answer_slurm_has_not_said_that_it_knows_nothing() -> None:
    """A question that was not answered leads to no report."""
    assert find_discrepancy(seen(RemoteState.RUNNING, None, asked=False), grace_s=GRACE_S) is None


def test_a_run_that_has_just_begun_may_be_news_to_accounting() -> None:
    """Within the grace slurmdbd need not know of it."""
    fresh = replace(KEY, start_at=int(NOW) - 10)
    assert find_discrepancy(seen(RemoteState.RUNNING, None, key=fresh), grace_s=GRACE_S) is None


@given(evidence(), st.floats(0.0, 1000.0))
def test_what_is_told_lately_is_never_doubted(case: RunEvidence, grace_s: float) -> None:
    """Absence within the grace proves nothing, whatever else is known (H22)."""
    found = find_discrepancy(case, grace_s=grace_s)
    if found is not None and found.discrepancy is Discrepancy.START_LOST:
        assert case.told is not None
        assert case.told.start_acknowledged_at is not None
        assert case.told.start_acknowledged_at < NOW - grace_s
    if found is not None and found.discrepancy is Discrepancy.RUN_LOST:
        assert case.told is not None
        assert case.told.since < NOW - grace_s


@given(evidence())
def test_only_slurm_ends_a_run(case: RunEvidence) -> None:
    """A stop is given to a stranger only with an end of accounting's, at or after its start, under its own key."""
    found = find_discrepancy(case, grace_s=GRACE_S)
    if found is not None and found.ended is not None:
        assert found.discrepancy is Discrepancy.UNREPORTED_RUN
        assert found.ended.key == case.key
        assert case.accounting is not None
        assert found.ended.end_at in {row.end_at for row in case.accounting}
        assert found.ended.end_at is not None
        assert found.ended.state.is_final or found.ended.state is JobState.UNKNOWN


@given(evidence())
def test_a_finding_agrees_with_what_the_sink_shows(case: RunEvidence) -> None:
    """Nothing is started that is there, and nothing stopped or reported that is not."""
    found = find_discrepancy(case, grace_s=GRACE_S)
    if found is not None:
        if found.discrepancy in (Discrepancy.START_LOST, Discrepancy.RUN_LOST):
            assert case.remote is RemoteState.ABSENT
        else:
            closed = found.discrepancy is Discrepancy.ENDED_TOO_EARLY
            assert case.remote is (RemoteState.ENDED if closed else RemoteState.RUNNING)


@given(evidence())
def test_without_slurm_nothing_is_found_that_needs_it(case: RunEvidence) -> None:
    """What can be judged without accounting is judged the same with it."""
    alone = find_discrepancy(replace(case, accounting=None), grace_s=GRACE_S)
    if alone is not None or not needs_accounting(case.remote, case.told):
        assert find_discrepancy(case, grace_s=GRACE_S) == alone


@given(
    st.sampled_from(PLACES),
    st.sampled_from(list(FOUND_AT)),
    st.booleans(),
)
def test_a_repair_leads_to_a_place_that_the_store_allows_and_is_done_once(
    place: tuple[EventKind, str], finding: Discrepancy, ended: bool
) -> None:
    """Due exactly if it waits for the sink; what has moved on is left alone; doing it again changes nothing."""
    step, state = place
    at = DeliveryRow(
        step.value,
        state,
        1.0 if state in ("ready", "parked") else None,
        0.0,
        3,
        4,
        1.0,
        2.0,
        1.0,
        "",
        "",
        "[]",
    )
    to = moved(at, finding, ended=ended, now=NOW)
    assert (to is not None) == (place == FOUND_AT[finding])
    if to is None:
        return
    assert (to.due_at is not None) == (to.state in ("ready", "parked"))
    assert (to.state, to.step) != (at.state, at.step)
    assert finding.value in to.history
    assert moved(to, finding, ended=ended, now=NOW) is None
