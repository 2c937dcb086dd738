"""`slurmsyncd backfill` as an operator runs it: the daemon as a process, a simulated Slurm, the embedded backend."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from slurmsyncd.commands.backfill.progress import Progress
from slurmsyncd.commands.backfill.resume_file import ResumeFile
from tests.unit.commands.verify.site import Site, site, until

pytestmark = pytest.mark.anyio


async def backfill(at: Site, *options: str) -> tuple[int, str, str]:
    """Run the command; gives exit status, output, and what it said besides."""
    argv = [sys.executable, "-m", "slurmsyncd", "backfill", "--config", str(at.stage.config), *options]
    with anyio.fail_after(120):
        done = await anyio.run_process(argv, check=False, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


async def test_old_runs_are_told_once_behind_a_running_daemon(tmp_path: Path) -> None:
    """
    What ended before the daemon came is counted by a dry run, told by the real one, and not told again.

    Without a daemon nothing is written down: it is the daemon that tells.
    """
    async with site(tmp_path) as at:
        jobs = at.submit(5)
        await until(lambda: all(map(at.ended_at, jobs)))
        await until(lambda: not at.listed() & set(jobs))
        first = min(map(at.ended_at, jobs)) - 60
        at.start()
        await until(at.answers)
        await until(lambda: at.is_written(*jobs))
        await at.stop()
        for job_id in jobs:  # whatever the first look saw of them
            at.store("DELETE FROM run WHERE job_id = ?", job_id)
            at.forget(job_id)
        status, _, said = await backfill(at, "--from", str(first))
        assert (status, "no daemon runs" in said) == (75, True)
        at.start()
        await until(at.answers)
        until_ = max(map(at.ended_at, jobs)) + 1
        window = ("--from", str(first), "--to", str(until_))
        status, told, _ = await backfill(at, *window, "--dry-run")
        assert status == 0
        assert "would be told" in told
        missing = [each for each in jobs if not at.is_written(each)]
        assert f" {len(missing)} would be told" in told
        status, told, said = await backfill(at, *window)
        assert (status, f" {len(missing)} are being told" in told, said) == (0, True, "")
        await until(lambda: at.states(*jobs) == [["completed"]] * 5)
        status, told, _ = await backfill(at, *window)
        assert (status, " 0 are being told" in told) == (0, True)
        assert at.states(*jobs) == [["completed"]] * 5
        assert list((tmp_path / "state").glob("backfill-*")) == []
        await at.stop()


async def test_a_window_that_is_none_is_refused(tmp_path: Path) -> None:
    """--from must be before --to, and both must be instants."""
    async with site(tmp_path) as at:
        assert (await backfill(at, "--from", "1d", "--to", "2d"))[0] == 78
        assert (await backfill(at, "--from", "yesterday"))[0] == 2
        assert (await backfill(at, "--from", "1d", "--rate", "0"))[0] == 2


def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    """The position is one window's own, survives, and is gone when all is told; garbage is no position."""
    position = ResumeFile(tmp_path, 100, 900)
    position.save("a", 500)
    assert (ResumeFile(tmp_path, 100, 900).load("a"), ResumeFile(tmp_path, 100, 900).load("b")) == (500, 100)
    assert ResumeFile(tmp_path, 200, 900).load("a") == 200
    for garbage in (b"[]", b'{"\xe9": 7}', b""):
        (tmp_path / "backfill-100-900.json").write_bytes(garbage)
        assert ResumeFile(tmp_path, 100, 900).load("a") == 100
    position.delete()
    assert list(tmp_path.iterdir()) == []


def test_a_position_that_cannot_be_written_is_no_failure() -> None:
    """What is told is told; only time is lost."""
    position = ResumeFile(Path("/nowhere"), 100, 900)
    position.save("a", 500)
    assert position.load("a") == 500


def test_the_words_of_progress() -> None:
    """Share, day, rate, queue and what is left; a hostile cluster's name is escaped; no line per run."""
    stream = io.StringIO()
    progress = Progress("a\x1b", 0, 86_400 * 4, stream)
    progress.read, progress.new = 1200, 30
    line = progress.line(86_400, 60.0, waiting=7)
    assert "25% 1970-01-02: 1,200 runs read, 30 new, 20/s, 7 wait, 3 min left" in line
    assert "\x1b" not in line
    for at in range(100):
        progress.came_to(at)
    assert stream.getvalue() == ""
