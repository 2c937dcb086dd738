"""Little runs, plans and shortcuts for the tests of the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurmsyncd.delivery import Delivered, Verdict
from slurmsyncd.model import (
    Event,
    EventKind,
    Gres,
    Job,
    JobState,
    NodeAllocation,
    OutboxEntry,
    Plan,
    RunEnded,
    RunKey,
    RunPhase,
    RunStarted,
    Trigger,
)
from slurmsyncd.store import SqliteStore, open_store

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

CLUSTER = "alpha"
T0 = 1_700_000_000


def key(job_id: int, start_at: int = T0, cluster: str = CLUSTER) -> RunKey:
    return RunKey(cluster, job_id, start_at)


def running(run: RunKey, name: str = "job") -> Job:
    gpu = Gres("gpu", "a100", 2, (0, 3))
    node = NodeAllocation("n1", ((0, 0), (1, 5)), 4, 2048, (gpu,))
    return Job(key=run, state=JobState.RUNNING, user="anna", name=name, nodes=("n1",), allocation=(node,))


def ended(run: RunKey, state: JobState = JobState.COMPLETED, end_at: int | None = None) -> Job:
    return Job(key=run, state=state, end_at=run.start_at + 60 if end_at is None else end_at)


def started(run: RunKey, name: str = "job") -> RunStarted:
    return RunStarted(running(run, name), Trigger.HOOK)


def stopped(run: RunKey, end_at: int | None = None) -> RunEnded:
    return RunEnded(ended(run, end_at=end_at), Trigger.POLL)


def plan(*events: Event, cursor: int | None = None, cluster: str = CLUSTER) -> Plan:
    return Plan(cluster=cluster, events=events, cursor=cursor)


def known(store: SqliteStore, cluster: str, job_ids: Iterable[int] = ()) -> dict[RunKey, RunPhase]:
    """Return all open runs of a cluster, and every known run of ``job_ids``."""
    wanted = set(job_ids)
    ends = store.end_times(cluster, wanted | store.changed_job_ids(cluster, ()))
    return {
        run: RunPhase.STARTED if end_at is None else RunPhase.STOPPED
        for run, end_at in ends.items()
        if end_at is None or run.job_id in wanted
    }


def opened(directory: Path, *sinks: str) -> SqliteStore:
    return open_store(directory, sinks or ("rest",), reserve_bytes=4096).store


def starts(store: SqliteStore, now: float, limit: int = 10_000, *, sink: str = "rest") -> list[OutboxEntry]:
    return store.due(sink, EventKind.START, now, limit)


def stops(store: SqliteStore, now: float, limit: int = 10_000, *, sink: str = "rest") -> list[OutboxEntry]:
    return store.due(sink, EventKind.STOP, now, limit)


def settle(store: SqliteStore, entries: Sequence[OutboxEntry], verdict: Verdict, now: float) -> None:
    store.settle([(entry, verdict) for entry in entries], now)


def tell_starts(store: SqliteStore, now: float = T0, hold_s: float = 0.0, sink: str = "rest") -> None:
    """Have every start that is due acknowledged."""
    settle(store, starts(store, now, sink=sink), Delivered(now, now + hold_s, "ok"), now)


def tell_all(store: SqliteStore, now: float, sink: str = "rest") -> None:
    """Have all that is due acknowledged, starts and then stops."""
    tell_starts(store, now, sink=sink)
    settle(store, stops(store, now, sink=sink), Delivered(now, now, "ok"), now)
