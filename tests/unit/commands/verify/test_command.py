"""`slurmsyncd verify` as an operator runs it: the daemon as a process, a simulated Slurm, the embedded backend."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from slurmsyncd.commands.verify.compare import RunStatus
from tests.unit.commands.verify.site import OVERLAP_S, Site, site, until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

LONG_S = 36_000.0


async def passed_by(at: Site, *jobs: int) -> None:
    """Wait until runs have ended and the daemon will not read of them again."""

    def cursor() -> float:
        return (at.stage.root / "state" / "lastrun").stat().st_mtime

    await until(lambda: cursor() > max(map(at.ended_at, jobs)) + OVERLAP_S)


def counts(found: dict[str, Any]) -> dict[str, int]:
    """Return what is not zero of all runs."""
    ((sink,),) = (cluster["sinks"] for cluster in found["clusters"])
    return {name: number for name, number in sink["all"].items() if number}


async def test_what_was_lost_is_found_listed_and_sent(tmp_path: Path) -> None:
    """
    All delivered: exit 0. Runs taken out of the store: exit 1, each named. --repair: the backend has them.

    The daemon is asked while it runs, and its store while it does not.
    """
    async with site(tmp_path) as at:
        at.start()
        evil = at.submit(name="\x1b[31mred\nrow")
        jobs = evil + at.submit(4)
        running = at.submit(2, duration_s=LONG_S)
        await until(lambda: at.states(*jobs, *running) == [["completed"]] * 5 + [["running"]] * 2)
        await passed_by(at, *jobs)
        await until(lambda: not at.listed() & set(jobs))
        await until(at.all_acknowledged)
        assert_complete(await at.document("--backend"), daemon_runs=True)

        await at.stop()
        gone = [*jobs[:2], running[0]]
        for job_id in gone:
            at.store("DELETE FROM run WHERE job_id = ?", job_id)
            at.forget(job_id)
        status, found = await at.document()
        assert (status, found["complete"], found["daemon_runs"]) == (1, False, False)
        assert counts(found) == {"runs": 7, "delivered": 4, "missing": 3}
        assert sorted(each["job_id"] for each in found["differences"]) == sorted(gone)
        assert found["slurm_commands"]["sacct"] <= 50, "a week, in slices"

        status, text, _ = await at.verify()
        assert status == 1
        assert "not complete: 3 missing" in text
        assert "\\x1b[31mred\\nrow" in text
        assert "\x1b" not in text

        at.start()  # what runs it sees by itself
        await until(lambda: at.states(running[0]) == [["running"]])
        status, found = await at.document("--repair")
        assert (status, found["repaired"], found["daemon_runs"]) == (0, 2, True)
        await until(lambda: at.states(*jobs, *running) == [["completed"]] * 5 + [["running"]] * 2)
        await until(at.all_acknowledged)
        assert_complete(await at.document("--backend"), daemon_runs=True)


def assert_complete(answer: tuple[int, dict[str, Any]], *, daemon_runs: bool) -> None:
    status, found = answer
    assert (status, found["complete"], found["daemon_runs"]) == (0, True, daemon_runs)
    assert counts(found) == {"runs": 7, "delivered": 7}
    assert found["differences"] == []


async def test_beside_a_busy_daemon_nothing_is_missing(tmp_path: Path) -> None:
    """
    Jobs of all kinds come and go: at no moment is one missing or lost, though the overlap is of two seconds.

    In the end each run that Slurm's books have is accounted for, once.
    """
    async with site(tmp_path) as at:
        at.start()
        await until(at.answers)
        for _ in range(4):
            for _ in range(10):
                at.simulation.submit_random(time.time())
            status, found = await at.document("--since", "1h", "--backend")
            assert (status, found["differences"]) == (0, [])
        at.simulation.cancel_all(time.time())
        obliged = len(list(at.simulation.ledger()))
        settled: dict[str, int] = {}
        with anyio.fail_after(120):
            # What ended in the second in which a proof begins, the next one has.
            while settled.get("runs") != obliged or not settled.keys() <= {"runs", "delivered", "refused"}:
                status, found = await at.document("--since", "1h", "--backend")
                assert (status, found["differences"]) == (0, [])
                settled = counts(found)


async def test_h22_what_the_backend_lost_is_sent_again(tmp_path: Path) -> None:
    """A run that it acknowledged and no longer has: found with --backend only, and sent again by --repair."""
    async with site(tmp_path) as at:
        at.start()
        jobs = at.submit(3)
        await until(lambda: at.over(*jobs) and at.states(*jobs) == [["completed"]] * 3)
        await until(at.all_acknowledged)
        at.forget(jobs[0])
        assert (await at.document())[0] == 0
        status, found = await at.document("--backend")
        assert (status, counts(found)) == (1, {"runs": 3, "delivered": 2, "lost": 1})
        status, found = await at.document("--backend", "--repair")
        assert (status, found["repaired"]) == (0, 1)
        await until(lambda: at.states(*jobs) == [["completed"]] * 3)


async def test_what_waits_is_not_missing_and_who_is_silent_is_said(tmp_path: Path) -> None:
    """A backend that is away makes runs wait (exit 0); Slurm, or a backend that is asked, away is exit 75."""
    async with site(tmp_path) as at:
        at.point_sink_at("http://127.0.0.1:9")
        at.start()
        await until(at.answers)
        jobs = at.submit(2)
        await until(lambda: at.over(*jobs) and at.is_written(*jobs))
        status, found = await at.document()
        assert (status, counts(found)) == (0, {"runs": 2, "waiting": 2})
        (tmp_path / "bin" / "sacct").rename(tmp_path / "bin" / "sacct.away")
        status, out, err = await at.verify()
        assert (status, out) == (75, "")
        assert "sacct" in err
        assert "Traceback" not in err


async def test_the_document_has_one_shape(tmp_path: Path) -> None:
    """Its keys, and the fates it counts, are what scripts rely on; progress goes to a terminal beside it."""
    async with site(tmp_path) as at:
        at.start()
        await until(at.answers)
        (job,) = at.submit()
        await until(lambda: at.over(job) and at.is_written(job))
        ended_at = at.ended_at(job)
        status, found = await at.document("--since", "2h", "--cluster", "demo", "--sink", "demo")
        out, seen = await at.on_terminal("--since", "2h", "--json", "--backend")
    assert json.loads(out)["complete"]
    assert "demo: " in seen
    assert "%" in seen
    assert status == 0
    assert set(found) == {
        *("complete", "since", "until", "repaired", "daemon_runs", "clusters", "differences"),
        *("differences_not_listed", "slurm_commands", "sink_questions"),
    }
    assert found["until"] - found["since"] >= 7200
    (cluster,) = found["clusters"]
    assert set(cluster) == {
        "cluster",
        "checkpoint",
        "known_from",
        "never_started",
        "set_aside",
        "sinks",
        "unread",
    }
    (sink,) = cluster["sinks"]
    assert set(sink) == {"sink", "days", "running", "all"}
    numbers = {"runs", *(fate.value for fate in RunStatus)}
    assert [set(each) for each in sink["days"]] == [{"day", *numbers}] * len(sink["days"])
    assert set(sink["running"]) == set(sink["all"]) == numbers
    assert time.strftime("%Y-%m-%d", time.gmtime(ended_at)) in {each["day"] for each in sink["days"]}


async def test_without_a_sink_there_is_no_proof(tmp_path: Path) -> None:
    """Nothing to hold against Slurm is a mistake in the configuration, and never "nothing is missing"."""
    async with site(tmp_path) as at:
        text = at.stage.config.read_text()
        at.stage.config.write_text(text[: text.index("[sinks.demo]")])
        assert (await at.verify())[0] == 78


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (("--since", "yesterday"), 2, "yesterday"),
        (("--cluster", "other"), 78, "allowed: demo"),
        (("--sink", "other"), 78, "allowed: demo"),
        (("--since", "1d", "--until", "2d"), 78, "--since"),
        ((), 74, "start slurmsyncd"),
    ],
)
async def test_what_cannot_be_done_is_said_in_a_line(
    tmp_path: Path, options: tuple[str, ...], status: int, said: str
) -> None:
    """Wrong choices, and a store that never was, lead to a status of their own and no traceback."""
    async with site(tmp_path) as at:
        found, out, err = await at.verify(*options)
    assert (found, out) == (status, "")
    assert said in err
    assert "Traceback" not in err
