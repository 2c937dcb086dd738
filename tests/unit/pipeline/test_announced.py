"""Starts and ends that polls saw and no hint announced."""

from __future__ import annotations

from dataclasses import replace

from slurmsyncd.model import Job, JobState, Notification, RunEnded, RunKey, RunStarted, Trigger
from slurmsyncd.pipeline.announced import SILENT_RUNS, HookRecord, NotificationMonitor

BEGUN = 1_700_000_000


def run(at: int, job_id: int = 7) -> Job:
    return Job(key=RunKey("alpha", job_id, at), state=JobState.RUNNING)


def started(at: int, trigger: Trigger = Trigger.POLL) -> RunStarted:
    return RunStarted(run(at), trigger)


def stopped(at: int, trigger: Trigger = Trigger.POLL) -> RunEnded:
    return RunEnded(replace(run(at - 60), state=JobState.COMPLETED, end_at=at), trigger)


def hint(context: str) -> Notification:
    return Notification("alpha", 7, context)


def of(announced: NotificationMonitor) -> tuple[HookRecord, HookRecord]:
    prolog, epilog = announced.hooks
    return prolog, epilog


def test_each_hook_is_judged_by_what_it_should_have_announced() -> None:
    """Starts are the prolog's, ends the epilog's; what a hint led to counts for neither."""
    announced = NotificationMonitor(BEGUN)
    announced.note([started(BEGUN + 1), started(BEGUN + 2), stopped(BEGUN + 3)])
    announced.note([started(BEGUN + 4, Trigger.HOOK), stopped(BEGUN + 5, Trigger.HOOK)])
    assert [hook.unannounced for hook in of(announced)] == [2, 1]


def test_what_began_and_ended_before_the_daemon_did_says_nothing() -> None:
    """A first start that catches up with a week, however long it takes, makes no hook silent."""
    announced = NotificationMonitor(BEGUN)
    announced.note([started(BEGUN - hour * 3600) for hour in range(168)])
    announced.note([stopped(BEGUN - hour * 3600) for hour in range(168)])
    assert [hook.unannounced for hook in of(announced)] == [0, 0]


def test_ends_that_accounting_has_late_are_those_of_a_time_in_which_hints_came() -> None:
    """After an outage of slurmdbd a poll sees all ends at once; their hints came when they ended."""
    announced = NotificationMonitor(BEGUN)
    announced.hear(hint("epilog"), BEGUN + 3600)
    announced.note([stopped(BEGUN + minute * 60) for minute in range(60)])
    assert of(announced)[1].unannounced == 0


def test_a_lost_hint_and_one_burst_of_them_are_no_silence() -> None:
    """Of a burst some hints may be lost, and a run or two at another time; the next hint ends the count."""
    announced = NotificationMonitor(BEGUN)
    announced.hear(hint("prolog"), BEGUN + 100)
    announced.note([started(BEGUN + 101)] * 500)
    announced.note([started(BEGUN + 1000), started(BEGUN + 2000)])
    prolog, _ = of(announced)
    prolog.expected = True
    assert (prolog.unannounced, prolog.silent) == (2, False)
    announced.hear(hint("prolog"), BEGUN + 3000)
    announced.note([started(BEGUN + 4000)] * (SILENT_RUNS - 1))
    assert not prolog.silent
    announced.note([started(BEGUN + 5000)])
    assert prolog.silent


def test_a_hook_that_is_not_expected_is_never_silent() -> None:
    """A site without hooks has nothing to worry about, whatever polls see."""
    announced = NotificationMonitor(BEGUN)
    announced.note([started(BEGUN + 1)] * 1000)
    assert [hook.suspect for hook in of(announced)] == [True, False]
    assert not any(hook.silent for hook in of(announced))


def test_one_hook_may_be_silent_beside_one_that_is_heard() -> None:
    """Before Slurm 23.11 a hook that a reconfigure added is off, though the other one runs."""
    announced = NotificationMonitor(BEGUN)
    for hook in announced.hooks:
        hook.expected = True
    for minute in range(1, 10):
        announced.hear(hint("epilog"), BEGUN + 60 * minute)
        announced.note([started(BEGUN + 60 * minute), stopped(BEGUN + 60 * minute)])
    assert [hook.silent for hook in of(announced)] == [True, False]
