"""The planner, case by case. What happens in combination is in test_reconcile_machine.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given

from slurmsyncd import planner as reconcile
from slurmsyncd.model import (
    Job,
    JobAnswers,
    JobQuestions,
    JobState,
    ListedJob,
    NodeAllocation,
    Notification,
    Observation,
    Plan,
    RunEnded,
    RunKey,
    RunStarted,
    Trigger,
)
from tests.fakes import CLUSTER, NOW
from tests.strategies import jobs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurmsyncd.planner import Known

T0 = NOW - 1000
FLOOR = NOW - 7 * 86400
HELD = (NodeAllocation("n1", ((0, 1),)),)


def key(job_id: int = 1, start_at: int = T0) -> RunKey:
    return RunKey(CLUSTER, job_id, start_at)


def job(
    job_id: int = 1,
    start_at: int = T0,
    state: JobState = JobState.RUNNING,
    end_at: int | None = None,
    **more: Any,
) -> Job:
    return Job(key=key(job_id, start_at), state=state, end_at=end_at, **more)


def done(
    job_id: int = 1,
    start_at: int = T0,
    end_at: int = NOW - 10,
    state: JobState = JobState.COMPLETED,
    **more: Any,
) -> Job:
    return job(job_id, start_at, state, end_at, **more)


def seen(
    listed: Sequence[ListedJob] | None = None, finished: Sequence[Job] = (), through: int | None = NOW
) -> Observation:
    return Observation(
        cluster=CLUSTER,
        observed_at=NOW,
        job_list=None if listed is None else tuple(listed),
        ended_runs=tuple(finished),
        accounting_read_until=through,
    )


def listed(job_id: int = 1, start_at: int = T0, state: JobState = JobState.RUNNING) -> ListedJob:
    return ListedJob(job_id, state, start_at)


def ask(look: Observation, known: Known | None = None, **more: Any) -> JobQuestions:
    return reconcile.questions(look, known or {}, **more)


def judge(
    look: Observation,
    known: Known | None = None,
    *,
    details: Sequence[Job] | None = (),
    rows: Sequence[Job] | None = (),
    asked: JobQuestions | None = None,
    **more: Any,
) -> Plan:
    """Plan a look whose questions are answered by ``details`` and ``rows``."""
    known = known or {}
    asked = asked or reconcile.questions(look, known, **more)
    answers = JobAnswers(
        details=None if details is None else tuple(details), accounting=None if rows is None else tuple(rows)
    )
    return reconcile.plan(look, asked, answers, known, floor=FLOOR, trigger=Trigger.POLL)


def starts(plan: Plan) -> list[Job]:
    return [event.job for event in plan.events if isinstance(event, RunStarted)]


def stops(plan: Plan) -> list[Job]:
    return [event.job for event in plan.events if isinstance(event, RunEnded)]


class TestNothingIsConcludedFromAbsence:
    @pytest.mark.parametrize("listing", [None, (), (listed(2),)])
    def test_s2_s3_a_run_that_is_not_listed_is_never_stopped(
        self, listing: Sequence[ListedJob] | None
    ) -> None:
        """Neither no listing, nor an empty or partial one, ends a run."""
        plan = judge(seen(listing), {key(): None}, rows=None)
        assert stops(plan) == []

    def test_s3_an_empty_listing_leads_to_a_question_for_each_open_run(self) -> None:
        """What is gone is asked for by id."""
        assert ask(seen(()), {key(1): None, key(2): None}).accounting == {1, 2}

    def test_s2_without_a_listing_nothing_is_asked_for_as_gone(self) -> None:
        """No answer is no reason to ask for everything."""
        assert not ask(seen(None), {key(1): None})

    def test_s27_a_run_that_nobody_knows_any_more_stays_open(self) -> None:
        """Not listed, no rows: asked again at each poll, never closed by guess."""
        plan = judge(seen(()), {key(): None}, rows=())
        assert plan.events == ()

    @pytest.mark.parametrize(
        ("look", "rows", "missing"),
        [
            (seen(()), [], {1}),
            (seen([ListedJob(1, JobState.PENDING, None)]), [], {1}),
            (seen(()), [job(1, T0 - 2 * reconcile.MOVE_LIMIT_S)], {1}),
            (seen(()), [job(1, T0 + 60)], set()),
            (seen(()), [job()], set()),
            (seen([listed(1, T0 + 60)]), [], set()),
            (seen([listed()]), [], set()),
            (seen(None), [], None),
            (seen(()), None, None),
            (seen((), through=None), [], None),
            (seen((), through=NOW - 1), [], None),
        ],
    )
    def test_s27_what_is_unknown_to_slurm_is_told_apart(
        self, look: Observation, rows: Sequence[Job] | None, missing: set[int] | None
    ) -> None:
        """Neither listed nor in accounting, as a run of about that start; unless one of them did not answer."""
        known: Known = {key(): None, key(2): NOW - 5}
        answers = JobAnswers(details=(), accounting=None if rows is None else tuple(rows))
        gone = reconcile.vanished(look, ask(look, known), answers, known, NOW)
        assert (None if gone is None else {each.job_id for each in gone}) == missing

    def test_a_run_that_is_gone_while_accounting_still_says_running_stays_open(self) -> None:
        """slurmdbd may be behind."""
        assert judge(seen(()), {key(): None}, rows=[job()]).events == ()

    def test_what_is_gone_is_asked_for_while_catching_up(self) -> None:
        """A stop does not wait for windows that may take hours, or fail."""
        assert ask(seen(()), {key(): None}, caught_up=False).accounting == {1}

    def test_j2_while_catching_up_accounting_is_asked_for_what_is_about_to_be_announced(self) -> None:
        """An earlier run of the id, which ended in a window that was not read yet, is recorded before the later."""
        look = seen([listed(start_at=T0 + 400)], through=T0 - 86400)
        assert ask(look, caught_up=False).accounting == {1}
        rows = [done(end_at=T0 + 200, state=JobState.REQUEUED), job(start_at=T0 + 400)]
        shown = [job(start_at=T0 + 400, allocation=HELD)]
        plan = judge(look, details=shown, rows=rows, caught_up=False)
        told = [(type(event), event.job.key.start_at) for event in plan.events]
        assert told == [(RunStarted, T0), (RunEnded, T0), (RunStarted, T0 + 400)]

    @pytest.mark.parametrize("restarts", [0, 1])
    def test_j2_a_prolog_of_a_restarted_job_asks_accounting_for_its_earlier_runs(self, restarts: int) -> None:
        """The hint says that there was one, whether or not accounting was read up to now."""
        hint = Notification(CLUSTER, 1, "prolog", restarts)
        asked = ask(seen(None, through=None), hints=[hint])
        assert asked.details == {1}
        assert sorted(asked.accounting) == [1] * restarts


class TestStarting:
    def test_a_new_run_is_announced_with_its_allocation(self) -> None:
        """Listed, asked for, told."""
        look = seen([listed()])
        assert ask(look).details == {1}
        (start,) = starts(judge(look, details=[job(allocation=HELD)]))
        assert start.allocation == HELD

    def test_a_known_run_leads_to_no_question_and_no_event(self) -> None:
        """The idle cycle asks nothing by id."""
        look = seen([listed()], [done(2)])
        assert not ask(look, {key(): None, key(2): NOW - 10})
        assert judge(look, {key(): None, key(2): NOW - 10}).events == ()

    def test_s23_what_never_started_is_no_run(self) -> None:
        """Pending, or cancelled while pending: slurmctld gives the latter a start, but no nodes."""
        look = seen([ListedJob(1, JobState.PENDING, None), listed(2, NOW, JobState.CANCELLED)])
        cancelled = job(2, NOW, JobState.CANCELLED, NOW)
        assert judge(look, details=[cancelled]).events == ()

    def test_s16_an_unknown_word_is_neither_a_start_nor_an_end(self) -> None:
        """It is asked for, held back, and told once accounting gives the run an end."""
        look = seen([listed(state=JobState.UNKNOWN)])
        assert ask(look).accounting == {1}
        unknown = job(state=JobState.UNKNOWN, allocation=HELD)
        assert judge(look, details=[unknown], rows=[job(state=JobState.UNKNOWN)]).events == ()
        plan = judge(look, details=[unknown], rows=[done(state=JobState.UNKNOWN)])
        assert (len(starts(plan)), len(stops(plan))) == (1, 1)

    def test_s16_an_open_run_with_an_unknown_word_is_asked_for(self) -> None:
        """The controller's word is not understood, so accounting has to say."""
        assert ask(seen([listed(state=JobState.UNKNOWN)]), {key(): None}).accounting == {1}

    def test_details_without_an_answer_wait_for_the_next_look(self) -> None:
        """The allocation is worth waiting for."""
        assert judge(seen([listed()]), details=None).events == ()

    def test_s14_unreadable_details_are_asked_again_and_then_done_without(self) -> None:
        """The second look announces from accounting what the controller cannot show."""
        look = seen([listed()])
        first = judge(look)
        assert not first.events
        assert first.rechecks == {1}
        between = judge(seen(None, through=None), rows=[job()], recheck=first.rechecks)
        assert not between.events, "an empty answer alone is no fact"
        assert between.rechecks == {1}
        (start,) = starts(judge(look, rows=[job()], recheck=between.rechecks))
        assert start.allocation is None

    def test_a_run_seen_after_its_end_is_announced_while_its_cores_are_known(self) -> None:
        """Accounting is behind, the controller still remembers: captured on sight, stopped later."""
        look = seen([listed(state=JobState.COMPLETED)])
        plan = judge(look, details=[done(allocation=HELD)])
        assert [start.allocation for start in starts(plan)] == [HELD]
        assert stops(plan) == []
        assert len(stops(judge(seen((), [done()]), {key(): None}))) == 1

    def test_s24_a_run_that_came_and_went_is_told_from_accounting(self) -> None:
        """Start and stop at once, in this order; the controller's memory completes them."""
        look = seen([listed(state=JobState.COMPLETED)], [done(user="ada")])
        plan = judge(look, details=[done(allocation=HELD, user="")])
        assert [type(event) for event in plan.events] == [RunStarted, RunEnded]
        assert (starts(plan)[0].allocation, starts(plan)[0].user) == (HELD, "ada")

    def test_s25_without_the_controllers_memory_it_is_told_without_cores(self) -> None:
        """MinJobAge is over: hosts from accounting are what is left."""
        (start,) = starts(judge(seen((), [done(nodes=("n1",))])))
        assert (start.nodes, start.allocation) == (("n1",), None)

    def test_a_completing_run_is_announced_once_accounting_has_it(self) -> None:
        """A job that is being requeued may show as COMPLETING under a start that never happens."""
        look = seen([listed(state=JobState.COMPLETING)])
        shown = [job(state=JobState.COMPLETING, end_at=NOW - 10, allocation=HELD)]
        assert ask(look).accounting == {1}
        waiting = judge(look, details=shown, rows=[done(start_at=T0 - 500, end_at=T0)])
        assert [start.key for start in starts(waiting)] == [key(1, T0 - 500)]
        assert waiting.rechecks == {1}
        assert len(starts(judge(look, details=shown, rows=[job()]))) == 1

    def test_j6_a_suspended_run_is_one_run(self) -> None:
        """Suspended and resumed: nothing to tell."""
        assert not ask(seen([listed(state=JobState.SUSPENDED)]), {key(): None})

    def test_s21_an_array_of_a_hundred_thousand_tasks(self) -> None:
        """Each task is a run, the one with the array's id too; a step that is quadratic would not end."""
        ids = range(1, 100_001)
        look = seen([listed(n) for n in ids])
        asked = ask(look)
        assert asked.details == set(ids)
        plan = judge(look, asked=asked, details=[job(n, allocation=HELD, array_job_id=100_000) for n in ids])
        assert [each.key.job_id for each in starts(plan)] == list(ids)
        known: Known = dict.fromkeys((key(n) for n in ids), None)
        assert not ask(look, known)
        over = judge(seen((), [done(n) for n in ids]), known)
        assert len(stops(over)) == len(ids)
        assert over.rechecks == set()

    def test_s22_s21_many_new_runs_are_one_question(self) -> None:
        """An array of 10,000 tasks is asked for once."""
        look = seen([listed(n) for n in range(1, 10_001)])
        assert len(ask(look).details) == 10_000
        plan = judge(look, details=[job(n) for n in range(1, 10_001)])
        assert len({start.key for start in starts(plan)}) == 10_000


class TestEnding:
    @pytest.mark.parametrize("state", [s for s in JobState if s.is_final])
    def test_each_final_state_ends_a_run(self, state: JobState) -> None:
        """With accounting's state and end."""
        (stop,) = stops(judge(seen((), [done(state=state)]), {key(): None}))
        assert (stop.state, stop.end_at) == (state, NOW - 10)

    def test_a_state_without_an_end_ends_nothing(self) -> None:
        """Both are needed."""
        assert judge(seen((), [job(state=JobState.COMPLETED)]), {key(): None}).events == ()

    def test_completing_lingers_after_accounting_said_completed(self) -> None:
        """A slow epilog: the stopped run is not announced again."""
        look = seen([listed(state=JobState.COMPLETING)], [done()])
        assert not ask(look, {key(): NOW - 10})
        assert judge(look, {key(): NOW - 10}).events == ()

    def test_an_open_run_that_is_completing_is_asked_for(self) -> None:
        """COMPLETING may last for hours where a node is down; accounting knows the end at once."""
        assert ask(seen([listed(state=JobState.COMPLETING)]), {key(): None}).accounting == {1}

    def test_z6_overlapping_windows_show_a_row_again_and_nothing_happens(self) -> None:
        """Also for a run whose start moved, which is known under the other start."""
        again = seen((), [done(start_at=T0 + 300)])
        assert judge(again, {key(): NOW - 10}).events == ()

    @pytest.mark.parametrize("end_at", [T0 - 5, T0, NOW + 5000])
    def test_s26_an_odd_end_is_passed_on_as_it_is(self, end_at: int) -> None:
        """Stop before start, at the start, in the future: the sink refuses by name, the planner loses nothing."""
        plan = judge(seen((), [done(end_at=end_at)]), {key(): None})
        assert [stop.end_at for stop in stops(plan)] == [end_at]

    def test_s20_of_two_records_of_one_run_the_later_counts(self) -> None:
        """One that is not over wins: nothing that may run is stopped."""
        asked = JobQuestions(accounting=frozenset({1}))
        rows = [done(restarts=0), job(restarts=1)]
        assert judge(seen(()), {key(): None}, rows=rows, asked=asked).events == ()

    def test_s20_two_runs_of_one_id_in_one_document_are_two_runs(self) -> None:
        """Their starts differ."""
        plan = judge(seen((), [done(end_at=T0 + 50), done(start_at=T0 + 200)]))
        assert [event.job.key.start_at for event in plan.events] == [T0, T0, T0 + 200, T0 + 200]

    def test_j5_a_row_of_an_id_that_was_not_asked_for_is_left_alone(self) -> None:
        """Of other ids not all known runs are at hand."""
        asked = JobQuestions(accounting=frozenset({1}), details=frozenset({1}))
        plan = judge(seen(()), rows=[done(2)], details=[job(3, allocation=HELD)], asked=asked)
        assert plan.events == ()


class TestTheSameIdAgain:
    def test_j1_a_later_run_whose_row_comes_first_does_not_end_the_earlier_one(self) -> None:
        """It was submitted after the earlier one began, so it is no moved start of that, whatever is asked."""
        later = done(start_at=T0 + 500, end_at=NOW - 10, submit_at=T0 + 200)
        look, known = seen((), [later]), {key(): None}
        for rows in (None, [later]):
            plan = judge(look, known, rows=rows)
            assert [event.job.key.start_at for event in plan.events] == [T0 + 500, T0 + 500]

    @pytest.mark.parametrize("hours", [0.1, 2, 30])
    def test_j4_a_start_may_move_by_hours_while_nodes_boot(self, hours: float) -> None:
        """Accounting has this start alone, and it was submitted before: one run, listed or ended."""
        start_at, known = T0 + int(3600 * hours), {key(): None}
        look = seen([listed(start_at=start_at)])
        row = job(start_at=start_at, submit_at=T0 - 5)
        plan = judge(look, known, details=[job(start_at=start_at, allocation=HELD)], rows=[row])
        assert (plan.events, plan.moved_starts) == ((), ((key(1, start_at), key()),))
        over = done(start_at=start_at, end_at=start_at + 60, submit_at=T0 - 5)
        (stop,) = stops(judge(seen((), [over]), known, rows=[over]))
        assert (stop.key, stop.end_at) == (key(), start_at + 60)

    def test_j1_a_requeue_closes_the_first_run_with_its_own_end(self) -> None:
        """And announces the second with its own start."""
        look = seen([listed(start_at=T0 + 400)])
        assert ask(look, {key(): None}) == JobQuestions(details=frozenset({1}), accounting=frozenset({1}))
        rows = [done(end_at=T0 + 200, state=JobState.REQUEUED), job(start_at=T0 + 400)]
        plan = judge(look, {key(): None}, details=[job(start_at=T0 + 400, allocation=HELD)], rows=rows)
        assert [(stop.key, stop.end_at) for stop in stops(plan)] == [(key(), T0 + 200)]
        assert [start.key for start in starts(plan)] == [key(1, T0 + 400)]

    def test_j1_22_05_has_no_second_record_for_5_s_and_the_second_run_starts_at_once(self) -> None:
        """The first is over by accounting, so the second is another run, whatever accounting lacks."""
        look = seen([listed(start_at=T0 + 201)])
        rows = [done(end_at=T0 + 200, state=JobState.REQUEUED)]
        plan = judge(look, {key(): None}, details=[job(start_at=T0 + 201)], rows=rows)
        assert [start.key for start in starts(plan)] == [key(1, T0 + 201)]

    def test_j1_while_the_first_run_is_open_in_accounting_the_second_waits(self) -> None:
        """slurmdbd is behind: asked again, not guessed."""
        look = seen([listed(start_at=T0 + 400)])
        plan = judge(look, {key(): None}, details=[job(start_at=T0 + 400)], rows=[job()])
        assert not plan.events
        assert plan.rechecks == {1}

    @pytest.mark.parametrize("rows", [None, ()])
    def test_j1_without_accounting_the_second_run_waits(self, rows: Sequence[Job] | None) -> None:
        """Neither no answer nor an empty one tells a restart from a start that moved."""
        look = seen([listed(start_at=T0 + 400)])
        plan = judge(look, {key(): None}, details=[job(start_at=T0 + 400)], rows=rows)
        assert not plan.events
        assert plan.rechecks == {1}

    def test_an_earlier_run_does_not_end_a_later_one_that_accounting_lacks(self) -> None:
        """PrologSlurmctld on 22.05: the new run has no record yet, the old one's has just come up."""
        old = done(end_at=T0 + 200)
        asked = JobQuestions(accounting=frozenset({1}))
        plan = judge(
            seen([listed(start_at=T0 + 400)], [old]), {key(1, T0 + 400): None}, rows=[old], asked=asked
        )
        assert [stop.key for stop in stops(plan)] == [key()]

    def test_j3_an_ancient_namesake_is_not_told(self) -> None:
        """All runs of an id are answered, however old; what ended before the look-back is not ours."""
        ancient = done(start_at=FLOOR - 900, end_at=FLOOR - 1)
        plan = judge(seen(()), {key(): None}, rows=[ancient, job()])
        assert plan.events == ()

    def test_j3_an_ancient_namesake_in_the_controllers_memory_is_not_told(self) -> None:
        """Nor is one that slurmctld remembers beyond the look-back."""
        ancient = done(start_at=FLOOR - 900, end_at=FLOOR - 1, allocation=HELD)
        look = seen([listed(start_at=FLOOR - 900, state=JobState.COMPLETED)])
        assert judge(look, details=[ancient]).events == ()

    def test_j3_a_known_run_is_ended_however_old(self) -> None:
        """The look-back limits what is new, not what is owed."""
        ancient = done(start_at=FLOOR - 900, end_at=FLOOR - 1)
        assert len(stops(judge(seen(()), {ancient.key: None}, rows=[ancient]))) == 1

    def test_j3_after_a_database_reset_the_same_id_is_another_run(self) -> None:
        """Accounting has lost ours, and no start moves by days."""
        later = T0 + 86400
        look = seen([listed(start_at=later)])
        plan = judge(look, {key(): None}, details=[job(start_at=later)], rows=[job(start_at=later)])
        assert [start.key for start in starts(plan)] == [key(1, later)]
        ended = judge(seen((), [done(start_at=later, end_at=later + 5)]), {key(): None})
        assert [stop.key for stop in stops(ended)] == [key(1, later)]


class TestAStartThatMoves:
    def test_j4_a_moved_start_is_no_second_run(self) -> None:
        """Accounting has the new start and not ours: one run, and the key stays."""
        look = seen([listed(start_at=T0 + 300)])
        moved = job(start_at=T0 + 300)
        plan = judge(look, {key(): None}, details=[moved], rows=[moved])
        assert not plan.events
        assert plan.rechecks == frozenset()
        assert dict(plan.moved_starts) == {key(1, T0 + 300): key()}

    def test_j4_a_moved_start_is_asked_for_once(self) -> None:
        """A cluster whose nodes boot for each job is not asked for all its jobs at each poll."""
        look = seen([listed(start_at=T0 + 300)])
        assert not ask(look, {key(): None}, moved={key(1, T0 + 300): key()})

    def test_j4_a_moved_run_is_stopped_under_its_first_start(self) -> None:
        """With its own end, once accounting has shown that it has no run of that start."""
        row = done(start_at=T0 + 300)
        look = seen((), [row])
        (stop,) = stops(judge(look, {key(): None}, rows=[row]))
        assert (stop.key, stop.end_at) == (key(), NOW - 10)

    def test_j4_without_accounting_by_id_a_moved_end_waits(self) -> None:
        """The row may be of a run in between."""
        plan = judge(seen((), [done(start_at=T0 + 300)]), {key(): None}, rows=None)
        assert not plan.events
        assert plan.rechecks == {1}

    def test_j4_a_row_of_another_run_does_not_end_ours_if_accounting_has_ours(self) -> None:
        """The id ran again, and ours is still open there."""
        row = done(start_at=T0 + 300)
        plan = judge(seen((), [row]), {key(): None}, rows=[row, job()])
        assert [stop.key for stop in stops(plan)] == [row.key]

    def test_j4_moved_and_requeued(self) -> None:
        """The first run's row moved, the second is there too: each gets its own end."""
        rows = [done(start_at=T0 + 2, end_at=T0 + 300), done(start_at=T0 + 450)]
        plan = judge(seen(()), {key(): None}, rows=rows)
        assert [(stop.key.start_at, stop.end_at) for stop in stops(plan)] == [
            (T0, T0 + 300),
            (T0 + 450, NOW - 10),
        ]

    def test_j4_completing_lingers_under_the_moved_start(self) -> None:
        """Known to have ended under the first start; the same end tells."""
        look = seen([listed(start_at=T0 + 300, state=JobState.COMPLETING)])
        shown = job(start_at=T0 + 300, state=JobState.COMPLETING, end_at=NOW - 10)
        row = done(start_at=T0 + 300)
        assert judge(look, {key(): NOW - 10}, details=[shown], rows=[row]).events == ()

    def test_j4_details_that_are_a_moment_older_than_the_rows_are_no_second_run(self) -> None:
        """Shown as running when asked, over when accounting answered."""
        look = seen([listed(start_at=T0 + 300)])
        row = done(start_at=T0 + 300)
        plan = judge(look, {key(): None}, details=[job(start_at=T0 + 300)], rows=[row])
        assert [type(event) for event in plan.events] == [RunEnded]


class TestHints:
    def test_a_prolog_asks_the_controller_and_an_epilog_of_an_open_run_asks_accounting(self) -> None:
        """The cheapest question that answers."""
        hints = [Notification(CLUSTER, 1, "prolog"), Notification(CLUSTER, 2, "epilog")]
        asked = ask(seen(None), {key(2): None}, hints=hints)
        assert asked == JobQuestions(details=frozenset({1}), accounting=frozenset({2}))

    def test_k4_a_hint_of_an_unknown_job_is_harmless(self) -> None:
        """Asked for, nothing found, nothing told."""
        plan = judge(
            seen(None), hints=[Notification(CLUSTER, 99, "epilog"), Notification(CLUSTER, 98, "prolog")]
        )
        assert not plan.events
        assert plan.rechecks == frozenset()

    def test_k4_an_epilog_without_its_prolog_tells_the_whole_run(self) -> None:
        """The prolog's hint was lost, the job was short."""
        hint = Notification(CLUSTER, 1, "epilog")
        shown = job(state=JobState.COMPLETING, end_at=NOW - 10, allocation=HELD)
        plan = judge(seen(None), hints=[hint], details=[shown], rows=[done()])
        assert [type(event) for event in plan.events] == [RunStarted, RunEnded]
        assert starts(plan)[0].allocation == HELD

    def test_k4_an_epilog_is_open_until_its_stop_is_told(self) -> None:
        """Announced just now, but slurmdbd is behind with the end: asked again soon, not at the next poll."""
        hint = Notification(CLUSTER, 1, "epilog")
        shown = job(state=JobState.COMPLETING, end_at=NOW - 10)
        plan = judge(seen(None), hints=[hint], details=[shown], rows=[job()])
        assert reconcile.unsettled([hint], plan, {}) == {hint}
        ended = judge(seen(None), {key(): None}, hints=[hint], rows=[done()])
        assert reconcile.unsettled([hint], ended, {key(): None}) == frozenset()

    @pytest.mark.parametrize(
        ("context", "known", "left"),
        [
            ("prolog", {}, True),
            ("prolog", {key(): None}, False),
            ("prolog", {key(): NOW - 10}, True),  # a requeue's second run, perhaps
            ("epilog", {}, True),
            ("epilog", {key(): None}, True),
            ("epilog", {key(): NOW - 10}, False),
        ],
    )
    def test_k4_what_a_look_explains_of_a_hint(self, context: str, known: Known, left: bool) -> None:
        """A hint is open until what it announced is written down."""
        hint = Notification(CLUSTER, 1, context)
        assert reconcile.unsettled([hint], Plan(cluster=CLUSTER), known) == ({hint} if left else frozenset())

    def test_a_run_seen_by_hooks_alone_is_told_whole(self) -> None:
        """The listing never answers: prolog and epilog suffice."""
        begun = judge(seen(None), hints=[Notification(CLUSTER, 1, "prolog")], details=[job(allocation=HELD)])
        ended = judge(seen(None), {key(): None}, hints=[Notification(CLUSTER, 1, "epilog")], rows=[done()])
        assert (len(starts(begun)), len(stops(ended))) == (1, 1)


class TestMerging:
    @given(jobs(), jobs())
    def test_accounting_has_the_last_word_on_the_end_alone(self, row: Job, details: Job) -> None:
        """All else is the controller's, whose record is whole; the row fills its blanks."""
        merged = reconcile.merge_details(row, details)
        for name in ("key", "state", "end_at", "exit_code"):
            assert getattr(merged, name) == getattr(row, name)
        for name in ("user", "account", "nodes", "sharing", "time_limit_s", "allocation", "script"):
            assert getattr(merged, name) == (getattr(details, name) or getattr(row, name))

    def test_s24_a_row_whose_start_is_not_there_yet(self) -> None:
        """22.05 sends a short job's start after its end; the controller knew name, partition and nodes all along."""
        early = done(name="allocation", partition="", qos="Unknown", nodes=("n1",))
        shown = job(name='a "b"', partition="batch", qos="normal", nodes=("n1", "n2"))
        merged = reconcile.merge_details(early, shown)
        assert (merged.name, merged.partition, merged.qos) == ('a "b"', "batch", "normal")
        assert merged.nodes == ("n1", "n2")
        assert merged.end_at == early.end_at

    def test_task_0_of_an_array_stays_task_0(self) -> None:
        """Zero is a number, not a blank, where the controller has none."""
        assert reconcile.merge_details(job(array_task_id=0), job()).array_task_id == 0

    @given(jobs())
    def test_without_details_the_row_stays(self, row: Job) -> None:
        """Nothing to add."""
        assert reconcile.merge_details(row, None) == row


def test_planning_leaves_its_arguments_alone() -> None:
    """Pure: the known runs that were given are those that were given."""
    known: dict[RunKey, int | None] = {key(): None}
    judge(seen((), [done()]), known)
    assert known == {key(): None}
