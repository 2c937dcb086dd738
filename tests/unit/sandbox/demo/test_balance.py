"""The account at the end: each run is in exactly one column."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from slurmsyncd.sandbox.demo.reconciliation import reconcile
from slurmsyncd.sandbox.slurm.expected_runs import ExpectedRun

RUN = ExpectedRun(
    cluster="demo",
    job_id=7,
    start_at=1000,
    end_at=1060,
    state="COMPLETED",
    restarts=0,
    user="alice",
    nodes=("n1", "n2"),
    cores=(((0, 0),), ((0, 1),)),
    gpus=((0, 1), (3,)),
)


def row(**changes: Any) -> dict[str, Any]:
    plain = {
        "job_id": 7,
        "start_time": 1000,
        "job_state": "completed",
        "duration": 60,
        "num_acc": 3,
        "resources": json.dumps([{"hostname": "n1"}, {"hostname": "n2"}]),
    }
    return plain | changes


def columns(run: ExpectedRun, rows: list[dict[str, Any]], state: tuple[str, str] | None = None) -> list[int]:
    states = {} if state is None else {(run.job_id, run.start_at): state}
    result = reconcile([run], rows, states)
    counts = [
        result.delivered,
        result.refused,
        result.waiting,
        len(result.wrong),
        len(result.lost),
    ]
    assert result.simulated == sum(counts) == 1
    return counts


DELIVERED, REFUSED, WAITING, WRONG, LOST = (
    [1, 0, 0, 0, 0],
    [0, 1, 0, 0, 0],
    [0, 0, 1, 0, 0],
    [0, 0, 0, 1, 0],
    [0, 0, 0, 0, 1],
)


def test_a_run_that_arrived_as_it_was_is_delivered() -> None:
    """Hosts, GPUs, end and duration are the same."""
    assert columns(RUN, [row()]) == DELIVERED


@pytest.mark.parametrize(
    "changes",
    [{"duration": 61}, {"num_acc": 2}, {"resources": json.dumps([{"hostname": "n1"}])}],
    ids=["duration", "gpus", "hosts"],
)
def test_a_run_that_arrived_otherwise_is_wrong(changes: dict[str, Any]) -> None:
    """A record that differs counts against the demonstration."""
    assert columns(RUN, [row(**changes)]) == WRONG


def test_a_run_that_nobody_knows_is_lost() -> None:
    """Neither the backend nor the daemon has it."""
    assert columns(RUN, []) == LOST


def test_a_run_that_the_daemon_holds_is_waiting() -> None:
    """Written down, not told yet: start or stop."""
    assert columns(RUN, [], ("ready", "")) == WAITING
    assert columns(RUN, [row(job_state="running", duration=0)], ("ready", "")) == WAITING


def test_an_end_that_nobody_holds_is_lost() -> None:
    """The backend takes the run for running, and the daemon has nothing more to tell."""
    assert columns(RUN, [row(job_state="running", duration=0)]) == LOST


def test_a_run_that_still_runs_is_waiting() -> None:
    """It is in the backend as running, as it should be."""
    assert columns(replace(RUN, end_at=None), [row(job_state="running")], ("idle", "accepted")) == WAITING


def test_a_repeat_that_the_backend_refuses_is_said_apart() -> None:
    """Only its own rule of one run a day is an excuse; any other dead letter is a loss."""
    assert columns(RUN, [], ("dropped", "repeat_of_earlier_run")) == REFUSED
    assert columns(RUN, [], ("done", "replaced_by_requeue")) == REFUSED
    assert columns(RUN, [], ("dead", "bad_field")) == LOST
