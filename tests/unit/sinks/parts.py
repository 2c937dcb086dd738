"""Runs, entries and sinks for the tests of this folder."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from slurmsyncd.config import ClusterConfig, SinkConfig
from slurmsyncd.model import (
    EventKind,
    Gres,
    Job,
    JobState,
    NodeAllocation,
    OutboxEntry,
    RunKey,
    Sharing,
)
from slurmsyncd.sinks.rest.sink import RestSink

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

START = 1_700_000_000

CLUSTERS: dict[str, Any] = {
    "clusters": [
        {
            "name": "demo",
            "metricConfig": [{"name": "flops", "peak": 1e3}],
            "subClusters": [
                {
                    "name": "main",
                    "nodes": "cn[001-100]",
                    "socketsPerNode": 2,
                    "coresPerSocket": 2,
                    "threadsPerCore": 2,
                    "topology": {
                        "node": [0, 1, 2, 3, 4, 5, 6, 7],
                        "core": [[0, 4], [1, 5], [2, 6], [3, 7]],
                        "accelerators": None,
                    },
                },
                {
                    "name": "gpu",
                    "nodes": "gpu[01-04]",
                    "coresPerSocket": 4,
                    "topology": {
                        "core": [[0], [1], [2], [3]],
                        "accelerators": [
                            {"id": "00000000:0E:00.0", "type": "Nvidia GPU", "model": "A100"},
                            {"id": "00000000:13:00.0", "type": "Nvidia GPU", "model": "A100"},
                        ],
                    },
                },
            ],
        },
        {"name": "star", "subClusters": [{"name": "all", "nodes": "*", "topology": {}}]},
    ]
}


@dataclass(slots=True)
class FixedClock:
    """A clock that a test turns."""

    at: float = START + 1000.0

    def now(self) -> float:
        return self.at


def job(job_id: int = 7, start_at: int = START, **changes: Any) -> Job:
    """Return a run on one core of cn001."""
    plain = Job(
        key=RunKey("demo", job_id, start_at),
        state=JobState.RUNNING,
        user="alice",
        account="physics",
        partition="batch",
        name="sim",
        num_nodes=1,
        num_cpus=2,
        nodes=("cn001",),
        allocation=(NodeAllocation("cn001", cores=((1, 0),), cpus=2),),
        sharing=Sharing.MULTI_USER,
        time_limit_s=3600,
    )
    return replace(plain, **changes)


def gpu_job(*gres: Gres, **changes: Any) -> Job:
    """Return a run with generic resources on gpu01."""
    held = NodeAllocation("gpu01", cores=((0, 0),), cpus=1, gres=gres)
    return job(nodes=("gpu01",), allocation=(held,), num_cpus=1, **changes)


def entry(step: EventKind = EventKind.START, run: Job | None = None, **end: Any) -> OutboxEntry:
    """Return what a sink is told next of a run; ``end`` changes how it ended."""
    run = run or job()
    stop = replace(run, **{"state": JobState.COMPLETED, "end_at": run.key.start_at + 60, **end})
    return OutboxEntry(id=1, sink="cc", kind=step, start=run, stop=stop if step is EventKind.STOP else None)


def token_file(path: Path, text: str = "a.b.c\n") -> Path:
    """Write a token file as it should be."""
    path.write_text(text)
    path.chmod(0o600)
    return path


def sink_on(
    url: str, token: Path, clusters: Mapping[str, ClusterConfig] | None = None, **settings: Any
) -> RestSink:
    """Return a sink with short deadlines."""
    dialect = settings.pop("dialect", None)
    clock = settings.pop("clock", FixedClock())
    config = SinkConfig(**{"name": "cc", "url": url, "token_file": str(token), "timeout": 5.0, **settings})
    return RestSink(config, clusters or {}, clock, dialect=dialect)


def error(text: str, status: str = "Bad Request") -> str:
    """Return an error body in the backend's shape."""
    return json.dumps({"status": status, "error": text}) + "\n"
