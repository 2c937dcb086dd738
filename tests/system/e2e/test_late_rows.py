"""What slurmctld holds for slurmdbd after an outage, and when accounting has it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from slurmsyncd.slurm.sdiag import counted_messages
from tests.tools.lab import LabError, until

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from tests.tools.lab import Lab

OUTAGES_S = (20, 90)
JOBS = 5


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Take the long outage only with the whole matrix."""
    if "outage_s" not in metafunc.fixturenames:
        return
    whole = metafunc.config.getoption("--whole-matrix")
    metafunc.parametrize("outage_s", OUTAGES_S if whole else OUTAGES_S[:1])


def test_s1_z6_what_slurmctld_no_longer_holds_is_in_accounting(
    lab: Lab, outage_s: int, record_property: Callable[[str, object], None]
) -> None:
    """Jobs begin and end while slurmdbd is away. Once sdiag counts no message, the next sacct has all of them."""
    with lab.slurmdbd.stopped():
        began = time.monotonic()
        jobs = {lab.sbatch("-n1", script="true") for _ in range(JOBS)}
        for job_id in jobs:
            lab.wait(job_id, "COMPLETED")
        until(lambda: time.monotonic() - began >= outage_s, "end of the outage", timeout_s=outage_s + 60)
        assert _queued(lab) >= 2 * JOBS
    empty, there = _after_return(lab, jobs)
    record_property("queue_empty_s", round(empty, 1))
    record_property("rows_there_s", round(there, 1))
    assert there <= empty


def test_s1_any_user_sees_what_slurmctld_holds_whatever_is_private(lab: Lab) -> None:
    """sdiag needs no role, unlike the lists of jobs."""
    private = "accounts,jobs,reservations,usage,users"
    with lab.neighbour("private", own_slurmdbd=False, PrivateData=private) as other:
        assert _queued(other) >= 0


def _after_return(lab: Lab, jobs: set[int]) -> tuple[float, float]:
    """Return the seconds after which sdiag counted nothing, and after which an earlier sacct had all jobs."""
    began, there = time.monotonic(), float("inf")
    while time.monotonic() - began < 120:
        queued, asked_at = _queued(lab), time.monotonic()
        if _ended(lab, jobs) == jobs:
            there = min(there, asked_at - began)
        if not queued:
            return asked_at - began, there
    raise LabError("slurmctld still holds messages for slurmdbd")


def _queued(lab: Lab) -> int:
    queued = counted_messages(lab.run("sdiag", user="games"))
    assert queued is not None
    return queued


def _ended(lab: Lab, jobs: set[int]) -> set[int]:
    """Return which of the jobs accounting has with their ends."""
    wanted = ",".join(map(str, jobs))
    rows = lab.sacct("-S", "uts1000000000", "-j", wanted, fields="JobIDRaw,End")
    return {int(row["JobIDRaw"]) for row in rows if row["End"].isdigit()}
