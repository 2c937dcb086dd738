"""With the hook a job is in the backend within three seconds of its start, and its end within three of its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.e2e.site import STOP_HOLD_S
from tests.e2e.witness import runs
from tests.lab import until

if TYPE_CHECKING:
    from tests.e2e.site import Site
    from tests.lab import Lab

PROMISED_S = 3.0
SLURM_S = 1.0  # Slurm's times are cut to whole seconds
JOBS = 3


def test_a_job_reaches_the_backend_within_three_seconds(lab: Lab, site: Site) -> None:
    """Counted from Slurm's own times, with nobody looking but on the hook's word; the stop hold is over by then."""
    backend = site.backend()
    daemon = site.daemon(backend, daemon__poll_interval=3600)
    hook = site.hook(daemon)
    with lab.hooks(prolog=hook, epilog=hook):
        for _ in range(JOBS):
            job_id = lab.sbatch("-N2", "--gres=gpu:1", script=f"sleep {STOP_HOLD_S + PROMISED_S + SLURM_S}")
            until(lambda each=job_id: backend.told("stop", each), "stop", timeout_s=60)  # type: ignore[misc]
            (run,) = runs(lab, job_id)
            (start,), (stop,) = backend.told("start", job_id), backend.told("stop", job_id)

            assert (start["status"], stop["status"]) == (201, 200)
            assert start["ended"] - run.key[1] <= PROMISED_S + SLURM_S
            assert stop["ended"] - int(run.row["End"]) <= PROMISED_S + SLURM_S
