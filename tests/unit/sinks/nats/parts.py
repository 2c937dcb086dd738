"""Sinks, listeners and deliveries for the tests of this folder."""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING, Any

import anyio
import nats
from nats.js.api import StreamConfig

from slurmsyncd.config import load_config
from slurmsyncd.delivery import DeliveryPolicy
from slurmsyncd.model import EventKind, Job, JobState, Plan, RunEnded, RunStarted, Trigger
from slurmsyncd.pipeline.deliver import DeliveryLoop
from slurmsyncd.pipeline.store_thread import StoreThread
from slurmsyncd.sinks.nats.sink import NatsSink
from tests.unit.sinks.parts import START, FixedClock, job

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from slurmsyncd.ports import Sink
    from slurmsyncd.store import SqliteStore

SUBJECT = "slurm.demo.job"
STREAM = "JOBS"
WINDOW_S = 7200.0
#: Waits so short that retries follow at once.
POLICY = DeliveryPolicy(backoff_s=0.02, backoff_max_s=0.2, stop_hold_s=0.0, park_after=1000)


class RunningClock:
    """Time goes on, so that what failed comes up again."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def now(self) -> float:
        return START + 1000.0 + time.monotonic() - self._began


def sink_on(*servers: str, clusters: dict[str, Any] | None = None, **settings: Any) -> NatsSink:
    """Return a sink as the configuration would have it."""
    section = {"type": "nats", "servers": list(servers), **settings}
    config = load_config({"sinks": {"nats": section}, "clusters": clusters or {}})
    return NatsSink(config.sinks["nats"], config.clusters, FixedClock())


@contextlib.asynccontextmanager
async def sink(*servers: str, **settings: Any) -> AsyncIterator[NatsSink]:
    """Return a sink while the block runs."""
    made = sink_on(*servers, **settings)
    try:
        yield made
    finally:
        await made.aclose()


@contextlib.asynccontextmanager
async def client(url: str, **options: Any) -> AsyncIterator[Client]:
    """Return somebody else on the same server; he reconnects by himself."""

    async def quiet(_: Exception) -> None:
        return None

    made = await nats.connect(
        url, error_cb=quiet, reconnect_time_wait=0.05, max_reconnect_attempts=-1, **options
    )
    try:
        yield made
    finally:
        await made.close()


@contextlib.asynccontextmanager
async def listener(url: str, subject: str = "slurm.>", **options: Any) -> AsyncIterator[list[Msg]]:
    """Return what is published on core NATS from now on."""
    heard: list[Msg] = []

    async def hear(message: Msg) -> None:
        heard.append(message)

    async with client(url, **options) as other:
        await other.subscribe(subject, cb=hear)
        # The ping of a flush overtakes a subscription that nats-py has not written yet.
        await until(lambda: not other.pending_data_size)
        await other.flush()
        yield heard


async def make_stream(url: str, **changes: Any) -> None:
    """Make a stream for the jobs; the client has seconds where the server has nanoseconds."""
    config = {"name": STREAM, "subjects": ["slurm.*.job"], "duplicate_window": WINDOW_S, **changes}
    async with client(url) as other:
        await other.jetstream().add_stream(StreamConfig(**config))


async def stored(url: str, stream: str = STREAM) -> list[dict[str, Any]]:
    """Return all events that a stream holds, in its order."""
    return [json.loads(body) for body in await stored_bodies(url, stream)]


async def stored_bodies(url: str, stream: str = STREAM) -> list[bytes]:
    async with client(url) as other:
        js = other.jetstream()
        state = (await js.stream_info(stream)).state
        return [
            (await js.get_msg(stream, seq)).data or b"" for seq in range(state.first_seq, state.last_seq + 1)
        ]


def key_of(event: dict[str, Any]) -> tuple[int, str]:
    return event["run"]["job_id"], event["kind"]


def record(store: SqliteStore, runs: Iterable[Job], *, ended: bool = False) -> None:
    """Write down runs, with their stops if they have ended."""
    events: list[RunStarted | RunEnded] = []
    for run in runs:
        events.append(RunStarted(run, Trigger.POLL))
        if ended:
            events.append(RunEnded(over(run), Trigger.POLL))
    store.record(Plan(cluster="demo", events=tuple(events)), START)


def over(run: Job, state: JobState = JobState.COMPLETED) -> Job:
    """Return a run as accounting has it in the end: without what only the controller knew."""
    return Job(key=run.key, state=state, end_at=run.key.start_at + 60, user=run.user, exit_code="0:0")


def runs(count: int, first: int = 1) -> list[Job]:
    return [job(job_id=first + n) for n in range(count)]


def delivery(told: Sink, store: SqliteStore, thread: StoreThread | None = None) -> DeliveryLoop:
    """Return the very loop that the daemon runs for a sink."""
    workers = {EventKind.START: 4, EventKind.STOP: 2}
    return DeliveryLoop(told, store, thread or StoreThread(), POLICY, RunningClock(), workers=workers)


@contextlib.asynccontextmanager
async def delivering(
    told: Sink, store: SqliteStore, thread: StoreThread | None = None
) -> AsyncIterator[DeliveryLoop]:
    """Deliver while the block runs."""
    loop = delivery(told, store, thread)
    async with anyio.create_task_group() as group:
        group.start_soon(loop.run)
        try:
            yield loop
        finally:
            loop.stop()


def open_steps(store: SqliteStore) -> int:
    """Return how many runs have something left to be told."""
    return sum(store.counts("nats").states.values())


async def until(condition: Callable[[], object], at_most_s: float = 60.0) -> None:
    """Wait for something to become true."""
    with anyio.fail_after(at_most_s):
        while not condition():  # noqa: ASYNC110 - the condition is in the program or the server
            await anyio.sleep(0.01)
