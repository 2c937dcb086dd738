"""Whether a failure is a run's or the sink's, and that no failure stays unsaid."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from slurmsyncd.delivery import DeliveryPolicy, Outcome, Result
from slurmsyncd.model import Entry, Job, JobState, RunKey, Step
from slurmsyncd.pipeline.health import SUSPECT_AFTER, SinkHealth

FAILED = Outcome(result=Result.FAILED, reason="timeout", detail="no answer in 45 s")
ACCEPTED = Outcome(result=Result.ACCEPTED, reason="accepted")


def entry(number: int) -> Entry:
    job = Job(key=RunKey("demo", number, 1000), state=JobState.RUNNING)
    return Entry(id=number, sink="cc", step=Step.START, start=job)


@pytest.fixture
def health() -> SinkHealth:
    return SinkHealth("cc", DeliveryPolicy())


def test_the_first_failure_since_an_answer_is_said_and_names_the_run(health: SinkHealth) -> None:
    """On a quiet cluster a single run may be all that fails: silence would look like health."""
    with capture_logs() as said:
        for _ in range(5):
            health.note(entry(7), FAILED, 1000.0)
        health.note(entry(8), ACCEPTED, 1000.0)
        health.note(entry(7), FAILED, 1000.0)
    assert [(line["event"], line["job"], line["reason"]) for line in said] == [
        ("attempt_failed", 7, "timeout")
    ] * 2
    assert health.trouble is None


def test_several_runs_failing_in_a_row_make_the_sink_suspected(health: SinkHealth) -> None:
    """It is paused and said once, and said again when it answers."""
    with capture_logs() as said:
        for number in range(SUSPECT_AFTER + 2):
            health.note(entry(number), FAILED, 1000.0)
        assert health.trouble == "timeout"
        assert health.pause_s > 0
        health.note(entry(0), ACCEPTED, 1000.0)
    assert [line["event"] for line in said] == ["attempt_failed", "sink_unavailable", "sink_available_again"]
    assert health.trouble is None
    assert health.pause_s == 0


@pytest.mark.parametrize(("asked_s", "least_s", "most_s"), [(120.0, 100.0, 120.0), (1e12, 280.0, 300.0)])
def test_h13_a_sink_that_asks_for_a_wait_is_left_alone_for_it(
    health: SinkHealth, asked_s: float, least_s: float, most_s: float
) -> None:
    """A 429 with Retry-After pauses the sink for so long, up to the longest backoff."""
    down = Outcome(result=Result.SINK_DOWN, reason="http_429", retry_after_s=asked_s)
    health.note(entry(7), down, 1000.0)
    assert least_s < health.pause_s <= most_s
