"""`slurmsyncd verify` on a real Slurm."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.system.e2e.site import Backend, Daemon, Site
from tests.tools.lab import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.tools.lab import Lab

OVERLAP_S = 2


@pytest.fixture
def site(lab: Lab) -> Iterator[Site]:
    """A site for one test."""
    with Site.open(lab) as site:
        yield site


def verify(daemon: Daemon, since: int, *options: str) -> tuple[int, dict[str, int], dict[str, Any]]:
    """Return exit status, what is not zero of all runs, and the document."""
    done = daemon.run("verify", "--json", "--since", str(since), *options)
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    ((sink,),) = (cluster["sinks"] for cluster in found["clusters"])
    return done.returncode, {name: number for name, number in sink["all"].items() if number}, found


def count_ended(backend: Backend, since: int) -> int:
    """Count the runs that started since then and have ended; slurmctld still knows those of other tests."""
    return sum(job["startTime"] >= since for job in backend.jobs("completed", "failed"))


def put_forward(daemon: Daemon) -> None:
    """Have the stopped daemon believe that it has read all of accounting."""
    with daemon.open_store() as store:
        for cluster in store.cursors():
            store.set_cursor(cluster, int(time.time()))
    os.utime(daemon.lastrun)


def test_what_the_daemon_passed_by_is_found_and_sent(lab: Lab, site: Site) -> None:
    """
    Beside a daemon that works nothing is missing, down to the backend: runs of several kinds and one that runs.

    What came and went while its position was wrongly put forward is found, named, and sent by --repair.
    """
    since = int(time.time()) + 1
    until(lambda: time.time() > since, "a second in which no job of another test ended", timeout_s=60)
    backend = site.backend()
    daemon = site.daemon(backend, daemon__overlap=OVERLAP_S)
    runs = [lab.sbatch("-n1"), lab.sbatch("-n1", script="exit 3"), lab.sbatch("-n2", script="sleep 300")]
    array = lab.sbatch("-n1", "--array=1-3")
    never = lab.sbatch("--begin=now+1hour")
    lab.wait(runs[2], "RUNNING")
    lab.scancel(never)
    until(lambda: count_ended(backend, since) == 5, "ends in the backend", timeout_s=120)
    until(lambda: backend.jobs_of(runs[2]), "the long job in the backend", timeout_s=60)
    lab.wait_accounted(array)

    def settled() -> bool:
        return verify(daemon, since, "--backend")[:2] == (0, {"runs": 6, "delivered": 6})

    until(settled, "proof", timeout_s=120)
    _, _, found = verify(daemon, since)
    assert sum(found["clusters"][0]["never_started"].values()) == 1
    assert sum(found["slurm_commands"].values()) <= 6, "no command for single runs"

    assert daemon.stop() == 0
    late = [lab.sbatch("-n1", "-J", "ev\x1bil"), lab.sbatch("-n1", script="exit 1")]
    ended = max(int(row["End"]) for job_id in late for row in lab.wait_accounted(job_id))
    until(lambda: int(time.time()) > ended, "the next second", timeout_s=60)
    assert verify(daemon, since)[:2] == (0, {"runs": 8, "delivered": 6, "unread": 2})
    until(lambda: time.time() > ended + OVERLAP_S + 1, "time to pass", timeout_s=60)
    put_forward(daemon)
    status, counts, found = verify(daemon, since)
    assert (status, counts) == (1, {"runs": 8, "delivered": 6, "missing": 2})
    assert sorted(each["job_id"] for each in found["differences"]) == sorted(late)
    said = daemon.run("verify", "--since", str(since)).stdout
    assert "\x1b" not in said
    assert "ev\\x1bil" in said

    status, counts, found = verify(daemon, since, "--repair")
    assert (status, counts, found["repaired"]) == (0, {"runs": 8, "delivered": 6, "waiting": 2}, 2)
    daemon.start()
    until(lambda: count_ended(backend, since) == 7, "ends in the backend", timeout_s=120)
    assert [[job["jobState"] for job in backend.jobs_of(each)] for each in late] == [
        ["completed"],
        ["failed"],
    ]
    assert daemon.stop() == 0
