"""The daemon's own source, planner and store at work, and a sink that takes everything."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio

from slurmsyncd.config import SlurmConfig
from slurmsyncd.delivery import Delivered
from slurmsyncd.model import EventKind, Notification, OutboxEntry
from slurmsyncd.pipeline.collect import Collector, CollectPolicy
from slurmsyncd.pipeline.store_thread import StoreThread
from slurmsyncd.pipeline.tally import CollectTally
from slurmsyncd.sources.command_source import CommandSource
from slurmsyncd.store import open_store
from tests.system.job_kinds.world import hints_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from slurmsyncd.model import Plan, RunKey
    from slurmsyncd.ports import Store
    from tests.tools.lab import Lab
    from tests.tools.lab.witness import Key

OVERLAP_S = 60.0
SPAN_S = 3600.0
QUIET_S = 40.0


class _Clock:
    def now(self) -> float:
        return time.time()


class Polls:
    """No hook ever speaks."""

    async def wait(self, at_most_s: float) -> frozenset[Notification]:
        """Wait until the next look is due."""
        await anyio.sleep(at_most_s)
        return frozenset()


class Hooks:
    """Hints out of the file that the lab's hooks write."""

    def __init__(self, lab: Lab) -> None:
        self._file = hints_of(lab)
        self._cluster = lab.cluster
        self._read = 0

    async def wait(self, at_most_s: float) -> frozenset[Notification]:
        """Return what the hooks have said since, a moment after the first word."""
        with anyio.move_on_after(at_most_s):
            while not self._said():  # noqa: ASYNC110 - the hooks write a file
                await anyio.sleep(0.1)
        await anyio.sleep(0.2)
        said = self._said()
        self._read += len(said)
        return frozenset(self._hint(*line.split()) for line in said.decode().splitlines())

    def _said(self) -> bytes:
        text = self._file.read_bytes()[self._read :] if self._file.exists() else b""
        return text[: text.rfind(b"\n") + 1]

    def _hint(self, context: str, job_id: str, restarts: str = "0") -> Notification:
        return Notification(self._cluster, int(job_id), context.removesuffix("_slurmctld"), int(restarts))


@dataclass(slots=True)
class Observer:
    """
    One daemon without a backend.

    Attributes:
        told: Run → start and stop, as a sink got them.
        again: Runs of which a start was given to the sink twice.
        tally: The collector's.
    """

    told: dict[RunKey, OutboxEntry] = field(default_factory=dict)
    again: list[RunKey] = field(default_factory=list)
    tally: CollectTally = field(default_factory=CollectTally)
    _finish: threading.Event = field(default_factory=threading.Event)

    def by_key(self) -> dict[Key, OutboxEntry]:
        """Return what was told by job id and start."""
        return {(key.job_id, key.start_at): entry for key, entry in self.told.items()}

    def is_told(self, job_id: int) -> bool:
        """Return whether a start of this job was told; from any thread."""
        return any(key.job_id == job_id for key in list(self.told))

    async def _work(self, lab: Lab, directory: Path, wakeup: Polls | Hooks, poll_s: float) -> None:
        store = open_store(directory, ("sink",), reserve_bytes=4096).store
        conf = SlurmConfig(bin_dir=str(lab.bin_dir), command_timeout=15)
        source = CommandSource(lab.cluster, conf, slurm_conf=lab.env["SLURM_CONF"], directory=directory)
        thread = StoreThread()

        async def recorded(_plan: Plan) -> None:
            await thread(self._drain, store)

        policy = CollectPolicy(poll_s=poll_s, overlap_s=OVERLAP_S, max_span_s=SPAN_S)
        collector = Collector(source, store, thread, policy, _Clock(), recorded=recorded)
        self.tally = collector.tally
        async with anyio.create_task_group() as group:
            group.start_soon(collector.run, wakeup)
            while not self._finish.is_set():  # noqa: ASYNC110 - set by another thread
                await anyio.sleep(0.2)
            with anyio.move_on_after(QUIET_S):
                while await thread(self._is_behind, store, lab):  # noqa: ASYNC110 - nothing tells of it
                    await anyio.sleep(0.2)
            group.cancel_scope.cancel()
        store.close()

    def _is_behind(self, store: Store, lab: Lab) -> bool:
        return bool(store.changed_job_ids(lab.cluster, ())) or not self.told

    def _drain(self, store: Store) -> None:
        now = time.time()
        for step in (EventKind.START, EventKind.STOP):
            entries = store.due("sink", step, now, 10_000)
            for entry in entries:
                key = entry.start.key
                if step is EventKind.START and key in self.told:
                    self.again.append(key)
                self.told[key] = entry
            store.settle([(entry, Delivered(now, now, "ok")) for entry in entries], now)


@contextmanager
def observing(lab: Lab, directory: Path, wakeup: Polls | Hooks, *, poll_s: float) -> Iterator[Observer]:
    """Have one at work in a thread; at the end it may finish what is open."""
    observer = Observer()
    failed: list[BaseException] = []

    def work() -> None:
        try:
            anyio.run(observer._work, lab, directory, wakeup, poll_s)
        except BaseException as error:  # noqa: BLE001 - carried over to the test
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield observer
    finally:
        observer._finish.set()
        thread.join()
    if failed:
        raise failed[0]
