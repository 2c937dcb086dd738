"""Delivery to a backend that answers at once, beside plain httpx with as many workers; settling included."""

from __future__ import annotations

import gc
import statistics
import time
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import anyio
import httpx

from slurmsyncd.config import ClusterConfig, SinkConfig
from slurmsyncd.delivery import DeliveryPolicy
from slurmsyncd.model import EventKind, Plan
from slurmsyncd.pipeline.deliver import DeliveryLoop
from slurmsyncd.pipeline.store_thread import StoreThread
from slurmsyncd.sinks.bodies import BodyOptions, NotRepresentable, start_body
from slurmsyncd.sinks.dialect import V1_5
from slurmsyncd.sinks.rest.sink import RestSink
from slurmsyncd.sinks.tls import tls_context
from slurmsyncd.store import open_store
from tests.tools.bench.cluster import CLUSTER
from tests.tools.bench.rows import Figure
from tests.tools.bench.site import Backend
from tests.tools.bench.startup import started, stopped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from slurmsyncd.model import Job

WORKERS, STOP_WORKERS, TOKEN = 4, 2, "a.b.c"
#: Seconds, and those of CPU.
Spent: TypeAlias = tuple[float, float]


class _Clock:
    """Time of day."""

    def now(self) -> float:
        """Return epoch seconds."""
        return time.time()


def measure(root: Path, *, quick: bool) -> Iterator[Figure]:
    """Send the same starts in three ways, in turn, so often, and the stops by ours; compare the medians."""
    count, rounds = (500, 3) if quick else (6000, 5)
    token = root / "token"
    token.touch(0o600)
    token.write_text(TOKEN + "\n")
    gc.freeze()  # as the daemon does
    backend = Backend()
    found: dict[str, list[Spent]] = {"ours": [], "stops": [], "plain": [], "sequential": []}
    try:
        for number in range(rounds):
            sink = SinkConfig(name="cc", url=backend.url, token_file=str(token), start_workers=WORKERS)
            starts, stops = anyio.run(_ours, root / str(number), sink, count)
            found["ours"].append(starts)
            found["stops"].append(stops)
            found["plain"].append(anyio.run(_plain, backend.url, token, count))
            found["sequential"].append(_sequential(backend.url, token, count))
    finally:
        backend.close()
    rates = {way: count / statistics.median(wall for wall, _ in each) for way, each in found.items()}
    cpus = {way: statistics.median(cpu for _, cpu in each) / count * 1e3 for way, each in found.items()}
    plain = f"httpx: {rates['plain']:,.0f}/s, {cpus['plain']:.2f} ms of CPU each"
    note = f"{rates['ours']:,.0f}/s, {cpus['ours']:.2f} ms of CPU each; {count:,} starts, median of {rounds}"
    yield Figure("throughput", 100 * rates["ours"] / rates["plain"], floor=plain, note=note)
    one_by_one = f"one `httpx.post` after the other, as a script would do it: {rates['sequential']:,.0f}/s"
    yield Figure("throughput-starts", rates["ours"], floor=f"{plain}; {one_by_one}", note=note)
    yield Figure(
        "throughput-stops",
        rates["stops"],
        floor=plain,
        note=f"{cpus['stops']:.2f} ms of CPU each, {STOP_WORKERS} workers; {count:,} stops",
    )


async def _ours(directory: Path, config: SinkConfig, count: int) -> tuple[Spent, Spent]:
    """Drain a store of so many starts, then of their stops; give seconds, and those of CPU, of both."""
    now = int(time.time())
    with closing(open_store(directory, ("cc",)).store) as store:
        sink = RestSink(config, {CLUSTER: ClusterConfig(name=CLUSTER)}, _Clock())
        workers = {EventKind.START: WORKERS, EventKind.STOP: STOP_WORKERS}
        spent = []
        for make, left in (started, {"idle": count}), (stopped, {}):
            events = (make(job_id, now) for job_id in range(1, count + 1))
            store.record(Plan(cluster=CLUSTER, events=tuple(events)), now)
            policy = DeliveryPolicy(stop_hold_s=0)
            delivery = DeliveryLoop(sink, store, StoreThread(), policy, _Clock(), workers=workers)
            spent.append(await _timed(partial(delivery.run, until_idle=True)))
            if store.counts("cc").states != left:
                raise RuntimeError("not all was delivered")
        await sink.aclose()
    return spent[0], spent[1]


async def _plain(url: str, token: Path, count: int) -> Spent:
    """Post the same bodies from as many workers that do nothing else."""
    body = await _body(url, token)
    headers = {"X-Auth-Token": TOKEN, "Content-Type": "application/json", "Accept-Encoding": "identity"}
    async with httpx.AsyncClient(base_url=url, verify=tls_context(""), trust_env=False) as client:

        async def post() -> None:
            for _ in range(count // WORKERS):
                answer = await client.post("/api/jobs/start_job/", content=body, headers=headers)
                answer.raise_for_status()

        async def all_of_them() -> None:
            async with anyio.create_task_group() as group:
                for _ in range(WORKERS):
                    group.start_soon(post)

        return await _timed(all_of_them)


def _sequential(url: str, token: Path, count: int) -> Spent:
    """Post one after the other, each by a client of its own, as a prolog's script does it."""
    body = anyio.run(_body, url, token)
    context = tls_context("")
    some = count // 10
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(some):
        httpx.post(f"{url}/api/jobs/start_job/", content=body, verify=context).raise_for_status()
    return (time.perf_counter() - wall) * count / some, (time.process_time() - cpu) * count / some


async def _body(url: str, token: Path) -> bytes:
    """Return what our sink would send."""
    job: Job = started(1, int(time.time())).job
    sink = RestSink(SinkConfig(name="cc", url=url, token_file=str(token)), {}, _Clock())
    topology = await sink.topology(job)
    await sink.aclose()
    body = start_body(job, sink._cluster(job), topology, BodyOptions(dialect=V1_5))  # type: ignore[arg-type]
    if isinstance(body, NotRepresentable):
        raise TypeError(body.reason)
    return body.content


async def _timed(work: Callable[[], Awaitable[None]]) -> Spent:
    wall, cpu = time.perf_counter(), time.process_time()
    await work()
    return time.perf_counter() - wall, time.process_time() - cpu
