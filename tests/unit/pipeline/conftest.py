"""The real store in a fresh directory, and how its calls are counted."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from slurmsyncd.delivery import DeliveryPolicy
from slurmsyncd.model import EventKind, Job, JobState, Plan, RunEnded, RunKey, RunStarted, Trigger
from slurmsyncd.pipeline.deliver import DeliveryLoop
from slurmsyncd.pipeline.store_thread import StoreThread
from slurmsyncd.store import SqliteStore, open_store
from tests.fakes import CLUSTER, NOW, FakeClock, FakeSink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: Waits so short that retries follow at once on a clock that is turned by hand.
POLICY = DeliveryPolicy(
    backoff_s=0.01, backoff_max_s=0.05, stop_hold_s=0.0, park_interval_s=3600.0, park_after=3
)


class CountingThread(StoreThread):
    """The store's thread; counts the calls by name, and fails where it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.failures: dict[str, list[Exception]] = {}

    async def __call__(self, call: Any, *args: Any, **kwargs: Any) -> Any:
        name = getattr(call, "__name__", "")
        self.calls[name] += 1
        if pending := self.failures.get(name):
            failure = pending.pop(0)
            await anyio.lowlevel.checkpoint()
            raise failure
        result = await super().__call__(call, *args, **kwargs)
        self.done[name] += 1
        return result

    async def comes_to_rest(self) -> None:
        """Wait until no call is being carried out, and none is about to be made."""
        while True:
            await until(lambda: self.calls == self.done)
            await anyio.wait_all_tasks_blocked()
            if self.calls == self.done:
                return

    def settled(self, groups: int) -> bool:
        """Return whether so many groups of results are on the disk."""
        return self.done["settle"] >= groups


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    made = open_store(tmp_path / "state", ("rest",)).store
    yield made
    made.close()


@pytest.fixture
def thread() -> CountingThread:
    return CountingThread()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def key(job_id: int, start_at: int = NOW - 1000) -> RunKey:
    return RunKey(CLUSTER, job_id, start_at)


def record(store: SqliteStore, *job_ids: int, ended: bool = False, at: float = NOW) -> None:
    """Write down runs, with their stops if they have ended."""
    begun = [RunStarted(Job(key=key(n), state=JobState.RUNNING), Trigger.POLL) for n in job_ids]
    over = [
        RunEnded(Job(key=key(n), state=JobState.COMPLETED, end_at=NOW - 10), Trigger.POLL)
        for n in (job_ids if ended else ())
    ]
    store.record(Plan(cluster=CLUSTER, events=(*begun, *over)), at)


def deliverer(
    sink: FakeSink,
    store: SqliteStore,
    thread: StoreThread,
    clock: FakeClock,
    policy: DeliveryPolicy = POLICY,
    workers: int = 2,
) -> DeliveryLoop:
    return DeliveryLoop(
        sink, store, thread, policy, clock, workers={EventKind.START: workers, EventKind.STOP: workers}
    )


async def until(condition: Callable[[], object], at_most_s: float = 10.0) -> None:
    """Wait for something to become true."""
    with anyio.fail_after(at_most_s):
        while not condition():  # noqa: ASYNC110 - the condition is the program's state, which has no event
            await anyio.sleep(0.005)
