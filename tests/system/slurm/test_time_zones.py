"""Z3: no local time anywhere. Runs around both changes of the clocks are seen once, with their own seconds."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import anyio
import pytest

from slurmsyncd.config import SlurmConfig
from slurmsyncd.sources.command_source import CommandSource
from tests.unit.sandbox.slurm.lab import Lab as Simulated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from slurmsyncd.model import Job
    from tests.tools.lab import Lab

pytestmark = pytest.mark.anyio

#: In Berlin 02:30 came twice that night, and an hour apart; in spring 02:30 never came.
DOUBLED = datetime(2026, 10, 25, 1, 0, tzinfo=timezone.utc)
MISSING = datetime(2026, 3, 29, 1, 0, tzinfo=timezone.utc)
ZONES = ("Europe/Berlin", "America/New_York", "Pacific/Chatham", "UTC")


@pytest.fixture(params=ZONES)
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The daemon's own time zone, as its host has it."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("shape", ["22.05", "24.11", "26.05"])
@pytest.mark.parametrize("change", [DOUBLED, MISSING], ids=["doubled hour", "missing hour"])
async def test_z3_runs_around_a_change_of_the_clocks(
    change: datetime, shape: str, zone: str, tmp_path: Path
) -> None:
    """Three runs end half an hour before, at and half an hour after it; each window holds its own one."""
    at = int(change.timestamp())
    cluster = Simulated(tmp_path, shape, min_job_age_s=300)
    source = CommandSource(
        "sim", SlurmConfig(bin_dir=str(cluster.bin)), directory=tmp_path, now=lambda: cluster.now
    )
    cluster.now = at - 3600
    began = int(cluster.now)
    for took in (1800.0, 3600.0, 5400.0):
        cluster.submit(duration_s=took)
    cluster.pass_(7200, step=60.0)
    ends = {run.end_at for run in cluster.sim.ledger() if run.end_at is not None}
    assert len(ends) == 3
    for end in ends:
        seen = await source.poll(end - 60, end + 60, listing=False)
        assert [(job.key.start_at - began < 120, job.end_at) for job in seen.ended_runs] == [(True, end)], (
            zone
        )
    cluster.sim.close()


async def test_z3_real_slurm_says_the_same_in_every_zone(lab: Lab, tmp_path: Path, zone: str) -> None:
    """The zone of the daemon's host changes neither what is asked nor what is understood."""
    before = int(time.time()) - 1
    job_id = lab.sbatch("-n1", script="sleep 1")
    (row,) = lab.wait_accounted(job_id)
    config = SlurmConfig(bin_dir=str(lab.bin_dir))
    source = CommandSource(lab.cluster, config, slurm_conf=lab.env["SLURM_CONF"], directory=tmp_path)
    found: list[Job] = []
    with anyio.fail_after(30):  # 22.05 completes the row of a short run up to five seconds late
        while not found:
            seen = await source.poll(before, int(time.time()) + 1)
            found = [job for job in seen.ended_runs if job.key.job_id == job_id]
    (job,) = found
    assert (job.key.start_at, job.end_at) == (int(row["Start"]), int(row["End"]))
    assert before <= job.key.start_at <= time.time(), zone
