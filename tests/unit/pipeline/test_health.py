"""Whether a failure is a run's or the sink's, and that no failure stays unsaid."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from slurmsyncd.delivery import DeliveryPolicy, Outcome, OutcomeKind
from slurmsyncd.model import EventKind, Job, JobState, OutboxEntry, RunKey
from slurmsyncd.pipeline.rejections import SUSPECT_AFTER as REJECTED
from slurmsyncd.pipeline.sink_health import SUSPECT_AFTER, SinkHealth

FAILED = Outcome(result=OutcomeKind.FAILED, reason="timeout", detail="no answer in 45 s")
ACCEPTED = Outcome(result=OutcomeKind.ACCEPTED, reason="accepted")
REJECTED_ALL = Outcome(result=OutcomeKind.REJECTED, reason="http_400", detail="readonly database", status=400)


def entry(number: int, step: EventKind = EventKind.START) -> OutboxEntry:
    job = Job(key=RunKey("demo", number, 1000), state=JobState.RUNNING)
    return OutboxEntry(id=number, sink="cc", kind=step, start=job)


def attempt(health: SinkHealth, tried: OutboxEntry, outcome: Outcome) -> None:
    """Have an attempt begin and end."""
    health.record_outcome(tried, outcome, 1000.0, health.began(tried))


@pytest.fixture
def health() -> SinkHealth:
    return SinkHealth("cc", DeliveryPolicy())


def test_the_first_failure_since_an_answer_is_said_and_names_the_run(health: SinkHealth) -> None:
    """On a quiet cluster a single run may be all that fails: silence would look like health."""
    with capture_logs() as said:
        for _ in range(5):
            attempt(health, entry(7), FAILED)
        attempt(health, entry(8), ACCEPTED)
        attempt(health, entry(7), FAILED)
    assert [(line["event"], line["job"], line["reason"]) for line in said] == [
        ("attempt_failed", 7, "timeout")
    ] * 2
    assert health.pause_reason is None


def test_several_runs_failing_in_a_row_make_the_sink_suspected(health: SinkHealth) -> None:
    """It is paused and said once, and said again when it answers."""
    with capture_logs() as said:
        for number in range(SUSPECT_AFTER + 2):
            attempt(health, entry(number), FAILED)
        assert health.pause_reason == "timeout"
        assert health.pause_s(EventKind.START) > 0
        attempt(health, entry(0), ACCEPTED)
    assert [line["event"] for line in said] == ["attempt_failed", "sink_unavailable", "sink_available_again"]
    assert health.pause_reason is None
    assert health.pause_s(EventKind.START) == 0


@pytest.mark.parametrize(("asked_s", "least_s", "most_s"), [(120.0, 100.0, 120.0), (1e12, 280.0, 300.0)])
def test_h13_a_sink_that_asks_for_a_wait_is_left_alone_for_it(
    health: SinkHealth, asked_s: float, least_s: float, most_s: float
) -> None:
    """A 429 with Retry-After pauses the sink for so long, up to the longest backoff."""
    down = Outcome(result=OutcomeKind.SINK_UNAVAILABLE, reason="http_429", retry_after_s=asked_s)
    attempt(health, entry(7), down)
    assert least_s < health.pause_s(EventKind.STOP) <= most_s


def test_h7_a_sink_that_rejects_every_start_is_an_alarm_and_its_stops_go_on(health: SinkHealth) -> None:
    """Said once as an error, and said when it accepts a start again; an accepted stop is no sign of that."""
    with capture_logs() as said:
        for number in range(REJECTED + 3):
            attempt(health, entry(number), REJECTED_ALL)
        attempt(health, entry(0, EventKind.STOP), ACCEPTED)
    assert [(line["event"], line["log_level"]) for line in said[-1:]] == [("sink_unavailable", "error")]
    assert (health.pause_reason, health.pause.action_required) == ("http_400", True)
    assert health.pause_s(EventKind.START) > 0
    assert health.pause_s(EventKind.STOP) == 0
    with capture_logs() as said:
        attempt(health, entry(99), ACCEPTED)
    assert [line["event"] for line in said] == ["sink_available_again"]
    assert health.pause_reason is None
    assert len(health.recalled) == REJECTED - 1


def test_what_the_configuration_leaves_out_says_nothing_of_the_sink(health: SinkHealth) -> None:
    """A cluster without a section is never asked for there, so no number of its runs makes the sink suspected."""
    for number in range(20):
        attempt(
            health,
            entry(number),
            Outcome(result=OutcomeKind.REJECTED_UNTIL_FIXED, reason="cluster_not_configured"),
        )
        attempt(
            health, entry(100 + number), Outcome(result=OutcomeKind.REJECTED, reason="no_nodes", certain=True)
        )
    assert health.pause_reason is None
