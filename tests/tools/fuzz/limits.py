"""What has to hold of values that came in from outside, beyond their types."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

from slurmsyncd.config import ClusterConfig
from slurmsyncd.model import EventKind, Job, JobState, NodeAllocation
from slurmsyncd.sinks.bodies import BodyOptions, NotRepresentable, RequestBody, start_body, stop_body
from slurmsyncd.sinks.nats.event import job_event
from slurmsyncd.sinks.nats.line_protocol import job_line
from slurmsyncd.sinks.topology import Topology
from slurmsyncd.slurm.hostlist import HOST_LIMIT
from slurmsyncd.slurm.scalars import TEXT_LIMIT
from slurmsyncd.store.codec import decode, encode

INT64 = 2**63


def check_number(value: float) -> None:
    """It fits where it will be kept and sent."""
    assert math.isfinite(value)
    assert -INT64 <= value < INT64


def check_job(job: Job) -> None:
    """A run that the readers give can be written down, read again and told."""
    for spec in fields(Job):
        check_field(spec.name, getattr(job, spec.name))
    assert 0 < job.key.job_id < 2**32
    assert 0 < job.key.start_at < 2**62
    assert len(job.nodes) <= HOST_LIMIT
    for node in job.allocation or ():
        check_allocation(node)
    without_texts = _emptied(job)  # what is no Unicode is written down as question marks
    again = decode(*encode(job))
    assert replace(again, **without_texts) == replace(job, **without_texts)
    assert isinstance(
        start_body(job, ClusterConfig(name="c"), Topology(), BodyOptions()), RequestBody | NotRepresentable
    )
    line = job_line(EventKind.START, job_event(EventKind.START, job, None, "c", 100), job.key.start_at)
    assert line.count(b"\n") == 1
    over = replace(job, state=JobState.COMPLETED, end_at=job.end_at or job.key.start_at)
    assert job_event(EventKind.STOP, job, over, "c", 100)
    assert isinstance(
        stop_body(job, over, ClusterConfig(name="c"), BodyOptions()), RequestBody | NotRepresentable
    )


def check_field(name: str, value: object) -> None:
    match value:
        case bool():
            pass
        case int():
            check_number(value)
        case str():
            assert len(value) <= TEXT_LIMIT, name
        case tuple() if name == "tres":
            for _, count in value:
                check_number(count)


def check_allocation(node: NodeAllocation) -> None:
    check_number(node.cpus or 0)
    check_number(node.memory_mib or 0)
    for gres in node.gres:
        check_number(gres.count)
        assert len(gres.indexes) <= 1024


def _emptied(job: Job) -> dict[str, Any]:
    return {spec.name: "" for spec in fields(Job) if isinstance(getattr(job, spec.name), str)}
