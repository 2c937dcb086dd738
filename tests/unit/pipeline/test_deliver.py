"""One sink's queue, drained from the real store into a sink in memory."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import anyio
import pytest

from slurmsyncd.delivery import Outcome, OutcomeKind
from slurmsyncd.errors import DiskFull, StoreError
from slurmsyncd.model import EventKind, OutboxEntry
from slurmsyncd.pipeline import deliver
from tests.fakes import ACCEPTED, FakeClock, FakeSink
from tests.unit.pipeline.conftest import POLICY, CountingThread, deliverer, record, until

if TYPE_CHECKING:
    from slurmsyncd.store import SqliteStore

pytestmark = pytest.mark.anyio

DOWN = Outcome(result=OutcomeKind.SINK_UNAVAILABLE, reason="unreachable")
FAILED = Outcome(result=OutcomeKind.FAILED, reason="http_500")
REFUSED = Outcome(result=OutcomeKind.REJECTED, reason="http_400")


def job_ids(entries: list[OutboxEntry]) -> list[int]:
    return [entry.start.key.job_id for entry in entries]


def _at_least(items: list[OutboxEntry], count: int) -> bool:
    return len(items) >= count


def leaves(err: BaseException) -> list[BaseException]:
    inner = getattr(err, "exceptions", None)
    return [err] if inner is None else [leaf for each in inner for leaf in leaves(each)]


def steps(sink: FakeSink, job_id: int) -> list[EventKind]:
    return [entry.kind for entry in sink.taken if entry.start.key.job_id == job_id]


async def test_i4_each_run_is_started_and_stopped_once_in_order(
    store: SqliteStore, thread: CountingThread, clock: FakeClock
) -> None:
    """The stop follows its start's settlement, and until_idle waits for it."""
    record(store, *range(1, 101), ended=True)
    sink = FakeSink()
    await deliverer(sink, store, thread, clock).run(until_idle=True)
    assert all(steps(sink, n) == [EventKind.START, EventKind.STOP] for n in range(1, 101))
    assert len(sink.attempts) == 200


async def test_h25_ten_thousand_entries_drain_with_a_flat_number_in_flight(
    store: SqliteStore, thread: CountingThread, clock: FakeClock
) -> None:
    """Never more under way than workers, never more in hand than a few, and results settled in groups."""
    record(store, *range(1, 5001), ended=True)
    sink = FakeSink()
    delivery = deliverer(sink, store, thread, clock, workers=4)
    await delivery.run(until_idle=True)
    assert len(sink.taken) == 10_000
    assert sink.most <= 8
    assert thread.calls["settle"] < 5_000
    assert thread.calls["due"] < 10_000


async def test_h25_a_fresh_start_is_not_kept_waiting_by_a_long_queue(
    store: SqliteStore, thread: CountingThread, clock: FakeClock
) -> None:
    """Both ends of the queue are served."""
    record(store, *range(1, 2001), at=clock.now() - 500)
    record(store, 9999, at=clock.now() - 1)
    sink = FakeSink()
    await deliverer(sink, store, thread, clock, workers=1).run(until_idle=True)
    assert job_ids(sink.taken).index(9999) < 50
    assert sorted(job_ids(sink.taken)) == [*range(1, 2001), 9999]


async def test_h7_i5_a_refused_run_holds_up_no_other(
    store: SqliteStore, thread: CountingThread, clock: FakeClock
) -> None:
    """It goes to the dead letters with its reason; the next one goes at once."""
    record(store, *range(1, 21), ended=True)
    sink = FakeSink(lambda entry: REFUSED if entry.start.key.job_id == 1 else None)
    await deliverer(sink, store, thread, clock, workers=1).run(until_idle=True)
    assert len(sink.taken) == 38
    (letter,) = store.list_deliveries("rest")
    assert (letter.key.job_id, letter.reason) == (1, "http_400")


async def test_h7_three_bad_runs_among_good_ones_are_dead_letters_at_once(
    store: SqliteStore, thread: CountingThread, clock: FakeClock
) -> None:
    """Each after its second rejection; nobody is kept waiting, and the sink is never in trouble."""
    record(store, *range(1, 201))
    bad = {1, 2, 200}  # at the ends of the queue, which come first
    sink = FakeSink(lambda entry: REFUSED if entry.start.key.job_id in bad else None)
    delivery = deliverer(sink, store, thread, clock, workers=4)
    await delivery.run(until_idle=True)
    assert {letter.key.job_id for letter in store.list_deliveries("rest")} == bad
    assert len(sink.taken) == 200 - len(bad)
    assert len(sink.attempts) == 200 + len(bad)


async def test_h7_a_sink_that_rejects_every_start_for_a_while_costs_no_run(
    store: SqliteStore, thread: CountingThread, clock: FakeClock
) -> None:
    """It is probed with one start at a time, each entry in its turn; stops go on; then everything is accepted."""
    record(store, *range(1, 11))
    sink = FakeSink()
    delivery = deliverer(sink, store, thread, clock, workers=4)
    async with anyio.create_task_group() as group:
        group.start_soon(delivery.run)
        await until(partial(thread.settled, 1))
        await until(lambda: len(sink.taken) == 10 and not any(delivery.in_flight.values()))
        sink.outcomes = lambda entry: REFUSED if entry.kind is EventKind.START else None
        await thread(record, store, *range(1, 11), ended=True, at=clock.now())
        await thread(record, store, *range(11, 114), at=clock.now())
        delivery.wake()
        await until(lambda: delivery.health.pause_reason == "http_400" and not sink.under_way)
        assert delivery.health.pause.action_required
        await until(lambda: [entry.kind for entry in sink.taken].count(EventKind.STOP) == 10)
        probed = len(sink.attempts)
        sink.most = 0
        await until(lambda: len(sink.attempts) >= probed + 20)
        assert sink.most == 1
        assert len({entry.id for entry in sink.attempts[probed:]}) > 10
        assert store.counts("rest").states.get("dead", 0) == 0
        sink.outcomes = lambda _: None
        clock.at += 300
        delivery.wake()
        await until(lambda: len(sink.taken) == 10 + 10 + 103)
        assert delivery.health.pause_reason is None
        delivery.stop()
    assert all(entry.attempts <= 1 for entry in sink.attempts)
    assert store.list_deliveries("rest") == ()


async def test_h7_what_was_parked_before_the_sink_was_suspected_is_sent_when_it_is_back(
    store: SqliteStore, thread: CountingThread, clock: FakeClock
) -> None:
    """Not an hour later: a proxy that answers 403 to everything parks the first few."""
    record(store, *range(1, 21))
    curable = Outcome(result=OutcomeKind.REJECTED_UNTIL_FIXED, reason="http_403", status=403)
    sink = FakeSink(lambda _: curable)
    delivery = deliverer(sink, store, thread, clock)
    async with anyio.create_task_group() as group:
        group.start_soon(delivery.run)
        await until(lambda: delivery.health.pause_reason == "http_403")
        sink.outcomes = lambda _: None
        clock.at += 1
        delivery.wake()
        await until(lambda: sorted(job_ids(sink.taken)) == list(range(1, 21)))
        delivery.stop()


async def test_h1_a_sink_that_is_down_is_probed_with_one_entry_and_charges_none(
    store: SqliteStore, thread: CountingThread, clock: FakeClock
) -> None:
    """One at a time over both lanes, until it answers; then everything goes."""
    record(store, *range(1, 51), ended=True)
    sink = FakeSink(lambda _: DOWN if len(sink.attempts) < 12 else None)
    delivery = deliverer(sink, store, thread, clock, workers=4)
    async with anyio.create_task_group() as group:
        group.start_soon(delivery.run)
        await until(lambda: delivery.health.pause_reason)
        await until(lambda: not sink.under_way)
        sink.most = 0
        await until(lambda: len(sink.attempts) == 11)
        assert sink.most == 1
        await until(lambda: len(sink.taken) == 100)
        assert delivery.health.pause_reason is None
        delivery.stop()
    assert all(entry.attempts == 0 for entry in sink.taken)


async def test_h1_a_sink_that_is_back_is_probed_as_soon_as_another_request_succeeds(
    store: SqliteStore, thread: CountingThread, clock: FakeClock
) -> None:
    """A report of node states, say: nothing waits for the end of the pause, nor for the backoff of an entry."""
    record(store, *range(1, 51))
    sink = FakeSink(lambda _: DOWN)
    delivery = deliverer(sink, store, thread, clock, replace(POLICY, backoff_s=3600.0, backoff_max_s=3600.0))
    async with anyio.create_task_group() as group:
        group.start_soon(delivery.run)
        await until(lambda: delivery.health.pause_reason and not sink.under_way)
        tried = len(sink.attempts)
        delivery.heard()
        await until(lambda: len(sink.attempts) == tried + 1 and not sink.under_way)
        assert delivery.health.pause_reason == "unreachable", "only an attempt shows whether it accepts runs"
        sink.outcomes = lambda _: None
        delivery.heard()
        await until(lambda: len(sink.taken) == 50)
        delivery.stop()


async def test_h8_an_entry_that_failed_alone_is_tried_as_soon_as_another_request_succeeds(
    store: SqliteStore, thread: CountingThread, clock: FakeClock
) -> None:
    """One or two of them never make the sink suspected; their own wait ends, too."""
    record(store, 1)
    sink = FakeSink(lambda _: FAILED)
    delivery = deliverer(sink, store, thread, clock)
    async with anyio.create_task_group() as group:
        group.start_soon(delivery.run)
        for n in (1, 2, 3):
            await until(partial(thread.settled, n))
            clock.at += 1
            delivery.wake()
        await until(partial(thread.settled, 4))
        sink.outcomes = lambda _: None
        assert not delivery.health.pause_reason
        delivery.heard()
        await until(lambda: job_ids(sink.taken) == [1])
        delivery.stop()


async def test_h13_a_wait_that_the_sink_asked_for_outlasts_other_requests(
    store: SqliteStore, thread: CountingThread, clock: FakeClock
) -> None:
    """Its Retry-After concerns deliveries, whatever else it accepts meanwhile."""
    record(store, *range(1, 51))
    sink = FakeSink(lambda _: replace(DOWN, reason="http_429", retry_after_s=3600.0))
    delivery = deliverer(sink, store, thread, clock, replace(POLICY, backoff_max_s=3600.0))
    async with anyio.create_task_group() as group:
        group.start_soon(delivery.run)
        await until(lambda: delivery.health.pause_reason and not sink.under_way)
        tried = len(sink.attempts)
        delivery.heard()
        await anyio.wait_all_tasks_blocked()
        assert len(sink.attempts) == tried
        delivery.stop()


async def test_a_paused_sink_costs_nothing(
    store: SqliteStore, thread: CountingThread, clock: FakeClock
) -> None:
    """While the pause lasts the store is not asked, however often hooks ring."""
    record(store, *range(1, 51))
    sink = FakeSink(lambda _: replace(DOWN, retry_after_s=3600.0))
    policy = replace(POLICY, backoff_max_s=3600.0)
    delivery = deliverer(sink, store, thread, clock, policy)
    async with anyio.create_task_group() as group:
        group.start_soon(delivery.run)
        await until(lambda: delivery.health.pause_reason and not sink.under_way)
        await thread.comes_to_rest()
        before = dict(thread.calls)
        for _ in range(20):
            delivery.wake()
            await anyio.wait_all_tasks_blocked()
        assert dict(thread.calls) == before
        delivery.stop()
    assert len(sink.attempts) == 2


async def test_an_idle_sink_asks_a_handful_of_times(
    store: SqliteStore, thread: CountingThread, clock: FakeClock
) -> None:
    """One round when it begins, one round for each ring, nothing in between."""
    delivery = deliverer(FakeSink(), store, thread, clock)
    async with anyio.create_task_group() as group:
        group.start_soon(delivery.run)
        await until(lambda: thread.calls["next_due_at"] == 2)
        delivery.wake()
        await until(lambda: thread.calls["next_due_at"] == 4)
        await anyio.wait_all_tasks_blocked()
        assert thread.calls == {"due": 4, "next_due_at": 4}
        delivery.stop()


async def test_a_ring_between_looking_and_waiting_is_not_lost(
    store: SqliteStore, thread: CountingThread, clock: FakeClock
) -> None:
    """What is written down while a lane looks into the queue is found without waiting for the next look."""
    sink = FakeSink()
    delivery = deliverer(sink, store, thread, clock)
    async with anyio.create_task_group() as group:
        group.start_soon(delivery.run)
        for n in range(1, 101):
            await thread(record, store, n)
            delivery.wake()
        await until(lambda: len(sink.taken) == 100)
        delivery.stop()


async def test_a_retry_is_not_kept_waiting_by_a_slow_exchange(
    store: SqliteStore, thread: CountingThread, clock: FakeClock
) -> None:
    """One exchange hangs; what falls due meanwhile goes when it is due."""
    record(store, 1, 2)
    slow = anyio.Event()
    tried: list[int] = []

    class Slow(FakeSink):
        async def deliver(self, entry: OutboxEntry) -> Outcome:
            tried.append(entry.start.key.job_id)
            if entry.start.key.job_id == 1:
                await slow.wait()
            elif tried.count(2) == 1:
                return FAILED
            return await super().deliver(entry)

    sink = Slow()
    delivery = deliverer(sink, store, thread, clock)
    async with anyio.create_task_group() as group:
        group.start_soon(delivery.run)
        await until(lambda: thread.calls["settle"])
        clock.at += 1
        await until(lambda: job_ids(sink.taken) == [2], at_most_s=deliver.IDLE_S / 2)
        slow.set()
        delivery.stop()


async def test_h8_a_run_that_always_fails_is_parked_while_others_succeed(
    store: SqliteStore, thread: CountingThread, clock: FakeClock
) -> None:
    """Its attempts are charged only then."""
    record(store, 1)
    sink = FakeSink(lambda entry: FAILED if entry.start.key.job_id == 1 else None)
    delivery = deliverer(sink, store, thread, clock)
    for n in range(2, 10):
        clock.at += 1
        record(store, n, at=clock.now())
        await delivery_of(delivery, store, thread, clock, sink).run(until_idle=True)
    assert store.counts("rest").states["parked"] == 1


def delivery_of(
    old: deliver.DeliveryLoop, store: SqliteStore, thread: CountingThread, clock: FakeClock, sink: FakeSink
) -> deliver.DeliveryLoop:
    """Return a new delivery loop of the same sink with the health of the old one."""
    fresh = deliverer(sink, store, thread, clock)
    fresh.health = old.health
    return fresh


async def test_h8_alone_a_failing_run_is_neither_parked_nor_a_reason_to_pause(
    store: SqliteStore, thread: CountingThread, clock: FakeClock
) -> None:
    """Nobody can tell whether it is the run or the sink: tried again with a growing wait, and not charged."""
    record(store, 1)
    sink = FakeSink(lambda entry: FAILED if entry.start.key.job_id == 1 else None)
    delivery = deliverer(sink, store, thread, clock)
    async with anyio.create_task_group() as group:
        group.start_soon(delivery.run)
        for n in range(1, 9):
            clock.at += 1
            delivery.wake()
            await until(partial(_at_least, sink.attempts, n))
        assert delivery.health.pause_reason is None
        assert sink.attempts[-1].attempts == 1
        await thread(record, store, 2, at=clock.now())
        delivery.wake()
        await until(lambda: job_ids(sink.taken) == [2])
        delivery.stop()


async def test_i5_several_failing_runs_at_the_head_do_not_keep_a_fresh_one_out(
    store: SqliteStore, thread: CountingThread, clock: FakeClock
) -> None:
    """The sink is suspected and probed with one entry at a time, but not always with the same."""
    record(store, *range(1, 6))
    sink = FakeSink(lambda entry: FAILED if entry.start.key.job_id < 6 else None)
    delivery = deliverer(sink, store, thread, clock)
    async with anyio.create_task_group() as group:
        group.start_soon(delivery.run)
        await until(lambda: delivery.health.pause_reason == "http_500")
        await thread(record, store, 6, at=clock.now())
        delivery.wake()
        await until(lambda: 6 in job_ids(sink.taken))
        assert delivery.health.pause_reason is None
        delivery.stop()


async def test_h13_a_wait_that_was_asked_for_is_kept(
    store: SqliteStore, thread: CountingThread, clock: FakeClock
) -> None:
    """Retry-After, up to the longest backoff, also for an entry that is not charged."""
    record(store, 1)
    sink = FakeSink(lambda _: replace(FAILED, retry_after_s=20.0))
    policy = replace(POLICY, backoff_max_s=300.0)
    delivery = deliverer(sink, store, thread, clock, policy)
    async with anyio.create_task_group() as group:
        group.start_soon(delivery.run)
        for n in (1, 2, 3):
            await until(partial(thread.settled, n))
            due_at = await thread(store.next_due_at, "rest", EventKind.START, clock.now())
            assert (due_at or 0) >= clock.now() + 20
            clock.at += 1000
            delivery.wake()
        delivery.stop()


async def test_p1_stop_lets_the_exchange_under_way_end_and_be_settled(
    store: SqliteStore, thread: CountingThread, clock: FakeClock
) -> None:
    """Nothing new begins, what is under way counts, the rest stays in the queue."""
    record(store, *range(1, 101))
    hold = anyio.Event()
    sink = FakeSink(hold=hold)
    delivery = deliverer(sink, store, thread, clock)
    async with anyio.create_task_group() as group:
        group.start_soon(delivery.run)
        await until(lambda: len(sink.under_way) == 2)
        delivery.stop()
        await anyio.wait_all_tasks_blocked()
        assert not delivery.finished.is_set()
        hold.set()
    assert delivery.finished.is_set()
    assert len(sink.attempts) == len(sink.taken) == 2
    assert len(store.due("rest", EventKind.START, clock.now(), 1000)) == 98


async def test_p1_429_during_a_stop_is_settled_and_not_waited_for(
    store: SqliteStore, thread: CountingThread, clock: FakeClock
) -> None:
    """The wait is written down; the process does not stay for it."""
    record(store, 1)
    hold = anyio.Event()
    sink = FakeSink(lambda _: replace(FAILED, reason="http_429", retry_after_s=200.0), hold=hold)
    delivery = deliverer(sink, store, thread, clock, replace(POLICY, backoff_max_s=300.0))
    async with anyio.create_task_group() as group:
        group.start_soon(delivery.run)
        await until(lambda: sink.under_way)
        delivery.stop()
        hold.set()
    assert store.next_due_at("rest", EventKind.START, clock.now()) == clock.now() + 200


async def test_what_was_answered_is_settled_even_when_all_is_torn_down(
    store: SqliteStore, thread: CountingThread, clock: FakeClock
) -> None:
    """A second signal cancels; an answer that came before need not be asked for again."""
    record(store, 1, 2)

    class Half(FakeSink):
        async def deliver(self, entry: OutboxEntry) -> Outcome:
            if entry.start.key.job_id == 2:
                await anyio.sleep_forever()
            group.cancel_scope.cancel()
            return ACCEPTED

    delivery = deliverer(Half(), store, thread, clock)
    async with anyio.create_task_group() as group:
        group.start_soon(delivery.run)
    assert delivery.finished.is_set()
    assert job_ids(list(store.due("rest", EventKind.START, clock.now(), 10))) == [2]


async def test_p7_a_sink_that_raises_takes_the_process_down(
    store: SqliteStore, thread: CountingThread, clock: FakeClock
) -> None:
    """Never a half-dead daemon; what others were answered is settled."""
    record(store, 1, 2)

    def bug(entry: OutboxEntry) -> Outcome | None:
        if entry.start.key.job_id == 2:
            raise RuntimeError("a bug")
        return None

    with pytest.raises(Exception) as caught:
        await deliverer(FakeSink(bug), store, thread, clock, workers=1).run()
    assert "a bug" in str(leaves(caught.value))
    assert job_ids(list(store.due("rest", EventKind.START, clock.now(), 10))) == [2]


async def test_d2_a_full_disk_loses_no_result_and_does_not_spin(
    store: SqliteStore, thread: CountingThread, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results wait in memory and nothing more is sent, until there is room again."""
    monkeypatch.setattr(deliver, "DISK_FULL_S", 0.02)
    record(store, *range(1, 101))
    thread.failures["settle"] = [DiskFull("full")] * 5
    sink = FakeSink()
    delivery = deliverer(sink, store, thread, clock)
    async with anyio.create_task_group() as group:
        group.start_soon(delivery.run)
        await until(lambda: delivery.health.disk_full)
        await until(lambda: not thread.failures["settle"])
        assert len(sink.attempts) <= 16, "no more than were in hand"
        await until(lambda: len(sink.taken) == 100)
        delivery.stop()
    assert not delivery.health.disk_full
    assert len(sink.attempts) == 100, "nothing was sent twice"
    assert store.next_due_at("rest", EventKind.START, clock.now()) is None


async def test_d2_a_stop_does_not_wait_for_a_full_disk(
    store: SqliteStore, thread: CountingThread, clock: FakeClock
) -> None:
    """What could not be written down is sent again after the restart."""
    record(store, 1)
    thread.failures["settle"] = [DiskFull("full")] * 100
    delivery = deliverer(FakeSink(), store, thread, clock)
    async with anyio.create_task_group() as group:
        group.start_soon(delivery.run)
        await until(lambda: delivery.health.disk_full)
        delivery.stop()
    assert job_ids(list(store.due("rest", EventKind.START, clock.now(), 10))) == [1]


async def test_d2_a_full_disk_while_looking_for_work_does_not_spin(
    store: SqliteStore, thread: CountingThread, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Burying a damaged record needs room, too."""
    monkeypatch.setattr(deliver, "DISK_FULL_S", 0.02)
    record(store, 1)
    thread.failures["due"] = [DiskFull("full")] * 3
    sink = FakeSink()
    delivery = deliverer(sink, store, thread, clock)
    async with anyio.create_task_group() as group:
        group.start_soon(delivery.run)
        await until(lambda: job_ids(sink.taken) == [1])
        delivery.stop()


async def test_d4_a_store_that_cannot_be_used_takes_the_process_down(
    store: SqliteStore, thread: CountingThread, clock: FakeClock
) -> None:
    """Exit, never guess."""
    record(store, 1)
    thread.failures["settle"] = [StoreError("broken")]
    with pytest.raises(Exception) as caught:
        await deliverer(FakeSink(), store, thread, clock).run()
    assert "broken" in str(leaves(caught.value))


async def test_until_idle_waits_for_the_stop_that_a_start_has_released(
    store: SqliteStore, thread: CountingThread, clock: FakeClock
) -> None:
    """A lane that had nothing to do looks again once another has settled something."""
    record(store, *range(1, 31), ended=True)
    sink = FakeSink()
    workers = {EventKind.STOP: 1, EventKind.START: 1}
    await deliver.DeliveryLoop(sink, store, thread, POLICY, clock, workers=workers).run(until_idle=True)
    assert len(sink.taken) == 60


@pytest.mark.parametrize("outcome", [None, DOWN])
async def test_no_busy_loop_while_an_exchange_hangs(
    store: SqliteStore,
    thread: CountingThread,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    outcome: Outcome | None,
) -> None:
    """Neither a sink that works nor one that is being probed has the store asked again and again."""
    monkeypatch.setattr(deliver, "LEAST_S", 0.0)
    record(store, *range(1, 41), ended=True)
    hold = anyio.Event()
    sink = FakeSink(lambda _: outcome if len(sink.attempts) < 4 else None)
    delivery = deliverer(sink, store, thread, clock, workers=1)
    async with anyio.create_task_group() as group:
        group.start_soon(delivery.run)
        await until(lambda: len(sink.attempts) >= 3)
        sink.hold = hold
        await until(lambda: sink.under_way)
        for _ in range(20):
            await thread(store.cursor, "alpha")
        before = thread.calls["due"], thread.calls["next_due_at"]
        for _ in range(20):
            await thread(store.cursor, "alpha")
        assert (thread.calls["due"], thread.calls["next_due_at"]) == before
        hold.set()
        delivery.stop()


async def test_until_idle_gives_up_on_a_sink_in_trouble(
    store: SqliteStore, thread: CountingThread, clock: FakeClock
) -> None:
    """`--once` says so instead of waiting."""
    record(store, *range(1, 31), ended=True)
    delivery = deliverer(FakeSink(lambda _: DOWN), store, thread, clock)
    await delivery.run(until_idle=True)
    assert delivery.health.pause_reason == "unreachable"


async def test_until_idle_does_not_wait_for_what_is_due_later(
    store: SqliteStore, thread: CountingThread, clock: FakeClock
) -> None:
    """H24: a stop that is held back stays."""
    record(store, 1, ended=True)
    sink = FakeSink()
    await deliverer(sink, store, thread, clock, replace(POLICY, stop_hold_s=150.0)).run(until_idle=True)
    assert steps(sink, 1) == [EventKind.START]
    assert store.next_due_at("rest", EventKind.STOP, clock.now()) == clock.now() + 150


async def test_h11_a_lost_start_is_sent_again_before_its_stop(
    store: SqliteStore, thread: CountingThread, clock: FakeClock
) -> None:
    """The stop finds nothing; start, then stop, and no two at once."""
    record(store, 1, ended=True)
    missing = Outcome(result=OutcomeKind.START_MISSING, reason="http_404")
    sink = FakeSink(lambda entry: missing if entry.kind is EventKind.STOP and entry.attempts == 0 else None)
    await deliverer(sink, store, thread, clock).run(until_idle=True)
    assert [entry.kind for entry in sink.attempts] == [
        EventKind.START,
        EventKind.STOP,
        EventKind.START,
        EventKind.STOP,
    ]
