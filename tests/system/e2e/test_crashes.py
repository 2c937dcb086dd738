"""The daemon is killed at any moment and started again: nothing is lost, nothing is doubled."""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING

from tests.system.e2e.traffic import Traffic

if TYPE_CHECKING:
    from tests.system.e2e.site import Site
    from tests.system.e2e.witness import Witness
    from tests.tools.lab import Lab

#: A long run of it: `SLURMSYNCD_TEST_KILLS=300 pytest tests/system/e2e/test_crashes.py`.
KILLS = int(os.environ.get("SLURMSYNCD_TEST_KILLS", "12"))
LIVES_S = (0.05, 3.0)  # a daemon's life, from the moment that its process began


def test_d5_j8_a_daemon_that_is_killed_at_any_moment_loses_and_doubles_nothing(
    lab: Lab, site: Site, witness: Witness
) -> None:
    """Killed a dozen times, before it is ready and after, while jobs start and end: all records are as if it never was."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - to be able to repeat a failure
    dice = random.Random(seed)
    backend = site.backend()
    daemon = site.daemon(backend, daemon__query_delay=0.3)
    hook = site.hook(daemon)
    traffic = Traffic(lab, witness)
    with lab.hooks(prolog=hook, epilog=hook):
        for _ in range(KILLS):
            traffic.any(dice)
            time.sleep(dice.uniform(*LIVES_S))  # not for something: this is the moment
            daemon.process.kill()
            daemon.process.launch()
        daemon.process.kill()
        daemon.start()
        traffic.check(backend)
    assert daemon.stop() == 0
    assert not daemon.events("store_damaged")
