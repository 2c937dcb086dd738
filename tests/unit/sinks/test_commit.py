"""A stop is sent once its start is proven to be committed; the embedded backend has the original's race."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from slurmsyncd.delivery import OutcomeKind
from slurmsyncd.model import EventKind, JobState, OutboxEntry
from slurmsyncd.sandbox.backend.server import BackendConfig, EmbeddedBackend
from slurmsyncd.sinks.dialect import V1_5, Dialect
from slurmsyncd.sinks.rest.commit import FIRST_S, PROVEN, CommitWatch
from tests.unit.sinks.parts import START, FixedClock, entry, job, sink_on, token_file
from tests.unit.sinks.test_embedded import site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from slurmsyncd.sinks.rest.sink import RestSink

pytestmark = pytest.mark.anyio

HOLD_S = 150.0
ACKED_AT = START + 1000.0
#: A release that cannot change a job's metadata, otherwise as the embedded backend speaks.
PLAIN = replace(V1_5, edits=False)
STOP = "/api/jobs/stop_job/"
EDIT = "/api/jobs/edit_meta/"


@pytest.fixture
async def backend() -> AsyncIterator[EmbeddedBackend]:
    async with EmbeddedBackend.open(
        BackendConfig(clusters=site(), commit_interval=None, test_api=True)
    ) as running:
        yield running


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(ACKED_AT)


@pytest.fixture
async def sinks(
    backend: EmbeddedBackend, tmp_path: Path, clock: FixedClock
) -> AsyncIterator[Callable[[Dialect], RestSink]]:
    """Return sinks of a dialect on the backend."""
    made: list[RestSink] = []

    def make(dialect: Dialect = V1_5) -> RestSink:
        token = token_file(tmp_path / "token", backend.token())
        made.append(sink_on(backend.url, token, dialect=dialect, clock=clock, stop_hold=HOLD_S))
        return made[-1]

    yield make
    for each in made:
        await each.aclose()


def stop(job_id: int = 7, **end: Any) -> OutboxEntry:
    """Return a stop whose start was acknowledged at `ACKED_AT`."""
    return replace(entry(EventKind.STOP, run=job(job_id), **end), start_acknowledged_at=ACKED_AT)


def asked(backend: EmbeddedBackend, path: str) -> int:
    return sum(request["path"] == path for request in backend.requests)


async def test_a_stop_waits_for_the_commit_and_not_for_a_time(
    backend: EmbeddedBackend, sinks: Callable[..., RestSink], clock: FixedClock
) -> None:
    """While the start is cached no stop is sent; once the tick has committed it the stop goes at once."""
    sink = sinks()
    started = await sink.deliver(entry())
    assert (started.result, started.hold_s) == (OutcomeKind.ACCEPTED, FIRST_S)
    clock.at += 20
    early = await sink.deliver(stop())
    assert (early.result, early.reason, early.retry_after_s) == (
        OutcomeKind.TOO_EARLY,
        "start_not_committed",
        30.0,
    )
    assert asked(backend, STOP) == 0
    await backend.tick()
    assert (await sink.deliver(stop())).result is OutcomeKind.ACCEPTED
    (row,) = backend.rows()
    assert (row["job_state"], row["duration"]) == ("completed", 60)


async def test_the_record_says_how_the_run_ended(
    backend: EmbeddedBackend, sinks: Callable[..., RestSink]
) -> None:
    """State, exit code, end and run time stand in slurmInfo; a repeated attempt writes the same."""
    sink = sinks()
    await sink.deliver(entry())
    await backend.tick()
    ended = stop(state=JobState.FAILED, exit_code="3:0")
    assert (await sink.deliver(ended)).result is OutcomeKind.ACCEPTED
    assert (await sink.deliver(ended)).result is OutcomeKind.ALREADY_DELIVERED
    (row,) = backend.rows()
    info = json.loads(row["meta_data"])["slurmInfo"]
    for word in (
        "JobState=FAILED",
        "ExitCode=3:0",
        "RunTime=0-00:01:00",
        "EndTime=2023-11-14T22:14:20+00:00",
    ):
        assert word in info
    assert "JobState=RUNNING" not in info


async def test_a_start_whose_end_is_known_says_how_the_run_ended(
    backend: EmbeddedBackend, sinks: Callable[..., RestSink], clock: FixedClock
) -> None:
    """A release without edit_meta shows the summary of the end, too, if it was known when the start was sent."""
    sink, ended = sinks(PLAIN), stop(state=JobState.FAILED, exit_code="3:0")
    await sink.deliver(replace(ended, kind=EventKind.START, start_acknowledged_at=None))
    clock.at += HOLD_S
    assert (await sink.deliver(ended)).result is OutcomeKind.ACCEPTED
    (row,) = backend.rows()
    info = json.loads(row["meta_data"])["slurmInfo"]
    assert "JobState=FAILED" in info
    assert "RunTime=0-00:01:00" in info
    assert asked(backend, EDIT) == 0


async def test_h24_without_a_proof_the_hold_counts_from_the_acknowledgement(
    backend: EmbeddedBackend, sinks: Callable[..., RestSink], clock: FixedClock
) -> None:
    """A release without edit_meta gets its stops after `stop_hold`, and so does a start that stays cached."""
    for dialect, job_id in ((PLAIN, 7), (V1_5, 8)):
        sink = sinks(dialect)
        clock.at = ACKED_AT
        await sink.deliver(entry(run=job(job_id)))
        clock.at = ACKED_AT + HOLD_S - 1
        held = await sink.deliver(stop(job_id))
        assert (held.result, held.retry_after_s) == (OutcomeKind.TOO_EARLY, 1.0)
        clock.at = ACKED_AT + HOLD_S
        assert (await sink.deliver(stop(job_id))).result is OutcomeKind.ACCEPTED
    assert asked(backend, STOP) == 2


async def test_h24_after_an_outage_the_hold_counts_from_the_first_answer(
    backend: EmbeddedBackend, sinks: Callable[..., RestSink], clock: FixedClock
) -> None:
    """The commit tick of a restarted backend begins anew, so starts from before are cached that long again."""
    sink = sinks()
    await sink.deliver(entry())
    backend.knobs.bad_gateways = 1
    clock.at += HOLD_S + 1
    assert (await sink.deliver(stop())).result is OutcomeKind.FAILED
    clock.at += 10
    assert sink.doubtful_since is None
    held = await sink.deliver(stop())
    assert (held.result, held.reason) == (OutcomeKind.TOO_EARLY, "start_not_committed")
    assert asked(backend, STOP) == 0
    assert sink.doubtful_since == clock.at
    clock.at += HOLD_S
    assert (await sink.deliver(stop())).result is OutcomeKind.ACCEPTED


def test_the_first_question_is_learnt_from_the_answers() -> None:
    """Too early a question lengthens the wait, never beyond the hold; long success shortens it slowly."""
    watch = CommitWatch(HOLD_S)
    watch.note_uncommitted(0.0, 90.0)
    assert watch.wait_s == 100.0
    watch.note_uncommitted(0.0, 1000.0)
    assert watch.wait_s == HOLD_S
    for _ in range(PROVEN):
        watch.note_committed()
    assert watch.wait_s == pytest.approx(0.9 * HOLD_S)
    for _ in range(100 * PROVEN):
        watch.note_committed()
    assert watch.wait_s == 5.0
    assert CommitWatch(0.0).wait_s == 0.0
