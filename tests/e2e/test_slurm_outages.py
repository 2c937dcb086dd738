"""Parts of Slurm are away while jobs run: no run is said to have ended that has not, and everything arrives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.e2e.traffic import Traffic
from tests.lab import until

if TYPE_CHECKING:
    from tests.e2e.site import Site
    from tests.e2e.witness import Witness
    from tests.lab import Lab


def test_s2_s3_no_run_ends_because_slurm_does_not_answer(lab: Lab, site: Site, witness: Witness) -> None:
    """slurmdbd is away for a while, then slurmctld; a job goes on all the time, another ends without slurmdbd."""
    backend = site.backend()
    daemon = site.daemon(backend)
    traffic = Traffic(lab, witness)
    through = traffic.start("-N2", "-n4", "--gres=gpu:1")
    until(lambda: backend.jobs("running"), "first job in the backend", timeout_s=30)

    with lab.slurmdbd.stopped():
        short = traffic.start("-n1", "--gres=gpu:2", seconds=5)
        until(lambda: backend.jobs_of(short), "start of a job without slurmdbd", timeout_s=30)
        lab.wait(short, "COMPLETED")
        daemon.wait_event("look_failed")
        assert {row["jobState"] for row in traffic.rows(backend)} == {"running"}
    daemon.wait_event("look_works_again")
    until(lambda: len(backend.jobs("running")) == 1, "end of the short job", timeout_s=60)

    failures = len(daemon.events("look_failed"))
    with lab.slurmctld.stopped():
        until(lambda: len(daemon.events("look_failed")) > failures, "failed look", timeout_s=60)
        assert [job["jobId"] for job in backend.jobs("running")] == [through]
    until(lab._slurmctld_answers, "answer of slurmctld", timeout_s=60)

    last = traffic.start("-n3", "--gres=gpu:1", seconds=3)
    until(lambda: backend.jobs_of(last), "start of a job after it all", timeout_s=60)
    assert [job["jobId"] for job in backend.jobs("running") if job["jobId"] == through] == [through]
    lab.scancel(through)
    traffic.check(backend)
    assert daemon.stop() == 0
