"""Many runs that begin at once are taken in portion by portion, and come to the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from slurmsyncd.errors import SourceUnavailable
from slurmsyncd.model import (
    JobAnswers,
    JobQuestions,
    JobState,
    ListedJob,
    Notification,
    Observation,
    RunKey,
    RunPhase,
)
from slurmsyncd.planner import portions
from tests.fakes import CLUSTER, NOW
from tests.unit.pipeline.test_collect import Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from slurmsyncd.store import SqliteStore
    from tests.unit.pipeline.conftest import CountingThread

    Answering = Callable[[JobQuestions], JobAnswers]

PORTION = 10


@pytest.fixture
def stage(store: SqliteStore, thread: CountingThread) -> Stage:
    return Stage(store, thread, at_once=PORTION)


@pytest.mark.anyio
async def test_h25_s21_many_runs_at_once_are_asked_for_and_recorded_in_portions(stage: Stage) -> None:
    """Never more than a portion's records are in memory, each run is announced once, and it is one look."""
    for job_id in range(1, 36):
        stage.slurm.start(job_id)
    await stage.look()
    assert [len(asked.details) for asked in stage.slurm.asked] == [10, 10, 10, 5]
    assert [len(plan.events) for plan in stage.plans if plan.events] == [10, 10, 10, 5]
    assert stage.collector.tally.starts == 35
    assert stage.phases() == [RunPhase.STARTED.value] * 35
    assert stage.collector.tally.polls == 1
    await stage.look()
    assert stage.collector.tally.starts == 35


@pytest.mark.anyio
async def test_i1_s1_what_an_outage_keeps_from_being_asked_for_is_found_by_the_next_look(
    stage: Stage,
) -> None:
    """The portions before are written down; of the others nothing is concluded."""
    for job_id in range(1, 36):
        stage.slurm.start(job_id)
    answer, stage.slurm.answer = stage.slurm.answer, _failing_from(2, stage.slurm.answer)  # type: ignore[method-assign,assignment]
    await stage.look()
    assert stage.collector.tally.starts == 20
    assert stage.collector.tally.error == "nothing answers"
    stage.slurm.answer = answer  # type: ignore[method-assign]
    for run in stage.slurm.runs:  # and those that end meanwhile are found in accounting
        if run.job_id % 2:
            stage.slurm.now = stage.clock.at = NOW + 5
            stage.slurm.end(run)
    await stage.look()
    assert stage.collector.tally.starts == 35
    assert stage.phases() == [RunPhase.STOPPED.value, RunPhase.STARTED.value] * 17 + [RunPhase.STOPPED.value]


def _failing_from(number: int, answer: Answering) -> Answering:
    calls = iter(range(number))

    def ask(questions: JobQuestions) -> JobAnswers:
        if next(calls, None) is None:
            raise SourceUnavailable("nothing answers")
        return answer(questions)

    return ask


def test_i5_what_depends_on_accounting_or_a_hint_is_judged_with_the_whole_look() -> None:
    """Only runs that the listing alone shows are put off; everything else is asked for at once."""
    listed = tuple(ListedJob(job_id, JobState.RUNNING, NOW) for job_id in range(1, 31))
    seen = Observation(cluster=CLUSTER, observed_at=NOW, job_list=listed, accounting_read_until=NOW)
    asked = JobQuestions(
        details=frozenset(range(1, 31)), accounting=frozenset({28, 29, 99}), again=frozenset({28})
    )
    hints, known = [Notification(CLUSTER, 30, "prolog", 0)], {RunKey(CLUSTER, 29, NOW - 9): None}
    (whole, first), *others = portions(asked, seen, hints, PORTION, known=known)
    assert whole is seen
    assert first == JobQuestions(
        details=frozenset({*range(1, 11), 28, 29, 30}), accounting=asked.accounting, again=asked.again
    )
    assert [sorted(one.details) for _, one in others] == [list(range(11, 21)), list(range(21, 28))]
    assert not any(one.accounting for _, one in others)
    for part, _ in others:
        assert part.accounting_read_until is None
        assert {item.job_id for item in part.job_list or ()} == set(range(11, 28))
