"""``slurmsyncd job``: the story of one job, on the real daemon and out of the store alone."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from slurmsyncd.delivery import Retry
from slurmsyncd.errors import SlurmsyncdError
from slurmsyncd.sandbox.demo.environment import stop_daemon
from slurmsyncd.sandbox.slurm.workload import Submission, request
from tests.system.daemon.test_audit import site, until
from tests.unit.commands.status.test_status import shown, typed
from tests.unit.store.builders import (
    T0,
    key,
    opened,
    plan,
    settle,
    started,
    starts,
    stopped,
    tell_all,
    tell_starts,
)

if TYPE_CHECKING:
    from pathlib import Path

    from slurmsyncd.config import Config
    from slurmsyncd.store import SqliteStore
    from tests.unit.commands.conftest import Command


@pytest.mark.anyio
async def test_the_daemon_tells_what_was_seen_captured_and_sent(tmp_path: Path) -> None:
    """
    The body is the one that the backend got, hardware threads and all; a refusal is told with its remedy.

    Slurm's own words come with --slurm, and so does the raw id of an array's task; what is not known of a job
    is explained by them.
    """
    async with site(tmp_path) as at:
        at.backend.knobs.refuse_job_ids = [2]
        daemon = at.stage.start_daemon()
        try:
            (good,) = at.submit(name="\x1b[2Jevil\u202e", gpus=1)
            (bad,) = at.submit()
            await until(lambda: at.states(good) == [["running"]])
            told = await typed(at, "job", str(good))
            plain = await typed(at, "job", str(good), "--json", "--slurm")
            await shown(at, lambda seen: "(http_400" in seen.out, "job", str(bad))
            at.submit()  # once the backend takes another, it is known that only this one is refused
            refused = await shown(at, lambda seen: "refused for good" in seen.out, "job", str(bad))
            unknown = await typed(at, "job", "777777", "--slurm")
            array = Submission((request(duration_s=600.0),), tasks=3)
            (array_id,) = at.simulation.submit(array, time.time())
            task = await shown(at, lambda seen: seen.status == 0, "job", f"{array_id}_1", "--slurm")
            (row,) = [row for row in at.backend.rows() if row["job_id"] == good]
        finally:
            assert await stop_daemon(daemon) == 0
    for words in (
        f"job {good} of demo, begun ",
        ": it runs",
        "captured  1 host, ",
        "gpu",
        "start: taken ",
        "next: its stop, once it has ended",
        "start, to /api/jobs/start_job/:",
    ):
        assert words in told.out
    assert r"name \x1b[2Jevil\u202e" in told.out
    assert not set(told.out) & set("\x1b\u202e")
    assert "its start was refused for good (http_400" in refused.out
    (job,) = json.loads(plain.out)["jobs"]
    (made,) = job["previews"][0]["sinks"]
    assert made["guessed"] is False
    assert json.loads(made["steps"][0]["body"])["resources"] == json.loads(row["resources"])
    assert [run["state"] for run in job["slurm"][0]["accounting"]] == ["RUNNING"]
    assert f", task 1 of array {array_id}\n" in task.out
    assert not task.out.startswith(f"job {array_id} ")  # which is the last task's
    assert unknown.status == 1
    assert "knows of no run of it that has started: nothing is to be told" in unknown.out


def write(config: Config, *work: Any) -> None:
    """Do something in the store, as the daemon did before it was stopped."""
    store: SqliteStore = opened(config.daemon.state_dir)
    for each in work:
        each(store)
    store.close()


def test_every_run_of_the_id_is_told_with_how_it_ended(config: Config, command: Command) -> None:
    """A requeued job has several; the first one's end and delivery are its own."""
    write(
        config,
        lambda store: store.record(plan(started(key(7)), stopped(key(7))), T0 + 90),
        lambda store: tell_all(store, T0 + 1000),
        lambda store: store.record(plan(started(key(7, T0 + 500))), T0 + 501),
    )
    done = command(config, "job", "7")
    assert done.status == 0
    assert "run 1 of 2" in done.shown
    assert "COMPLETED, after 1 min" in done.shown
    assert "seen      start" in done.shown
    assert "next: nothing, it knows all of this run" in done.shown
    assert "run 2 of 2" in done.shown
    assert "next: its start once the daemon runs" in done.shown


def test_j1_a_later_run_is_said_to_wait_for_the_earlier_one(config: Config, command: Command) -> None:
    """Its start goes out after that one's."""
    write(config, lambda store: store.record(plan(started(key(7)), started(key(7, T0 + 500))), T0))
    done = command(config, "job", "7")
    assert "next: its start once the daemon runs" in done.shown
    assert "next: its start, after the start of the run that began 2023-11-14 " in done.shown


def test_the_body_is_made_without_a_daemon_too(config: Config, command: Command) -> None:
    """With a word that the backend's topology is not known here."""
    write(config, lambda store: store.record(plan(started(key(7))), T0))
    done = command(config, "job", "7")
    assert 'user: "anna"' in done.shown
    assert "topology is not known here" in done.shown
    assert "1 host, 2 cores, 2 GPUs, 2,048 MiB of memory" in done.shown
    (job,) = json.loads(command(config, "job", "7", "--json").shown)["jobs"]
    assert job["running"] is False
    assert job["previews"][0]["sinks"][0]["guessed"] is True


@pytest.mark.parametrize(
    ("work", "says"),
    [
        ((tell_starts,), "next: its stop, once it has ended"),
        (
            (lambda store: settle(store, starts(store, T0 + 1), Retry(T0 + 9e9, "timeout", "45 s"), T0 + 1),),
            "next: its start again once the daemon runs, after 1 attempt (timeout: 45 s)",
        ),
        ((lambda store: store.drop([1]),), "next: nothing, its start was given up"),
    ],
)
def test_what_comes_next_is_said(config: Config, command: Command, work: Any, says: str) -> None:
    """For every state that a delivery can be in."""
    write(config, lambda store: store.record(plan(started(key(7))), T0), *work)
    assert says in command(config, "job", "7").shown


def test_the_attempts_are_told(filled: Config, command: Command) -> None:
    """When, which step, why, and what the backend said."""
    shown = command(filled, "job", "2").shown
    assert "what went wrong with it" in shown
    assert "no sub-cluster has n1" in shown
    assert "cluster.json" in shown


def test_an_unknown_job_is_explained(filled: Config, command: Command) -> None:
    """What it may be, and the command that finds out."""
    done = command(filled, "job", "4711")
    assert done.status == 1
    assert "nothing is known of job 4711" in done.shown
    assert "no daemon runs" in done.shown
    assert "accounting of alpha was read up to" in done.shown
    assert "slurmsyncd job 4711 --slurm" in done.shown


@pytest.mark.parametrize("text", ["123_4", "123+1"])
def test_tasks_and_components_want_the_raw_id(filled: Config, command: Command, text: str) -> None:
    """With the command that gives it."""
    with pytest.raises(SlurmsyncdError, match="--slurm"):
        command(filled, "job", text)


@pytest.mark.parametrize("text", ["", "x", "1;2", "1_", "1_2_3", "-1", "\u0661", "9" * 19])
def test_what_is_no_job_id_is_refused(
    filled: Config, command: Command, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    """With what is one."""
    with pytest.raises(SystemExit) as ended:
        command(filled, "job", "--", text)
    assert ended.value.code == 2
    assert "123_4" in capsys.readouterr().err
