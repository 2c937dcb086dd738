"""With the hook a job is in the backend within three seconds of its start, and its end within three of its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.system.e2e.site import STOP_HOLD_S
from tests.system.e2e.witness import runs
from tests.tools.lab import until

if TYPE_CHECKING:
    from tests.system.e2e.site import Site
    from tests.tools.lab import Lab

PROMISED_S = 3.0
SLURM_S = 1.0  # Slurm's times are cut to whole seconds
JOBS = 3


def test_a_job_reaches_the_backend_within_three_seconds(lab: Lab, site: Site) -> None:
    """Counted from Slurm's own times, with nobody looking but on the hook's word; the stop hold is over by then."""
    backend = site.backend()
    daemon = site.daemon(backend, daemon__poll_interval=3600)
    hook = site.hook(daemon)
    script = f"sleep {STOP_HOLD_S + PROMISED_S + SLURM_S}"
    with lab.hooks(prolog=hook, epilog=hook):
        ids = []
        for _ in range(JOBS):
            ids.append(lab.sbatch("-N2", "--gres=gpu:1", script=script))
            until(lambda each=ids[-1]: backend.told("start", each), "start", timeout_s=60)  # type: ignore[misc]
        for job_id in ids:
            until(lambda each=job_id: backend.told("stop", each), "stop", timeout_s=60)  # type: ignore[misc]

    for job_id in ids:
        (run,) = runs(lab, job_id)
        (start,), (stop,) = backend.told("start", job_id), backend.told("stop", job_id)
        assert (start["status"], stop["status"]) == (201, 200)
        late = start["ended"] - run.key[1], stop["ended"] - int(run.row["End"])
        print(f"job {job_id}: start {late[0]:.2f} s and end {late[1]:.2f} s after Slurm's (whole) second")  # noqa: T201
        assert max(late) <= PROMISED_S + SLURM_S
