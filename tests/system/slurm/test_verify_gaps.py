"""A real Slurm of which one minute of accounting cannot be read."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from tests.system.e2e.commands import Commands
from tests.system.slurm.test_verify import site, verify
from tests.tools.bench.catchup import DAY_S
from tests.tools.bench.dbd import FIRST, fill, sql
from tests.tools.lab import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.e2e.site import Backend, Daemon, Site
    from tests.tools.lab import Lab

__all__ = ["site"]

RUNS = 24
#: Fails as sacct does, for each window with the second that the file names; questions by id are answered.
SACCT = """#!/bin/sh
bad=$(cat {bad} 2>/dev/null)
case " $* " in *" -j "*) bad= ;; esac
for word in "$@"; do
    case $before in -S) since=${{word#uts}} ;; -E) until=${{word#uts}} ;; esac
    before=$word
done
if [ "$bad" ] && [ "$until" ] && [ "$since" -le "$bad" ] && [ "$bad" -le "$until" ]; then
    echo 'sacct: error: slurmdbd: Unspecified error' >&2
    exit 1
fi
exec {real}/sacct "$@"
"""


def failing_sacct(lab: Lab, directory: Path, bad: Path) -> Path:
    """Return a directory of Slurm's commands whose sacct fails for one second."""
    Commands(lab, directory)
    (directory / "sacct").write_text(SACCT.format(bad=bad, real=lab.bin_dir))
    return directory


def reported(backend: Backend) -> dict[int, int]:
    """Return how often the backend has each of the runs that were made up."""
    ids = [job["jobId"] for job in backend.jobs("completed") if job["jobId"] > FIRST]
    return {job_id: ids.count(job_id) for job_id in ids}


def status(daemon: Daemon) -> dict[str, Any]:
    """Return what `status --json` prints."""
    found: dict[str, Any] = json.loads(daemon.run("status", "--json").stdout)
    return found


def test_s4_i1_i2_a_minute_that_sacct_fails_for_is_passed_named_and_filled(lab: Lab, site: Site) -> None:
    """
    Of 24 runs of a day one ended in a second that cannot be read; no window with it ever is.

    The position passes it, the other 23 arrive, the gap is named by `status` and `verify`, also after the
    daemon was killed, and `verify --repair` fills it: none is lost and none doubled.
    """
    began = int(time.time()) - DAY_S - 600
    bad = site.root / "bad"
    fill(lab, RUNS, began)
    try:
        ends = [int(at) for at in sql(lab, _ENDS.format(table=f"{lab.cluster}_job_table")).split()]
        bad.write_text(str(ends[RUNS // 2]))
        backend = site.backend()
        commands = failing_sacct(lab, site.root / "bin", bad)
        daemon = site.daemon(backend, daemon__max_span=DAY_S + 1200, slurm__bin_dir=str(commands))
        gap = daemon.wait_event("accounting_gap", timeout_s=180)
        assert gap["since"] <= ends[RUNS // 2] <= gap["until"] <= gap["since"] + 60
        daemon.wait_event("caught_up", timeout_s=60)
        all_but_one = set(range(FIRST + 1, FIRST + RUNS + 1)) - {FIRST + RUNS // 2 + 1}
        until(lambda: reported(backend).keys() >= all_but_one, "all other runs", timeout_s=120)

        daemon.process.kill()
        daemon.start()
        daemon.wait_event("slurm_command", timeout_s=60)
        said = status(daemon)
        assert [(each["since"], each["until"]) for each in said["totals"]["gaps"]] == [
            (gap["since"], gap["until"])
        ]
        assert "verify --repair" in str(said["verdict"]["problems"])
        assert time.time() - said["totals"]["cursors"][lab.cluster] < 60
        code, _, found = verify(daemon, began, "--repair")
        assert (code, found["complete"]) == (1, False)
        (unread,) = found["clusters"][0]["unread"]
        assert unread["since"] <= ends[RUNS // 2] <= unread["until"]
        assert reported(backend).keys() == all_but_one

        bad.unlink()
        code, _, found = verify(daemon, began, "--repair")
        assert (code, found["clusters"][0]["unread"], found["repaired"]) == (0, [], 1)
        until(lambda: len(reported(backend)) == RUNS, "the run of the gap", timeout_s=60)
        assert set(reported(backend).values()) == {1}
        assert status(daemon)["totals"]["gaps"] == []
        closed = daemon.events("accounting_gap_closed")  # in the parts that verify reads
        assert (closed[0]["since"], closed[-1]["until"]) == (gap["since"], gap["until"])
        assert daemon.stop() == 0
    finally:
        sql(lab, f"DELETE FROM {lab.cluster}_job_table WHERE id_job > {FIRST}")


_ENDS = f"SELECT time_end FROM {{table}} WHERE id_job > {FIRST} ORDER BY id_job"
