"""The requests about single runs, answered by a daemon and out of the store."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from slurmsyncd.control import store_requests as requests
from slurmsyncd.control.client import connect
from slurmsyncd.control.run_requests import GetStoredRuns, RecordRuns, RepairSink
from slurmsyncd.delivery import Delivered, Discrepancy, Repair
from slurmsyncd.model import EventKind, JobState, RunKey
from tests.unit.control.conftest import config, serving
from tests.unit.store.builders import (
    T0,
    ended,
    key,
    opened,
    plan,
    running,
    settle,
    started,
    stopped,
    tell_all,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slurmsyncd.config import Config
    from slurmsyncd.model import Job

__all__ = ["config"]


@pytest.fixture(params=["daemon", "alone"])
def asked(request: pytest.FixtureRequest, config: Config) -> Iterator[Config]:
    """Run 1 is told and over, run 2 runs, once with a daemon and once with nobody."""
    store = opened(config.daemon.state_dir)
    store.record(plan(started(key(1)), stopped(key(1)), started(key(2)), cursor=T0), T0)
    tell_all(store, T0 + 5)
    store.close()
    if request.param == "alone":
        yield config
    else:
        with serving(config):
            yield config


def ask(config: Config, *ids: int) -> dict[RunKey, tuple[int | None, dict[str, str]]]:
    with connect(config) as desk:
        answer = desk.ask(GetStoredRuns(cluster="alpha", job_ids=ids, sinks=("rest", "late")))
    assert answer.cursor == T0
    return {
        each.key: (each.end_at, {sink: told.state for sink, told in each.deliveries.items()})
        for each in answer.runs
    }


def test_what_is_written_down_is_told(asked: Config) -> None:
    """All runs of the ids that were asked for, with what each sink was told, and no others."""
    assert ask(asked, 1, 2, 3) == {key(1): (T0 + 60, {"rest": "done"}), key(2): (None, {"rest": "idle"})}
    assert ask(asked, 1) == {key(1): (T0 + 60, {"rest": "done"})}
    assert ask(asked, 99) == {}


def test_what_is_missing_is_written_down_once(asked: Config) -> None:
    """An ended run becomes a start and a stop, a running one a start; a second time nothing new comes of it."""
    jobs = (replace(ended(key(5)), name="a\x1b[31mb\n", nodes=("n1",)), running(key(6)))
    with connect(asked) as desk:
        assert desk.ask(RecordRuns(cluster="alpha", jobs=jobs)) == 2
        assert desk.ask(RecordRuns(cluster="alpha", jobs=jobs)) == 0
        (story,) = desk.ask(requests.GetRunHistories(5))
    assert story.stop is not None
    assert (story.stop.name, story.stop.end_at) == ("a\x1b[31mb\n", T0 + 60)
    assert ask(asked, 5, 6) == {key(5): (T0 + 60, {"rest": "ready"}), key(6): (None, {"rest": "ready"})}


@pytest.mark.parametrize(
    "job",
    [
        ended(key(1, T0 - 300), end_at=T0 + 60),
        ended(key(2, T0 + 300), end_at=T0 + 600),
        running(key(2, T0 + 300)),
        replace(ended(key(7)), key=key(7, cluster="beta")),
    ],
    ids=["moved and ended", "moved and perhaps open", "restarted, or moved", "of another cluster"],
)
def test_j4_a_run_that_may_be_known_under_another_start_is_not_told_twice(asked: Config, job: Job) -> None:
    """What is known, or may turn out to be, is left to the daemon, which asks Slurm."""
    with connect(asked) as desk:
        assert desk.ask(RecordRuns(cluster="alpha", jobs=(job,))) == 0
    assert set(ask(asked, job.key.job_id)) <= {key(1), key(2)}


def test_a_run_that_was_lost_is_sent_again_from_its_start(asked: Config) -> None:
    """Start and stop, with the loss in its history; what has not been told to the end is left alone."""
    wanted = tuple(Repair(key(job_id), Discrepancy.RUN_LOST) for job_id in (1, 2, 3))
    with connect(asked) as desk:
        assert desk.ask(RepairSink(sink="rest", repairs=wanted)) == 1
        (story,) = desk.ask(requests.GetRunHistories(1))
    (delivery,) = story.deliveries
    assert (delivery.step, delivery.state, delivery.attempts) == (EventKind.START, "ready", 0)
    assert [reason for _, _, reason, _ in delivery.history] == ["run_lost"]


def test_a_sink_that_came_later_is_told_of_what_it_missed(asked: Config) -> None:
    """The whole run, once; the sink that was told is left alone."""
    wanted = tuple(Repair(key(job_id), Discrepancy.NOT_REPORTED) for job_id in (1, 3))
    with connect(asked) as desk:
        assert desk.ask(RepairSink(sink="late", repairs=wanted)) == 1
        assert desk.ask(RepairSink(sink="late", repairs=wanted)) == 0
        assert desk.ask(RepairSink(sink="rest", repairs=wanted)) == 0
    assert ask(asked, 1) == {key(1): (T0 + 60, {"rest": "done", "late": "ready"})}


def test_a_run_that_was_sent_again_gets_both_its_steps(config: Config) -> None:
    """After the loss was found: the start, then the stop, then it is done again."""
    store = opened(config.daemon.state_dir)
    store.record(plan(started(key(1)), stopped(key(1))), T0)
    tell_all(store, T0 + 5)
    store.repair("rest", [Repair(key(1), Discrepancy.RUN_LOST)], T0 + 10)
    for step in (EventKind.START, EventKind.STOP):
        (entry,) = store.due("rest", step, T0 + 20, 10)
        assert entry.stop is not None
        assert entry.stop.state is JobState.COMPLETED
        settle(store, [entry], Delivered(T0 + 20, T0 + 20, "ok"), T0 + 20)
    assert store.delivery_summaries("rest", [key(1)])[key(1)].state == "done"
    assert store.counts("rest").states == {}
    assert store.prune(time.time(), 1000.0) == 1
    store.close()
