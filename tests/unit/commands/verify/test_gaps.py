"""Minutes of accounting that cannot be read: named by verify and backfill, and closed by a repair."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from slurmsyncd.commands.verify.checker import Verifier
from slurmsyncd.commands.verify.json_report import document
from slurmsyncd.commands.verify.report import Report
from slurmsyncd.console.accounting_windows import slices
from slurmsyncd.errors import SourceUnavailable
from slurmsyncd.model import Gap, Plan
from slurmsyncd.planner.gaps import FLOOR_S
from tests.fakes import CLUSTER, FakeSlurm, FakeSource
from tests.unit.commands.verify.test_check import SINK, config, shown
from tests.unit.store.builders import opened

if TYPE_CHECKING:
    from slurmsyncd.config import Config

__all__ = ["config"]
pytestmark = pytest.mark.anyio

NOW = int(time.time())
SINCE = NOW - 6 * 3600
BAD = NOW - 3 * 3600


@pytest.fixture
def slurm() -> FakeSlurm:
    """Accounting with a run that ends every ten minutes, of which one ends in a second that fails."""
    made = FakeSlurm(now=NOW, slice_s=3600)
    for n in range(1, 36):
        made.finished_long_ago(n, SINCE + 600 * n - 500, SINCE + 600 * n)
    made.unreadable = frozenset({BAD})
    return made


async def check(config: Config, slurm: FakeSlurm, *, repair: bool) -> Report:
    report = Report(since=SINCE, until=NOW - 900)
    checker = Verifier(config, report, sinks=[SINK], backends={}, repair=repair, progress=lambda *_: None)
    await checker.cluster(FakeSource(slurm), now_too=False)
    return report


async def test_s4_what_cannot_be_read_is_a_part_of_its_own(slurm: FakeSlurm) -> None:
    """All others are read, each second once, and windows get wide again behind it."""
    parts = [part async for part in slices(FakeSource(slurm), SINCE, NOW, pause_s=0)]
    (unread,) = [part for part in parts if part.unread]
    assert unread.since <= BAD < unread.until <= unread.since + FLOOR_S + 1
    assert [part.since for part in parts[1:]] == [part.until for part in parts[:-1]]
    read = [run.key.job_id for part in parts for run in part.runs]
    assert read == [run.job_id for run in slurm.runs if run.end_at != BAD]
    assert len(parts) < 40


@pytest.mark.parametrize("bad", [frozenset[int](), frozenset(range(SINCE - 60, NOW + 86400, 10))])
async def test_s1_what_fails_for_every_window_is_an_outage(slurm: FakeSlurm, bad: frozenset[int]) -> None:
    """It is found with two questions, and nothing is skipped."""
    slurm.unreadable, slurm.accounting_up = bad, bool(bad)
    with pytest.raises(SourceUnavailable):
        [part async for part in slices(FakeSource(slurm), SINCE, NOW, pause_s=0)]
    assert len(slurm.looks) == 2


async def test_s4_verify_names_the_minutes_that_it_cannot_read(config: Config, slurm: FakeSlurm) -> None:
    """In words and as JSON; what was not read is not proved complete."""
    opened(config.daemon.state_dir).close()
    report = await check(config, slurm, repair=True)
    (found,) = report.clusters
    (gap,) = found.unread
    assert not report.complete
    (told,) = document(report)["clusters"]
    assert told["unread"] == [{"since": gap.since, "until": gap.until, "reason": gap.reason}]
    assert "could not be read: nothing answers" in shown(report)
    assert "of accounting could not be read" in shown(report).splitlines()[-2]


@pytest.mark.parametrize("repair", [False, True])
async def test_s4_verify_repair_fills_a_gap_and_closes_it(
    config: Config, slurm: FakeSlurm, repair: bool
) -> None:
    """Its run is missing although it is old, and is recorded before the gap is closed; a second time is nothing."""
    slurm.unreadable = frozenset()
    store = opened(config.daemon.state_dir)
    gap = Gap(cluster=CLUSTER, since=BAD - 30, until=BAD + 30, reason="x", recorded_at=1.0)
    store.record(Plan(cluster=CLUSTER, cursor=NOW, gap=gap), NOW)
    store.close()
    for _ in range(2):
        report = await check(config, slurm, repair=repair)
    store = opened(config.daemon.state_dir)
    recorded = store.end_times(CLUSTER, range(1, 36))
    assert len(recorded) == (34 if repair else 0)  # the last one ended behind the window of the check
    assert store.gaps(CLUSTER) == (() if repair else (gap,))
    assert report.complete is repair
    store.close()


async def test_a_run_of_a_gap_is_missing_however_old_or_fresh_it_is(config: Config, slurm: FakeSlurm) -> None:
    """It is neither forgotten nor left to the next look, which reads around it."""
    slurm.unreadable = frozenset()
    store = opened(config.daemon.state_dir)
    gap = Gap(cluster=CLUSTER, since=BAD - 30, until=BAD + 30, reason="x", recorded_at=1.0)
    store.record(Plan(cluster=CLUSTER, cursor=BAD, gap=gap), NOW)
    store.close()
    report = await check(config, slurm, repair=False)
    assert BAD in [each.end_at for each in report.differences if each.fate.value == "missing"]
