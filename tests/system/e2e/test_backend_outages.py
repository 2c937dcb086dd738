"""The backend is away, or hangs, while jobs start and end: that delays records and takes nothing out of them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.system.e2e.traffic import Traffic
from tests.tools.lab import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.system.e2e.site import Backend, Site
    from tests.system.e2e.witness import Witness
    from tests.tools.lab import Lab


@contextmanager
def stopped(backend: Backend) -> Iterator[None]:
    """Do without the backend: connections are refused."""
    with backend.process.stopped():
        yield


@contextmanager
def frozen(backend: Backend) -> Iterator[None]:
    """Have the backend hang: connections are taken, and nobody answers."""
    with backend.process.frozen():
        yield


@pytest.mark.parametrize("away", [stopped, frozen])
def test_h1_h3_a_backend_that_is_away_for_a_while_gets_everything_complete(
    lab: Lab, site: Site, witness: Witness, away: type
) -> None:
    """Jobs that start, that end, and that start and end meanwhile arrive with all hardware threads and GPUs."""
    backend = site.backend()
    daemon = site.daemon(backend)
    traffic = Traffic(lab, witness)
    before = traffic.start("-N2", "-n6", "--gres=gpu:2")
    until(lambda: backend.jobs_of(before), "first job in the backend", timeout_s=30)

    with away(backend):
        within = [traffic.submit("-n5", "--gres=gpu:1", seconds=4), traffic.submit("-n2", seconds=0)]
        beyond = traffic.start("-N3", "-n9", "--gres=gpu:1")
        lab.scancel(before)
        for job_id in (before, *within):
            lab.wait_accounted(job_id)
        daemon.wait_event("sink_unavailable")
        until(lambda: lab.all_idle() is False, "job that goes on", timeout_s=10)

    daemon.wait_event("sink_available_again")
    until(lambda: backend.jobs_of(beyond), "last job in the backend", timeout_s=30)
    lab.scancel(beyond)
    traffic.check(backend)
    assert daemon.stop() == 0
