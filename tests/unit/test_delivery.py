"""What becomes of a delivery after an attempt."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from slurmsyncd.delivery import (
    DeadLetter,
    Delivered,
    DeliveryPolicy,
    Outcome,
    OutcomeKind,
    Park,
    ResendStart,
    Retry,
    Standing,
    Verdict,
    backoff,
    decide,
)
from slurmsyncd.model import EventKind, Job, JobState, OutboxEntry, RunKey

POLICY = DeliveryPolicy()
NOW = 1_700_000_000.0
DICE = st.floats(0, 1, exclude_max=True)


def entry(step: EventKind = EventKind.START, attempts: int = 0) -> OutboxEntry:
    run = Job(key=RunKey("demo", 1, 1_600_000_000), state=JobState.COMPLETED, end_at=1_600_000_060)
    return OutboxEntry(
        id=1, sink="cc", kind=step, start=run, stop=run if step is EventKind.STOP else None, attempts=attempts
    )


def verdict(
    result: OutcomeKind,
    *,
    step: EventKind = EventKind.START,
    attempts: int = 0,
    dice: float = 0.5,
    asked: float | None = None,
    standing: Standing = Standing.UNPROVEN,
    certain: bool = False,
) -> Verdict:
    outcome = Outcome(
        result=result, reason="why", detail="what was said", retry_after_s=asked, certain=certain
    )
    return decide(entry(step, attempts), outcome, POLICY, now=NOW, dice=dice, standing=standing)


@pytest.mark.parametrize("result", [OutcomeKind.ACCEPTED, OutcomeKind.ALREADY_DELIVERED])
def test_h24_the_stop_is_held_back_from_the_acknowledged_start(result: OutcomeKind) -> None:
    """A settled start lets its stop go only after the backend's commit interval and a margin."""
    assert verdict(result) == Delivered(at=NOW, next_at=NOW + POLICY.stop_hold_s, reason="why")


@pytest.mark.parametrize("result", [OutcomeKind.ACCEPTED, OutcomeKind.ALREADY_DELIVERED])
def test_a_settled_stop_is_the_end(result: OutcomeKind) -> None:
    """Nothing is held back after a stop."""
    assert verdict(result, step=EventKind.STOP) == Delivered(at=NOW, next_at=NOW, reason="why")


def test_h1_the_sinks_trouble_is_charged_to_no_entry() -> None:
    """An unreachable sink uses up no attempt, however many there were."""
    for attempts in (0, 100):
        assert verdict(OutcomeKind.SINK_UNAVAILABLE, attempts=attempts) == Retry(
            NOW, "why", "what was said", charged=False
        )


def test_h7_a_proven_rejection_is_a_dead_letter_with_its_reason() -> None:
    """The sink accepts others; or the record cannot be sent at all, or the run in its way was seen."""
    assert verdict(OutcomeKind.REJECTED, standing=Standing.PROVEN) == DeadLetter("why", "what was said")
    assert verdict(OutcomeKind.REJECTED, certain=True) == DeadLetter("why", "what was said")


def test_h7_a_rejection_that_nothing_proves_is_tried_for_a_day() -> None:
    """On an idle cluster nothing else is accepted: soon it is parked and so visible, in the end a dead letter."""
    kinds = [type(verdict(OutcomeKind.REJECTED, attempts=count)) for count in range(POLICY.dead_after)]
    parked = POLICY.dead_after - POLICY.park_rejected_after
    assert kinds == [Retry] * (POLICY.park_rejected_after - 1) + [Park] * parked + [DeadLetter]
    assert parked * POLICY.park_interval_s == pytest.approx(86400)


@pytest.mark.parametrize("result", [OutcomeKind.REJECTED, OutcomeKind.REJECTED_UNTIL_FIXED])
def test_h7_a_suspected_sink_charges_no_entry_and_makes_no_dead_letter(result: OutcomeKind) -> None:
    """However often it rejects an entry, that is tried again soon."""
    for attempts in (0, POLICY.park_after, 10 * POLICY.dead_after):
        found = verdict(result, attempts=attempts, standing=Standing.SUSPECTED)
        assert isinstance(found, Retry)
        assert not found.charged
        assert found.at - NOW <= POLICY.backoff_max_s


def test_what_an_admin_can_cure_is_parked() -> None:
    """It comes back within half an interval around the interval."""
    found = verdict(OutcomeKind.REJECTED_UNTIL_FIXED)
    assert isinstance(found, Park)
    assert found.at - NOW == pytest.approx(POLICY.park_interval_s)


@given(dice=DICE)
def test_parked_entries_come_back_spread(dice: float) -> None:
    """Entries parked at one moment do not come back as one burst."""
    found = verdict(OutcomeKind.REJECTED_UNTIL_FIXED, dice=dice)
    assert isinstance(found, Park)
    assert 0.75 * POLICY.park_interval_s <= found.at - NOW <= 1.25 * POLICY.park_interval_s


def test_h8_an_entry_that_keeps_failing_is_parked_and_never_dead() -> None:
    """After the last of its quick attempts an entry is tried slowly, for ever."""
    kinds = [type(verdict(OutcomeKind.FAILED, attempts=count)) for count in range(40)]
    assert kinds == [Retry] * (POLICY.park_after - 1) + [Park] * (41 - POLICY.park_after)


def test_waiting_for_the_commit_tick_has_an_end() -> None:
    """A backend that always says "not yet" is asked each interval, then slowly."""
    assert verdict(OutcomeKind.TOO_EARLY) == Retry(NOW + POLICY.not_yet_s, "why", "what was said")
    assert isinstance(verdict(OutcomeKind.TOO_EARLY, attempts=POLICY.park_after), Park)


def test_h11_a_missing_start_is_sent_again_at_once_and_then_slowly() -> None:
    """A run that the backend lost is rebuilt; if it is lost again and again, without a busy loop."""
    assert verdict(OutcomeKind.START_MISSING, step=EventKind.STOP) == ResendStart(NOW, "why")
    late = verdict(OutcomeKind.START_MISSING, step=EventKind.STOP, attempts=POLICY.start_resends)
    assert isinstance(late, ResendStart)
    assert late.at - NOW >= 0.75 * POLICY.park_interval_s


@pytest.mark.parametrize(
    ("asked", "at_least", "at_most"),
    [(None, 0.1, 1.0), (20.0, 20.0, 20.0), (0.0, 0.1, 1.0), (-5.0, 0.1, 1.0), (1e12, 300.0, 300.0)],
)
def test_h13_retry_after_is_obeyed_up_to_the_cap(
    asked: float | None, at_least: float, at_most: float
) -> None:
    """The backend may make us wait longer than we would, but not for ever, and not less."""
    found = verdict(OutcomeKind.FAILED, asked=asked)
    assert isinstance(found, Retry)
    assert at_least <= found.at - NOW <= at_most


@given(failures=st.integers(0, 10_000), dice=DICE)
def test_backoff_stays_between_its_bounds(failures: int, dice: float) -> None:
    """No number of failures makes a busy loop, an overflow, or a wait beyond the cap."""
    assert 0.1 * POLICY.backoff_s <= backoff(failures, POLICY, dice=dice) <= POLICY.backoff_max_s


def test_backoff_doubles() -> None:
    """With the same dice each failure doubles the wait until the cap."""
    waits = [backoff(count, POLICY, dice=0.5) for count in range(12)]
    assert waits[:4] == pytest.approx([0.55, 1.1, 2.2, 4.4])
    assert waits[-1] == pytest.approx(0.55 * POLICY.backoff_max_s)


@given(
    result=st.sampled_from(OutcomeKind),
    step=st.sampled_from(EventKind),
    attempts=st.integers(0, 100),
    dice=DICE,
    asked=st.none() | st.floats(0, 1e12),
)
@example(OutcomeKind.TOO_EARLY, EventKind.START, 0, 0.0, 4501.0)  # a wait that the sink asked for
def test_i2_nothing_is_dropped(
    result: OutcomeKind, step: EventKind, attempts: int, dice: float, asked: float | None
) -> None:
    """Every outcome settles the step, plans an attempt that is not in the past, or leaves a dead letter."""
    found = verdict(result, step=step, attempts=attempts, dice=dice, asked=asked)
    match found:
        case Retry(at) | Park(at) | ResendStart(at):
            assert NOW <= at <= NOW + 1.25 * POLICY.park_interval_s
        case Delivered(at, next_at):
            assert result in (OutcomeKind.ACCEPTED, OutcomeKind.ALREADY_DELIVERED)
            assert at <= next_at
        case DeadLetter(reason, detail):
            assert result is OutcomeKind.REJECTED
            assert (reason, detail) == ("why", "what was said")
