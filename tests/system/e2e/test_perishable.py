"""GPU ids are known only while a job runs: they are read in time, by a poll or on the hook's word."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.system.e2e.traffic import Traffic
from tests.tools.lab import until

if TYPE_CHECKING:
    from tests.system.e2e.site import Site
    from tests.system.e2e.witness import Witness
    from tests.tools.lab import Lab

POLL_S = 5
JOBS = 5


def test_a_job_a_second_longer_than_the_poll_keeps_its_gpus(lab: Lab, site: Site, witness: Witness) -> None:
    """Without a hook, whenever it starts between two polls."""
    backend = site.backend()
    site.daemon(backend, daemon__poll_interval=POLL_S)
    traffic = Traffic(lab, witness)
    for _ in range(JOBS):
        job_id = traffic.submit("-n1", "--gres=gpu:1", seconds=POLL_S + 1)
        # The next one begins at another moment of the interval.
        until(lambda each=job_id: backend.told("start", each), "start", timeout_s=60)  # type: ignore[misc]
    traffic.check(backend)


def test_a_hook_makes_a_job_of_two_seconds_complete(lab: Lab, site: Site, witness: Witness) -> None:
    """Nobody looks but on its word; the question comes a second after it."""
    backend = site.backend()
    daemon = site.daemon(backend, daemon__poll_interval=3600)
    hook = site.hook(daemon)
    traffic = Traffic(lab, witness)
    with lab.hooks(prolog=hook, epilog=hook):
        for _ in range(JOBS):
            traffic.submit("-n1", "--gres=gpu:2", seconds=2)
        traffic.check(backend)
