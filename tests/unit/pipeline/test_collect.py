"""The collector, from a modelled Slurm into the real store."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
from structlog.testing import capture_logs

from slurmsyncd.errors import DiskFull, SourceUnavailable, StoreError
from slurmsyncd.model import JobQuestions, JobState, Notification, Plan, RunEnded, RunPhase, RunStarted
from slurmsyncd.pipeline.collect import Collector, CollectPolicy
from tests.fakes import CLUSTER, FakeClock, FakeSlurm, FakeSource
from tests.unit.pipeline.conftest import CountingThread, until
from tests.unit.store.builders import known

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from slurmsyncd.model import JobAnswers, Observation, RunKey
    from slurmsyncd.store import SqliteStore

pytestmark = pytest.mark.anyio

DAY = 86400
SPAN = 7 * DAY
OVERLAP = 300


class Stage:
    """A modelled Slurm, a collector on it, and what it has written down."""

    def __init__(
        self, store: SqliteStore, thread: CountingThread, poll_s: float = 3600.0, at_once: int = 500
    ) -> None:
        self.slurm = FakeSlurm()
        self.at_once = at_once
        self.store = store
        self.thread = thread
        self.clock = FakeClock(self.slurm.now)
        self.plans: list[Plan] = []
        self.monotonic: Callable[[], float] = time.monotonic
        self.policy = CollectPolicy(poll_s=poll_s, overlap_s=OVERLAP, max_span_s=SPAN)
        self.collector = self.restart()

    def restart(self) -> Collector:
        """Lose all that is not in the store."""
        self.source = source = FakeSource(self.slurm)
        source.at_once = self.at_once
        self.collector = Collector(
            source,
            self.store,
            self.thread,
            self.policy,
            self.clock,
            recorded=self._recorded,
            monotonic=self.monotonic,
        )
        return self.collector

    async def _recorded(self, plan: Plan) -> None:
        self.plans.append(plan)

    def later(self, seconds: int) -> None:
        self.slurm.now += seconds
        self.clock.at += seconds

    async def look(self) -> None:
        await self.collector.poll()
        while self.collector.is_catching_up:
            await self.collector.catch_up()

    def runs(self) -> dict[RunKey, RunPhase]:
        return known(self.store, CLUSTER, range(10_000))

    def phases(self) -> list[str]:
        return [phase.value for _, phase in sorted(self.runs().items())]


@pytest.fixture
def stage(store: SqliteStore, thread: CountingThread) -> Stage:
    return Stage(store, thread)


class Rings:
    """Hints on demand; otherwise it waits as long as it is told."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.send, self._receive = anyio.create_memory_object_stream[frozenset[Notification]](100)

    async def wait(self, timeout_s: float) -> frozenset[Notification]:
        self.waits.append(timeout_s)
        try:
            return self._receive.receive_nowait()
        except anyio.WouldBlock:
            pass
        with anyio.move_on_after(timeout_s):
            return await self._receive.receive()
        return frozenset()

    def close(self) -> None:
        self.send.close()
        self._receive.close()


class SlowSource(FakeSource):
    """Answers a look when it is let; counts how many questions it has at once."""

    def __init__(self, slurm: FakeSlurm) -> None:
        super().__init__(slurm)
        self.under_way = self.most = 0
        self._gate = anyio.Event()

    def answer(self) -> None:
        gate, self._gate = self._gate, anyio.Event()
        gate.set()

    async def poll(
        self, since: int, until: int, *, listing: bool = True, accounting: bool = True
    ) -> Observation:
        with self._counted():
            await self._gate.wait()
            return await super().poll(since, until, listing=listing, accounting=accounting)

    async def query_jobs(self, questions: JobQuestions) -> JobAnswers:
        with self._counted():
            return await super().query_jobs(questions)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        yield
        self.under_way -= 1


async def test_a_life_of_a_run(stage: Stage) -> None:
    """Started when it is seen, stopped when accounting says so, and nothing is told twice."""
    await stage.look()
    run = stage.slurm.start(1)
    stage.later(60)
    await stage.look()
    assert stage.phases() == ["started"]
    stage.later(60)
    stage.slurm.end(run)
    await stage.look()
    stage.later(60)
    await stage.look()
    assert stage.phases() == ["stopped"]
    assert (stage.collector.tally.starts, stage.collector.tally.stops) == (1, 1)


async def test_an_idle_cycle_asks_nothing_by_id(stage: Stage) -> None:
    """Ten thousand running jobs cost one listing and one window of accounting."""
    for n in range(1, 10_001):
        stage.slurm.start(n)
    await stage.look()
    stage.slurm.asked.clear()
    stage.later(60)
    await stage.look()
    assert stage.slurm.asked == []


async def test_j4_z6_a_moved_run_is_one_run_through_overlapping_windows(stage: Stage) -> None:
    """Nodes boot, the start moves by minutes: one start, one stop, and asked for once."""
    run = stage.slurm.start(1)
    await stage.look()
    stage.later(400)
    stage.slurm.move(run)
    await stage.look()
    stage.slurm.asked.clear()
    stage.later(60)
    await stage.look()
    assert stage.slurm.asked == []
    stage.slurm.end(run)
    for _ in range(8):
        stage.later(60)
        await stage.look()
    stage.restart()
    await stage.look()
    assert stage.phases() == ["stopped"]
    assert sum(len(plan.events) for plan in stage.plans) == 2


async def test_j8_a_restart_between_any_two_looks_neither_loses_nor_doubles(stage: Stage) -> None:
    """What is not in the store is found out again."""
    runs = [stage.slurm.start(n) for n in range(1, 6)]
    for run in runs:
        await stage.look()
        stage.restart()
        stage.later(60)
        stage.slurm.end(run)
        stage.slurm.complete(run.job_id)
    stage.restart()
    await stage.look()
    assert stage.phases() == ["stopped"] * 5
    assert sum(len(plan.events) for plan in stage.plans) == 10


async def test_s1_accounting_down_leaves_the_cursor_and_sees_what_starts(stage: Stage) -> None:
    """The half that answers is used; one line when it begins, one when it is over."""
    await stage.look()
    cursor = stage.store.cursor(CLUSTER)
    stage.slurm.accounting_up = False
    stage.slurm.start(1)
    with capture_logs() as lines:
        for _ in range(3):
            stage.later(60)
            await stage.look()
            assert stage.store.cursor(CLUSTER) == cursor
        stage.slurm.accounting_up = True
        stage.later(60)
        await stage.look()
    assert [line["event"] for line in lines] == ["look_failed", "look_works_again"]
    assert stage.phases() == ["started"]
    assert cursor is not None
    assert stage.store.cursor(CLUSTER) == cursor + 240


async def test_s2_s3_a_dead_controller_stops_nothing(stage: Stage) -> None:
    """No listing, an empty one, and no details: open runs stay open."""
    for n in (1, 2, 3):
        stage.slurm.start(n)
    await stage.look()
    answers: list[Any] = [None, lambda _: []]
    for listing in answers:
        stage.slurm.listing = listing
        stage.slurm.details = None
        stage.later(60)
        await stage.look()
    assert stage.phases() == ["started"] * 3


@pytest.mark.parametrize("listing", [None, tuple])
async def test_s1_s2_what_accounting_says_is_recorded_though_the_controller_shows_no_job(
    stage: Stage, listing: Any
) -> None:
    """
    Without job details, and without a job list as well, ends are recorded at once and the cursor moves.

    So is a run that began and ended unseen. One that began waits for its allocation.
    """
    seen = stage.slurm.start(1)
    await stage.look()
    stage.slurm.listing, stage.slurm.details = listing, None
    stage.later(30)
    stage.slurm.end(seen)
    stage.slurm.end(stage.slurm.start(2))
    stage.slurm.start(3)
    stage.later(30)
    await stage.look()
    assert stage.phases() == ["stopped", "stopped"]
    assert stage.store.cursor(CLUSTER) == stage.slurm.now
    assert stage.collector.tally.error
    stage.slurm.listing, stage.slurm.details = tuple, tuple
    await stage.look()
    assert stage.phases() == ["stopped", "stopped", "started"]
    assert stage.collector.tally.without_allocation == 1


async def test_s2_a_controller_that_does_not_list_its_jobs_is_not_asked_for_their_details(
    stage: Stage,
) -> None:
    """Another command would wait as long as the first, in vain."""
    stage.slurm.listing = None
    stage.slurm.end(stage.slurm.start(1))
    await stage.look()
    assert stage.slurm.asked == []
    assert stage.phases() == ["stopped"]


async def test_s14_ids_that_are_not_answered_keep_no_other_from_being_recorded(stage: Stage) -> None:
    """Job details of one batch, and accounting of another, fail: the rest is recorded, and they with the next."""
    for n in (1, 2, 3, 4):
        stage.slurm.start(n)
    stage.slurm.mute = JobQuestions(details=frozenset({1}))
    await stage.look()
    assert [key.job_id for key in stage.runs()] == [2, 3, 4]
    stage.slurm.mute = JobQuestions(accounting=frozenset({3}))
    stage.later(600)
    for run in stage.slurm.runs[1:]:
        stage.slurm.end(run)
    stage.slurm.memory = {1: stage.slurm.memory[1]}
    stage.slurm.windows = False
    await stage.look()
    assert {key.job_id: phase.value for key, phase in stage.runs().items()} == {
        1: "started", 2: "stopped", 3: "started", 4: "stopped"
    }  # fmt: skip
    stage.slurm.mute = JobQuestions()
    await stage.look()
    assert stage.phases() == ["started", "stopped", "stopped", "stopped"]


async def test_s19_s27_a_run_that_slurm_has_forgotten_stays_open_and_is_named_once(stage: Stage) -> None:
    """Purged from accounting, or hidden from the daemon's user; and again only if it was back meanwhile."""
    gone, there = stage.slurm.start(1), stage.slurm.start(2)
    await stage.look()
    stage.slurm.forget(1)
    gone.row = None
    with capture_logs() as lines:
        for _ in range(3):
            stage.later(3000)
            stage.slurm.listing = tuple if stage.slurm.listing is None else None
            await stage.look()
            stage.slurm.listing = tuple
            await stage.look()
        assert [line["job_id"] for line in lines if line["event"] == "run_unknown_to_slurm"] == [1]
        gone.row = gone.begun
        await stage.look()
        gone.row = None
        for _ in range(2):
            stage.later(3600)
            await stage.look()
    named = [line for line in lines if line["event"] == "run_unknown_to_slurm"]
    assert [(line["job_id"], line["start_at"]) for line in named] == [(1, gone.starts[0])] * 2
    assert stage.phases() == ["started", "started"]
    stage.slurm.end(there)
    await stage.look()
    assert stage.phases() == ["started", "stopped"]


async def test_s19_a_position_that_became_doubtful_is_set_back_once(stage: Stage) -> None:
    """What ended while Slurm hid it is read again once it is shown; the doubt is not repeated for ever."""
    await stage.look()
    doubted = stage.slurm.now
    run = stage.slurm.start(1)
    stage.later(60)
    stage.slurm.end(run)
    hidden, stage.slurm.listing = stage.slurm.listing, lambda _: ()
    stage.slurm.windows = False
    for _ in range(3):
        stage.later(2 * OVERLAP)
        await stage.look()
    assert stage.phases() == []
    stage.slurm.listing, stage.slurm.windows = hidden, True
    stage.source.doubted_from = float(doubted)
    await stage.look()
    assert stage.phases() == ["stopped"]
    since = [window[0] for window in stage.slurm.looks]
    await stage.look()
    assert stage.slurm.looks[-1][0] > since[-1]


async def test_s14_a_job_whose_record_is_unreadable_is_announced_all_the_same(stage: Stage) -> None:
    """At the second look, from accounting; the others were told at the first."""
    stage.slurm.poisoned = {1}
    stage.slurm.start(1)
    stage.slurm.start(2)
    await stage.look()
    assert [key.job_id for key in stage.runs()] == [2]
    stage.later(60)
    await stage.look()
    assert sorted(key.job_id for key in stage.runs()) == [1, 2]
    assert stage.collector.tally.without_allocation == 1


class TestTheWindow:
    async def test_z5_the_first_look_reads_as_far_back_as_it_may(self, stage: Stage) -> None:
        """Without a checkpoint: the look-back, in slices, and a listing with the first alone."""
        stage.slurm.finished_long_ago(1, stage.slurm.now - SPAN + 10, stage.slurm.now - SPAN)
        stage.slurm.finished_long_ago(2, stage.slurm.now - SPAN - 10, stage.slurm.now - SPAN - 1)
        await stage.look()
        assert [key.job_id for key in stage.runs()] == [1]
        assert [listing for _, _, listing in stage.slurm.looks] == [True] + [False] * 6
        assert [since for since, _, _ in stage.slurm.looks] == [
            stage.slurm.now - SPAN + day * DAY for day in range(7)
        ]

    async def test_z5_a_checkpoint_years_back_is_bounded_and_said_once(self, stage: Stage) -> None:
        """With the span that is left out, and the command that fills it."""
        stage.store.set_cursor(CLUSTER, stage.slurm.now - 1000 * DAY)
        stage.slurm.accounting_up = False
        with capture_logs() as lines:
            await stage.collector.poll()
            await stage.collector.poll()
        (line,) = [line for line in lines if line["event"] == "look_back_limited"]
        assert line["skipped_to"] == stage.slurm.now - SPAN
        assert (
            line["remedy"] == f"slurmsyncd backfill --from {line['skipped_from']} --to {line['skipped_to']}"
        )
        assert stage.slurm.looks[0][0] == stage.slurm.now - SPAN

    async def test_z6_windows_overlap(self, stage: Stage) -> None:
        """A row that slurmdbd writes late is found behind the checkpoint."""
        await stage.look()
        stage.later(60)
        await stage.look()
        late = stage.slurm.start(1)
        stage.slurm.memory.clear()
        stage.slurm.linked = False
        stage.slurm.end(late)
        stage.slurm.memory.clear()
        stage.later(200)
        await stage.look()
        assert stage.phases() == []
        stage.slurm.catch_up()
        stage.later(60)
        await stage.look()
        assert stage.phases() == ["stopped"]

    async def test_z2_a_small_step_back_of_the_clock_is_nothing(self, stage: Stage) -> None:
        """The checkpoint is a little ahead: the overlap covers it, and it does not move back."""
        await stage.look()
        cursor = stage.store.cursor(CLUSTER)
        stage.later(-30)
        with capture_logs() as lines:
            await stage.look()
        assert not lines
        assert stage.store.cursor(CLUSTER) == cursor
        assert stage.slurm.looks[-1][0] == stage.slurm.now - OVERLAP

    @pytest.mark.parametrize("ahead", [3600, DAY, 10 * 365 * DAY])
    async def test_z1_z4_a_checkpoint_in_the_future_is_not_believed(self, stage: Stage, ahead: int) -> None:
        """Some clock was wrong: nobody knows what was read, so all that may be is read, and it goes on."""
        stage.slurm.finished_long_ago(1, stage.slurm.now - DAY, stage.slurm.now - DAY + 9)
        stage.store.set_cursor(CLUSTER, stage.slurm.now + ahead)
        with capture_logs() as lines:
            await stage.look()
            stage.later(60)
            await stage.look()
        assert [line["event"] for line in lines].count("checkpoint_in_future") == 1
        assert stage.phases() == ["stopped"]
        assert stage.store.cursor(CLUSTER) == stage.slurm.now

    async def test_z1_a_clock_that_was_a_day_ahead_for_a_while_loses_nothing(self, stage: Stage) -> None:
        """What came and went meanwhile is read once the clock is right again."""
        await stage.look()
        stage.clock.at += DAY
        await stage.look()
        run = stage.slurm.start(1)
        stage.later(20)
        stage.slurm.end(run)
        stage.slurm.complete(1)
        stage.slurm.forget(1)
        await stage.look()
        stage.clock.at -= DAY
        stage.later(60)
        await stage.look()
        assert stage.phases() == ["stopped"]

    async def test_z7_a_host_that_slept_for_hours_looks_once(self, stage: Stage) -> None:
        """One look tells of all that happened meanwhile; those that were missed are not made up for."""
        await stage.look()
        went_on = stage.slurm.start(1)
        for n in range(2, 12):
            stage.later(1800)
            run = stage.slurm.start(n)
            stage.later(600)
            stage.slurm.end(run)
            stage.slurm.complete(n)
            stage.slurm.forget(n)
        rings = Rings()
        async with anyio.create_task_group() as group:
            group.start_soon(stage.collector.run, rings)
            await until(lambda: stage.collector.tally.polls == 2 and rings.waits[-1:] > [3000.0])
            group.cancel_scope.cancel()
        rings.close()
        assert stage.collector.tally.polls == 2
        assert stage.phases() == ["started"] + ["stopped"] * 10
        assert went_on.end_at is None

    @pytest.mark.parametrize("at", [2**31 - 30, 2**32 - 30, 1_483_228_799 - 30])
    async def test_z8_a_run_across_the_end_of_32_bits_or_a_leap_second(self, stage: Stage, at: int) -> None:
        """It is seen, written down and ended with Slurm's own seconds."""
        stage.slurm.now, stage.clock.at = at, at
        await stage.look()
        run = stage.slurm.start(1)
        await stage.look()
        stage.later(60)
        stage.slurm.end(run)
        await stage.look()
        (key,) = stage.runs()
        assert (key.start_at, stage.store.end_times(CLUSTER, [1])) == (at, {key: at + 60})
        assert stage.store.cursor(CLUSTER) == at + 60

    async def test_s24_days_of_outage_are_caught_up_in_slices(self, stage: Stage) -> None:
        """Each run once, whichever slice it is in, and the checkpoint follows slice by slice."""
        await stage.look()
        for n in range(1, 200):
            stage.later(1800)
            run = stage.slurm.start(n)
            stage.later(300)
            stage.slurm.end(run)
            stage.slurm.complete(n)
            stage.slurm.forget(n)
        stage.slurm.slice_s = 3600
        stage.plans.clear()
        await stage.look()
        assert stage.phases() == ["stopped"] * 199
        cursors = [plan.cursor for plan in stage.plans]
        assert cursors == sorted(cursors, key=lambda at: at or 0)
        assert len(cursors) > 100

    async def test_while_catching_up_open_runs_are_asked_for_once(self, stage: Stage) -> None:
        """Their stops do not wait for the slices, which then have nothing new."""
        runs = [stage.slurm.start(n) for n in range(1, 51)]
        await stage.look()
        for run in runs:
            stage.later(1000)
            stage.slurm.end(run)
            stage.slurm.complete(run.job_id)
            stage.slurm.forget(run.job_id)
        stage.slurm.asked.clear()
        stage.slurm.slice_s = 3600
        await stage.look()
        assert stage.phases() == ["stopped"] * 50
        # Of three the first slice, with which the controller is asked, has the end.
        assert [len(asked.accounting) for asked in stage.slurm.asked] == [47]

    async def test_a_source_that_comes_no_further_is_not_asked_again_at_once(self, stage: Stage) -> None:
        """The next poll goes on."""
        stage.slurm.slice_s = 0
        await stage.collector.poll()
        assert not stage.collector.is_catching_up

    async def test_what_the_controller_still_remembers_is_caught_in_the_last_slice(
        self, stage: Stage
    ) -> None:
        """A run that ended a minute ago is told with its cores, though its slice has no listing."""
        await stage.look()
        stage.later(2 * DAY)
        run = stage.slurm.start(1)
        stage.later(30)
        stage.slurm.end(run)
        stage.slurm.complete(1)
        stage.later(30)
        stage.slurm.listing = lambda _: []
        await stage.look()
        assert stage.collector.tally.without_allocation == 0
        assert stage.phases() == ["stopped"]


class TestLateRows:
    @pytest.fixture(params=["sdiag counts", "sdiag is missing"])
    def turned(self, stage: Stage, request: pytest.FixtureRequest) -> Stage:
        """The stage on a clock that is turned by hand as a whole."""
        stage.slurm.counts = request.param == "sdiag counts"
        stage.monotonic = stage.clock.now
        stage.restart()
        return stage

    @staticmethod
    async def _polls(stage: Stage, seconds: int) -> None:
        for _ in range(seconds // 60):
            stage.later(60)
            await stage.look()

    @staticmethod
    def _unseen(stage: Stage, *, state: JobState = JobState.REQUEUED) -> None:
        """A run that begins and ends, and of which slurmctld keeps nothing but its message to slurmdbd."""
        run = stage.slurm.start(1)
        stage.later(8)
        stage.slurm.end(run, state)
        stage.slurm.memory.clear()

    @pytest.mark.parametrize("daemon_too", [False, True])
    @pytest.mark.parametrize("late_s", [60, 300, 840])
    async def test_s1_z6_a_run_that_slurmdbd_learns_of_after_its_return_is_found(
        self, turned: Stage, late_s: int, daemon_too: bool
    ) -> None:
        """It ended an hour before; slurmdbd answers first, and slurmctld delivers what it kept later."""
        await turned.look()
        turned.slurm.accounting_up = turned.slurm.linked = False
        if not daemon_too:
            await self._polls(turned, 300)
        self._unseen(turned)
        if not daemon_too:
            await self._polls(turned, 3600)
        else:
            turned.later(3900)
            turned.restart()
        turned.slurm.accounting_up = True
        await self._polls(turned, late_s)
        assert turned.phases() == []
        turned.slurm.linked = True
        turned.slurm.catch_up()
        await self._polls(turned, 960)
        assert turned.phases() == ["stopped"]

    @pytest.mark.parametrize("restarts_s", [(120,), (120, 240, 600), (60,) * 20])
    async def test_s1_z6_a_daemon_that_is_restarted_meanwhile_still_reads_the_outage_again(
        self, turned: Stage, restarts_s: tuple[int, ...]
    ) -> None:
        """Daemon and slurmdbd are away for an hour; the daemon restarts before slurmctld has delivered."""
        await turned.look()
        await self._polls(turned, 1800)
        turned.slurm.accounting_up = turned.slurm.linked = False
        self._unseen(turned)
        turned.later(3600)
        turned.restart()
        turned.slurm.accounting_up = True
        await turned.look()
        for seconds in restarts_s:
            await self._polls(turned, seconds)
            turned.restart()
            await turned.look()
        turned.slurm.linked = True
        turned.slurm.catch_up()
        await self._polls(turned, 960)
        assert turned.phases() == ["stopped"]

    async def test_s1_z6_an_outage_through_which_the_daemon_restarts_is_read_again_from_its_beginning(
        self, turned: Stage
    ) -> None:
        """A first start is no exception: it records at once up to where the halves are known to agree."""
        await turned.look()
        turned.slurm.accounting_up = turned.slurm.linked = False
        self._unseen(turned)
        for _ in range(40):
            await self._polls(turned, 120)
            turned.later(3600)
            turned.restart()
        turned.slurm.accounting_up = True
        await self._polls(turned, 120)
        turned.restart()
        await turned.look()
        turned.slurm.linked = True
        turned.slurm.catch_up()
        await self._polls(turned, 960)
        assert turned.phases() == ["stopped"]

    @pytest.mark.parametrize("settled", [None, DAY])
    async def test_z1_z4_z6_a_position_that_is_gone_or_in_the_future_means_more_is_read_again(
        self, turned: Stage, settled: int | None
    ) -> None:
        """A day and what was last read are in doubt then, never less."""
        await turned.look()
        await self._polls(turned, 1800)
        turned.store._db.write_durable(lambda con: con.execute("DELETE FROM settled"))
        if settled is not None:
            turned.store.settle_until(CLUSTER, turned.slurm.now + settled)
        turned.restart()
        await turned.look()
        turned.slurm.looks.clear()
        await self._polls(turned, 60)
        assert min(since for since, _, _ in turned.slurm.looks) == turned.slurm.now - 60 - DAY

    async def test_z6_what_is_settled_follows_900_s_behind_while_all_is_well(self, turned: Stage) -> None:
        """A restart then reads again what a row may be late by, and no more."""
        await turned.look()
        await self._polls(turned, 7200)
        settled = turned.store.settled_until(CLUSTER)
        assert settled is not None
        assert 900 <= turned.slurm.now - settled <= 1800
        turned.restart()
        await turned.look()
        turned.slurm.looks.clear()
        await self._polls(turned, 60)
        assert [since for since, _, _ in turned.slurm.looks] == [settled]

    async def test_z6_a_row_that_is_806_s_late_is_found_though_slurm_answered_all_the_time(
        self, turned: Stage
    ) -> None:
        """A short run that was requeued is in no job list, so nothing else shows it."""
        await turned.look()
        await self._polls(turned, 7200)
        turned.slurm.linked = False
        self._unseen(turned)
        await self._polls(turned, 780)
        turned.slurm.linked = True
        turned.later(26)
        turned.slurm.catch_up()
        await self._polls(turned, 1800)
        assert turned.phases() == ["stopped"]

    async def test_an_undisturbed_daemon_reads_again_and_asks_sdiag_four_times_an_hour(
        self, turned: Stage
    ) -> None:
        """All other polls read from the cursor less the overlap."""
        await turned.look()
        await self._polls(turned, 7200)
        turned.slurm.looks.clear()
        turned.slurm.counted = 0
        await self._polls(turned, 4 * 960)
        spans = [until - since for since, until, _ in turned.slurm.looks]
        assert sorted(set(spans)) == [60 + OVERLAP, 1860]
        assert spans.count(1860) == turned.slurm.counted == 4

    async def test_s1_once_slurmctld_holds_nothing_the_outage_is_read_again_once_and_settled(
        self, turned: Stage
    ) -> None:
        """Without sdiag it is read again three times, and settled after 900 s."""
        await turned.look()
        await self._polls(turned, 7200)
        turned.slurm.accounting_up = turned.slurm.linked = False
        self._unseen(turned)
        await self._polls(turned, 3600)
        turned.slurm.accounting_up = turned.slurm.linked = True
        turned.slurm.catch_up()
        turned.slurm.looks.clear()
        await self._polls(turned, 1080)
        wide = [until for since, until, _ in turned.slurm.looks if until - since >= 3600]
        back_at = turned.slurm.now - 1080
        after = [120] if turned.slurm.counts else [120, 360, 960]
        assert [until - back_at for until in wide[1:]] == after  # the first one is from the cursor

    @pytest.mark.parametrize("turned", ["sdiag counts"], indirect=True)
    async def test_s1_z6_what_slurmctld_holds_for_hours_is_found_when_slurmdbd_has_it(
        self, turned: Stage
    ) -> None:
        """slurmctld cannot reach slurmdbd, which answers everybody else; only sdiag shows that."""
        await turned.look()
        await self._polls(turned, 7200)
        turned.slurm.linked = False
        self._unseen(turned)
        await self._polls(turned, 1800)
        assert turned.collector.tally.queued_messages == 2
        since = turned.collector.tally.queued_since
        assert since is not None
        assert turned.slurm.now - since >= 900
        turned.slurm.looks.clear()
        await self._polls(turned, 5 * 3600)
        turned.restart()
        await self._polls(turned, 3600)
        assert sum(until - since > 2000 for since, until, _ in turned.slurm.looks) < 15
        turned.slurm.linked = True
        turned.slurm.catch_up()
        await self._polls(turned, 180)
        assert turned.phases() == ["stopped"]
        assert turned.collector.tally.queued_since is None

    async def test_s1_a_part_that_is_away_again_ends_the_proof(self, turned: Stage) -> None:
        """An empty queue proves nothing about what comes after it."""
        await turned.look()
        await self._polls(turned, 1800)
        turned.slurm.accounting_up = turned.slurm.linked = False
        await self._polls(turned, 60)
        turned.slurm.accounting_up = turned.slurm.linked = True
        turned.slurm.catch_up()
        await self._polls(turned, 60)
        settled = turned.store.settled_until(CLUSTER)
        turned.slurm.accounting_up = turned.slurm.linked = False
        self._unseen(turned)
        await self._polls(turned, 3600)
        turned.slurm.accounting_up = True
        await self._polls(turned, 840)
        assert turned.store.settled_until(CLUSTER) == settled
        turned.slurm.linked = True
        turned.slurm.catch_up()
        await self._polls(turned, 120)
        assert turned.phases() == ["stopped"]


class TestHints:
    async def test_a_prolog_and_an_epilog_are_answered_without_a_look(self, stage: Stage) -> None:
        """Only the questions that they raise are asked."""
        await stage.look()
        looks = len(stage.slurm.looks)
        run = stage.slurm.start(1)
        await stage.collector.query_notified([Notification(CLUSTER, 1, "prolog")])
        assert stage.phases() == ["started"]
        stage.later(5)
        stage.slurm.end(run)
        await stage.collector.query_notified([Notification(CLUSTER, 1, "epilog")])
        assert stage.phases() == ["stopped"]
        assert len(stage.slurm.looks) == looks

    async def test_what_began_is_told_before_accounting_is_asked_for_what_ended(self, stage: Stage) -> None:
        """Its answer may take long, or not come."""
        ended = stage.slurm.start(1)
        await stage.look()
        stage.later(5)
        stage.slurm.end(ended)
        stage.slurm.start(2)
        before = len(stage.slurm.asked), len(stage.plans)
        await stage.collector.query_notified(
            [Notification(CLUSTER, 1, "epilog"), Notification(CLUSTER, 2, "prolog")]
        )
        assert [(each.details, each.accounting) for each in stage.slurm.asked[before[0] :]] == [
            ({2}, frozenset()),
            (frozenset(), {1}),
        ]
        told = [event for plan in stage.plans[before[1] :] for event in plan.events]
        assert [(type(event), event.job.key.job_id) for event in told] == [(RunStarted, 2), (RunEnded, 1)]

    async def test_k3_ten_thousand_hints_are_one_question(self, stage: Stage) -> None:
        """And one transaction."""
        for n in range(1, 10_001):
            stage.slurm.start(n)
        await stage.collector.query_notified(stage.slurm.hints)
        assert len(stage.slurm.asked) == len(stage.plans) == 1
        assert len(stage.runs()) == 9_999 + 1

    async def test_k4_hints_of_unknown_jobs_are_forgotten_after_their_rounds(self, stage: Stage) -> None:
        """A flood of them leaves nothing behind."""
        await stage.look()
        await stage.collector.query_notified([Notification(CLUSTER, n, "epilog") for n in range(500, 600)])
        assert stage.collector.tally.rechecks == 100
        for _ in range(6):
            stage.later(60)
            await stage.look()
        assert stage.collector.tally.rechecks == 0
        assert stage.phases() == []

    async def test_a_test_hint_asks_nothing(self, stage: Stage) -> None:
        """It speaks of no job."""
        await stage.collector.query_notified([Notification("", 0, "test")])
        assert stage.slurm.asked == []

    async def test_an_epilog_before_slurmdbd_knows_is_asked_again_soon(self, stage: Stage) -> None:
        """Without waiting for the poll."""
        run = stage.slurm.start(1)
        await stage.look()
        stage.later(5)
        stage.slurm.linked = False
        stage.slurm.end(run)
        rings = Rings()
        async with anyio.create_task_group() as group:
            group.start_soon(stage.collector.run, rings)
            await until(lambda: rings.waits)
            await rings.send.send(frozenset({Notification(CLUSTER, 1, "epilog")}))
            await until(lambda: len(rings.waits) == 2)
            stage.slurm.linked = True
            stage.slurm.catch_up()
            await until(lambda: stage.collector.tally.stops == 1)
            group.cancel_scope.cancel()
        rings.close()
        assert stage.collector.tally.polls == 2

    async def test_hints_that_could_not_be_asked_for_are_not_lost(self, stage: Stage) -> None:
        """Slurm does not answer for a moment: asked again with the next round."""
        stage.slurm.start(1)
        stage.slurm.details, stage.slurm.accounting_up = None, False
        await stage.collector.query_notified([Notification(CLUSTER, 1, "prolog")])
        assert stage.collector.tally.error
        assert stage.collector.tally.rechecks == 1
        stage.slurm.details = tuple
        stage.slurm.listing = lambda _: []
        stage.slurm.accounting_up = True
        await stage.look()
        assert stage.phases() == ["started"]


class TestTheLoop:
    async def test_s1_a_source_that_fails_is_asked_again_soon(
        self, store: SqliteStore, thread: CountingThread
    ) -> None:
        """Counted, said once, and over when it is over."""
        stage = Stage(store, thread, poll_s=0.01)
        stage.slurm.listing, stage.slurm.accounting_up = None, False
        stage.slurm.start(1)
        rings = Rings()
        with capture_logs() as lines:
            async with anyio.create_task_group() as group:
                group.start_soon(stage.collector.run, rings)
                await until(lambda: stage.collector.tally.failures >= 2)
                stage.slurm.listing, stage.slurm.accounting_up = tuple, True
                await until(lambda: stage.collector.tally.starts == 1)
                group.cancel_scope.cancel()
        rings.close()
        assert [line["event"] for line in lines].count("look_failed") == 1

    async def test_hints_are_answered_while_days_are_caught_up(self, stage: Stage) -> None:
        """One slice, then whoever rings, then the next."""
        stage.slurm.slice_s = 600
        stage.slurm.start(1)
        stage.slurm.listing = lambda _: []
        rings = Rings()
        for _ in range(3):
            await rings.send.send(frozenset())
        await rings.send.send(frozenset({Notification(CLUSTER, 1, "prolog")}))
        async with anyio.create_task_group() as group:
            group.start_soon(stage.collector.run, rings)
            await until(lambda: stage.collector.tally.starts == 1)
            await until(lambda: len(stage.plans) > 50)
            group.cancel_scope.cancel()
        rings.close()
        assert [index for index, plan in enumerate(stage.plans) if plan.events] == [4]

    async def test_s6_a_slow_look_is_not_overtaken_by_another(
        self, store: SqliteStore, thread: CountingThread
    ) -> None:
        """Neither the next poll nor hints begin anything before Slurm has answered."""
        stage = Stage(store, thread, poll_s=0.001)
        store.set_cursor(CLUSTER, stage.slurm.now)
        source = SlowSource(stage.slurm)
        collector = Collector(
            source, store, thread, stage.policy, stage.clock, recorded=lambda _: anyio.lowlevel.checkpoint()
        )
        rings = Rings()
        async with anyio.create_task_group() as group:
            group.start_soon(collector.run, rings)
            for n in range(5):
                await until(lambda: source.under_way)
                await rings.send.send(frozenset({Notification(CLUSTER, 1, "prolog")}))
                await anyio.sleep(0.01)  # the poll interval is long over
                source.answer()
                await until(lambda n=n: collector.tally.polls > n)  # type: ignore[misc]
            group.cancel_scope.cancel()
        rings.close()
        assert source.most == 1

    async def test_no_busy_loop_between_polls(self, stage: Stage) -> None:
        """One look, and then one wait until the next."""
        rings = Rings()
        async with anyio.create_task_group() as group:
            group.start_soon(stage.collector.run, rings)
            # It has come to rest when it waits for the next poll; the store's thread is idle then.
            await until(lambda: stage.collector.tally.polls == 1 and rings.waits[-1:] > [3000.0])
            calls = dict(stage.thread.calls)
            for _ in range(50):
                await anyio.lowlevel.checkpoint()
            assert dict(stage.thread.calls) == calls
            assert rings.waits[-1] > 3000
            group.cancel_scope.cancel()
        rings.close()

    async def test_d1_a_full_disk_stops_intake_and_nothing_else(self, stage: Stage) -> None:
        """Nothing is written down, the cursor stands, and the next look sees it all again."""
        await stage.look()
        cursor = stage.store.cursor(CLUSTER)
        stage.slurm.start(1)
        stage.later(60)
        stage.thread.failures["_record"] = [DiskFull("full")]
        with pytest.raises(DiskFull):
            await stage.collector.poll()
        assert (stage.phases(), stage.store.cursor(CLUSTER)) == ([], cursor)
        await stage.look()
        assert stage.phases() == ["started"]

    async def test_d1_a_full_disk_is_told_from_a_slurm_that_does_not_answer(self, stage: Stage) -> None:
        """The status names the disk, whichever of store and command output found no room, in any words."""
        tally = stage.collector.tally
        await stage.look()
        stage.thread.failures["_record"] = [DiskFull("x")]
        stage.slurm.start(1)
        await stage.collector._guarded(stage.collector.poll())
        assert (tally.error, tally.disk_full) == ("x", True)
        await stage.look()
        assert (tally.error, tally.disk_full) == (None, False)
        for full in (True, False):

            def fail(*_: Any, full: bool = full, **__: Any) -> Any:
                raise SourceUnavailable("make room", disk_full=full)

            stage.slurm.observe = fail  # type: ignore[method-assign]
            await stage.collector.poll()
            assert (tally.error, tally.disk_full) == ("make room", full)

    async def test_d4_p7_a_store_that_cannot_be_used_ends_the_loop(self, stage: Stage) -> None:
        """Exit, never guess."""
        stage.thread.failures["_record"] = [StoreError("broken")]
        rings = Rings()
        with pytest.raises(StoreError):
            await stage.collector.run(rings)
        rings.close()

    async def test_j1_a_requeue_between_two_polls_is_two_runs(self, stage: Stage) -> None:
        """Each with its own start and end, the first as REQUEUED."""
        first = stage.slurm.start(1)
        await stage.look()
        stage.later(50)
        stage.slurm.end(first, JobState.REQUEUED)
        stage.later(121)
        stage.slurm.start(1)
        await stage.look()
        assert stage.phases() == ["stopped", "started"]
        ends = stage.store.end_times(CLUSTER, [1])
        assert sorted(ends.values(), key=str) == [first.end_at, None]

    async def test_a_run_that_stopped_long_ago_is_not_told_again_with_its_successor(
        self, stage: Stage
    ) -> None:
        """All runs of an id are answered, and all known ones of it are at hand to judge them."""
        first = stage.slurm.start(1)
        stage.slurm.end(first, JobState.REQUEUED)
        await stage.look()
        stage.later(DAY)
        stage.slurm.start(1)
        await stage.look()
        stage.slurm.memory.clear()
        stage.plans.clear()
        stage.later(60)
        await stage.look()
        assert stage.slurm.asked[-1].accounting == {1}
        assert [plan.events for plan in stage.plans] == [()]
