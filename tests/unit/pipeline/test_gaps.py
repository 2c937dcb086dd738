"""Spans of accounting that cannot be read, from a modelled Slurm into the real store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest
from structlog.testing import capture_logs

from slurmsyncd.errors import DiskFull, SourceUnavailable
from slurmsyncd.model import Plan, RunEnded, RunPhase, RunStarted, Trigger
from slurmsyncd.pipeline.gaps import RETRY_S
from slurmsyncd.planner.gaps import FLOOR_S
from tests.fakes import CLUSTER, FakeSource
from tests.unit.pipeline.conftest import CountingThread, until
from tests.unit.pipeline.test_collect import DAY, OVERLAP, SPAN, Rings, Stage
from tests.unit.store.builders import starts, tell_all

if TYPE_CHECKING:
    from collections.abc import Callable

    from slurmsyncd.model import Observation
    from slurmsyncd.store import SqliteStore

pytestmark = pytest.mark.anyio


@pytest.fixture
def stage(store: SqliteStore, thread: CountingThread) -> Stage:
    """A stage on a clock that is turned by hand as a whole, six hours after the daemon looked last."""
    made = Stage(store, thread)
    made.monotonic = made.clock.now
    made.restart()
    made.slurm.slice_s = 3600
    made.store.set_cursor(CLUSTER, made.slurm.now)
    began = made.slurm.now
    for n in range(1, 73):
        made.slurm.finished_long_ago(n, began + 300 * n - 200, began + 300 * n)
    made.later(6 * 3600)
    return made


def ended(stage: Stage) -> list[int]:
    return sorted(key.job_id for key, phase in stage.runs().items() if phase is RunPhase.STOPPED)


async def read_on(stage: Stage, attempts: int = 200) -> None:
    """Read accounting until it is read up to the present, or so many windows have been tried."""
    for _ in range(attempts):
        await stage.collector.poll()
        if stage.collector.has_polled:
            return


class TestSkipping:
    async def test_s4_a_minute_that_cannot_be_read_is_passed_and_named(self, stage: Stage) -> None:
        """All other runs are recorded, the position is the present, and the gap is at most a minute."""
        bad = stage.slurm.now - 3 * 3600
        stage.slurm.unreadable = frozenset({bad})
        with capture_logs() as lines:
            await read_on(stage)
        assert stage.store.cursor(CLUSTER) == stage.slurm.now
        (gap,) = stage.store.gaps(CLUSTER)
        assert gap.since <= bad <= gap.until <= gap.since + FLOOR_S
        assert gap.reason == "nothing answers"
        lost = [run.job_id for run in stage.slurm.runs if run.end_at == bad]
        assert lost
        assert ended(stage) == [run.job_id for run in stage.slurm.runs if run.job_id not in lost]
        (line,) = [line for line in lines if line["event"] == "accounting_gap"]
        assert (line["since"], line["until"], line["log_level"]) == (gap.since, gap.until, "warning")

    async def test_what_cannot_be_read_is_not_read_again_with_the_overlap(self, stage: Stage) -> None:
        """Polls read around it, at once and without a failure."""
        stage.slurm.unreadable = frozenset({stage.slurm.now - OVERLAP - 100})
        await read_on(stage)
        (gap,) = stage.store.gaps(CLUSTER)
        failures = stage.collector.tally.failures
        stage.slurm.looks.clear()
        for _ in range(5):
            stage.later(60)
            await stage.look()
        assert stage.collector.tally.failures == failures
        assert not [1 for since, end, _ in stage.slurm.looks if since < gap.until and end > gap.since]

    async def test_three_failures_of_the_narrowest_window_come_first(self, stage: Stage) -> None:
        """The position stands until then."""
        stage.slurm.slice_s = FLOOR_S
        begin = stage.slurm.now - 6 * 3600 - OVERLAP
        stage.slurm.unreadable = frozenset({begin + 30})
        for _ in range(2):
            await stage.collector.poll()
            assert stage.store.gaps(CLUSTER) == ()
        await stage.collector.poll()
        assert [(gap.since, gap.until) for gap in stage.store.gaps(CLUSTER)] == [(begin, begin + FLOOR_S)]
        assert stage.collector.tally.error is None

    @pytest.mark.parametrize("cause", ["outage", "every window"])
    async def test_s1_s4_nothing_is_skipped_while_no_window_answers(self, stage: Stage, cause: str) -> None:
        """An outage of slurmdbd, a limit that no window meets or hidden jobs: the position stands."""
        before = stage.store.cursor(CLUSTER)
        if cause == "outage":
            stage.slurm.accounting_up = False
        else:
            stage.slurm.unreadable = frozenset(range(stage.slurm.now - DAY, stage.slurm.now + DAY, 10))
        with capture_logs() as lines:
            for _ in range(40):
                await stage.collector.poll()
        assert (stage.store.gaps(CLUSTER), stage.store.cursor(CLUSTER)) == ((), before)
        assert "caught_up" not in {line["event"] for line in lines}
        stage.slurm.accounting_up, stage.slurm.unreadable = True, frozenset()
        await read_on(stage)
        assert len(ended(stage)) == 72

    async def test_a_window_at_the_present_has_none_behind_it(self, stage: Stage) -> None:
        """It is tried again until time has passed."""
        await read_on(stage)
        stage.later(20)
        stage.slurm.unreadable = frozenset({stage.slurm.now})
        for _ in range(12):
            await stage.collector.poll()
        assert stage.store.gaps(CLUSTER) == ()
        stage.later(200)
        await read_on(stage)
        assert len(stage.store.gaps(CLUSTER)) == 1

    async def test_s4_a_longer_span_becomes_one_gap(self, stage: Stage) -> None:
        """Adjacent windows merge; the newest minute shows that accounting answers."""
        first = stage.slurm.now - 3 * 3600
        stage.slurm.unreadable = frozenset(range(first, first + 600, 10))
        await read_on(stage)
        (gap,) = stage.store.gaps(CLUSTER)
        assert gap.since <= first < first + 590 <= gap.until
        assert gap.until - gap.since < 600 + 2 * FLOOR_S
        assert len(ended(stage)) == 72 - sum(
            first <= (run.end_at or 0) < first + 600 for run in stage.slurm.runs
        )

    async def test_i1_s4_the_position_does_not_pass_a_gap_that_is_not_on_the_disk(self, stage: Stage) -> None:
        """One transaction: with a full disk neither is recorded, and the next look finds it again."""
        stage.slurm.slice_s = FLOOR_S
        begin = stage.slurm.now - 6 * 3600 - OVERLAP
        stage.slurm.unreadable = frozenset({begin + 30})
        for _ in range(2):
            await stage.collector.poll()
        before = stage.store.cursor(CLUSTER)
        stage.slurm.widest_s = 3600
        stage.thread.failures["_record"] = [DiskFull("make room")]
        with pytest.raises(DiskFull):
            await stage.collector.poll()
        assert (stage.store.gaps(CLUSTER), stage.store.cursor(CLUSTER)) == ((), before)
        await read_on(stage)
        assert len(stage.store.gaps(CLUSTER)) == 1
        assert stage.store.cursor(CLUSTER) == stage.slurm.now


class TestFullDisk:
    async def test_d1_an_answer_that_finds_no_room_is_no_gap(self, stage: Stage) -> None:
        """The window is not to blame, however often it fails; later ones may be small enough."""

        class Full(FakeSource):
            async def poll(
                self, since: int, until: int, *, listing: bool = True, accounting: bool = True
            ) -> Observation:
                try:
                    return await super().poll(since, until, listing=listing, accounting=accounting)
                except SourceUnavailable as err:
                    raise SourceUnavailable(str(err), disk_full=True) from err

        stage.slurm.unreadable = frozenset({stage.slurm.now - 3 * 3600})
        stage.collector._gaps._source = Full(stage.slurm)
        for _ in range(60):
            await stage.collector.catch_up()
        assert stage.store.gaps(CLUSTER) == ()
        stage.restart()
        await read_on(stage)
        assert len(stage.store.gaps(CLUSTER)) == 1

    async def test_d1_while_the_disk_is_full_accounting_is_not_read_on_without_a_pause(
        self, stage: Stage
    ) -> None:
        """What cannot be recorded is read again by the next poll, also in the middle of a long way to catch up."""
        await stage.collector.poll()
        assert stage.collector.is_catching_up
        stage.thread.failures["_record"] = [DiskFull("make room")] * 1000
        rings = Rings()
        async with anyio.create_task_group() as group:
            group.start_soon(stage.collector.run, rings)
            await until(lambda: rings.waits[-1:] > [1.0] or len(rings.waits) > 20)
            group.cancel_scope.cancel()
        rings.close()
        assert len(rings.waits) <= 2


class TestBehind:
    async def test_s1_how_far_it_is_behind_is_told_while_the_position_stands(self, stage: Stage) -> None:
        """By the collector, and in the log once an hour; `caught_up` follows once that is so, and never before."""
        stage.slurm.accounting_up = False
        with capture_logs() as lines:
            for _ in range(120):
                await stage.collector.poll()
                assert stage.collector.behind_s == stage.clock.at - (stage.store.cursor(CLUSTER) or 0)
                stage.later(60)
            assert "caught_up" not in {line["event"] for line in lines}
            stage.slurm.accounting_up = True
            await read_on(stage)
        told = [line["behind_s"] for line in lines if line["event"] == "accounting_behind"]
        assert told == [6 * 3600, 7 * 3600]
        assert [line["event"] for line in lines].count("caught_up") == 1
        assert stage.collector.behind_s == 0


class TestFilling:
    async def _run(self, stage: Stage, done: Callable[[], object]) -> None:
        rings = Rings()
        async with anyio.create_task_group() as group:
            group.start_soon(stage.collector.run, rings)
            await until(done)
            group.cancel_scope.cancel()
        rings.close()

    async def test_s4_a_gap_is_filled_by_itself_after_a_restart(self, stage: Stage) -> None:
        """Its run is recorded once, and the gap is deleted with it."""
        bad = stage.slurm.now - 3 * 3600
        stage.slurm.unreadable = frozenset({bad})
        await read_on(stage)
        stage.slurm.unreadable = frozenset()
        stage.restart()
        with capture_logs() as lines:
            await self._run(stage, lambda: stage.store.gaps(CLUSTER) == ())
        assert ended(stage) == list(range(1, 73))
        assert [line["event"] for line in lines].count("accounting_gap_closed") == 1

    async def test_a_gap_that_still_fails_is_tried_once_an_hour(self, stage: Stage) -> None:
        """Without disturbing the polls: accounting does not count as away because of it."""
        bad = stage.slurm.now - 3 * 3600
        stage.slurm.unreadable = frozenset({bad})
        await read_on(stage)
        (gap,) = stage.store.gaps(CLUSTER)
        stage.restart()
        await stage.look()
        tries = 0
        for _ in range(180):
            stage.later(60)
            await stage.look()
            if stage.collector._fills:
                await stage.collector.fill_gap()
                tries += 1
            assert stage.collector.tally.error is None
        assert tries == 180 * 60 // int(RETRY_S)
        assert stage.store.gaps(CLUSTER) == (gap,)

    async def test_i2_s4_a_gap_older_than_the_look_back_is_filled_and_no_run_is_doubled(
        self, stage: Stage
    ) -> None:
        """What ended in it stays known, though settled runs are forgotten after the look-back and a day."""
        bad = stage.slurm.now - 3 * 3600
        unknown = next(run for run in stage.slurm.runs if run.end_at == bad)
        reported = stage.slurm.finished_long_ago(500, bad - 50, bad)
        (row,) = (row for row in stage.slurm.rows() if row.key.job_id == reported.job_id)
        events = (RunStarted(row, Trigger.POLL), RunEnded(row, Trigger.POLL))
        stage.store.record(Plan(cluster=CLUSTER, events=events), stage.clock.at)
        stage.slurm.unreadable = frozenset({bad})
        await read_on(stage)
        stage.later(SPAN + 5 * DAY)
        tell_all(stage.store, stage.clock.at)
        stage.later(SPAN + 5 * DAY)
        stage.store.prune(stage.clock.at, SPAN + DAY)
        assert ended(stage) == [reported.job_id]
        stage.slurm.unreadable = frozenset()
        await stage.look()
        await stage.collector.fill_gap()
        assert ended(stage) == [unknown.job_id, reported.job_id]
        assert stage.store.gaps(CLUSTER) == ()
        assert [entry.start.key.job_id for entry in starts(stage.store, stage.clock.at)] == [unknown.job_id]
        stage.store.prune(stage.clock.at, SPAN + DAY)
        assert ended(stage) == [unknown.job_id]
