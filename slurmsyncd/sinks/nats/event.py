"""
The public JSON event: its schema, its headers, and parsing it into a run. Pure.

The schema is versioned and published in ``docs/event.schema.json``. Fields may be added within a version.
No field is removed and none changes its meaning. A field without a value is omitted.
"""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from slurmsyncd.config.nats_rules import TOKEN
from slurmsyncd.foreign import MalformedJson, decode_json
from slurmsyncd.model import (
    EventKind,
    Gres,
    Job,
    JobState,
    NodeAllocation,
    NodeState,
    RunEnded,
    RunKey,
    RunStarted,
    Sharing,
    Trigger,
)
from slurmsyncd.sinks.metadata import with_end
from slurmsyncd.sinks.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from slurmsyncd.model import Event

JOB_START, JOB_STOP, NODES = "slurmsyncd.job.start", "slurmsyncd.job.stop", "slurmsyncd.nodes"

_TEXT = 4096  # bytes of a text that users write
_BEYOND = 2**40  # larger than every job id and every time of Slurm


class Device(msgspec.Struct, omit_defaults=True, frozen=True):
    """Generic resources of one name and type on one node."""

    name: Annotated[str, Meta(description="gpu, shard, …")]
    count: Annotated[int, Meta(description="How many.")]
    type: Annotated[str, Meta(description="Slurm's type, such as a100; left out if it has none.")] = ""
    indexes: Annotated[tuple[int, ...], Meta(description="On the node, as Slurm counts them.")] = ()


class Node(msgspec.Struct, omit_defaults=True, frozen=True):
    """What a run holds on one node, as far as Slurm said."""

    host: Annotated[str, Meta(description="Slurm's NodeName.")]
    cores: Annotated[tuple[tuple[int, int], ...], Meta(description="(socket, core in the socket).")] = ()
    cpus: Annotated[int | None, Meta(description="CPUs, as Slurm counts them.")] = None
    memory_mib: Annotated[int | None, Meta(description="MiB.")] = None
    gres: Annotated[tuple[Device, ...], Meta(description="GPUs and the like.")] = ()
    sockets: Annotated[
        tuple[int, int] | None, Meta(description="(sockets, cores of each) of the node, as Slurm counts.")
    ] = None
    devices: Annotated[
        tuple[Device, ...] | None, Meta(description="All that the node has of the kinds in gres.")
    ] = None


class Run(msgspec.Struct, omit_defaults=True, frozen=True, kw_only=True):
    """All that is known of a run. Times are epoch seconds."""

    cluster: Annotated[str, Meta(description="Name of the cluster; with job_id and start_at the identity.")]
    job_id: Annotated[int, Meta(description="Raw job id; an array's task has its own.")]
    start_at: Annotated[int, Meta(description="When it started; a requeued job starts again.")]
    state: Annotated[JobState, Meta(description="Slurm's base state.")]
    user: str = ""
    account: str = ""
    partition: str = ""
    qos: str = ""
    name: str = ""
    submit_at: int | None = None
    end_at: Annotated[int | None, Meta(description="Only in a stop.")] = None
    time_limit_s: Annotated[int | None, Meta(description="Left out: unlimited or unknown.")] = None
    num_nodes: int = 0
    num_cpus: int = 0
    nodes: Annotated[tuple[str, ...], Meta(description="Host names, in allocation order.")] = ()
    tres: Annotated[dict[str, int], Meta(description="Allocated TRES; memory in MiB.")] = {}
    allocation: Annotated[tuple[Node, ...] | None, Meta(description="Left out: Slurm forgot it.")] = None
    sharing: Annotated[Sharing | None, Meta(description="Who else may be on its nodes.")] = None
    threads_per_core: int | None = None
    array_job_id: int | None = None
    array_task_id: int | None = None
    het_job_id: int | None = None
    het_offset: int | None = None
    restarts: int | None = None
    exit_code: Annotated[str, Meta(description="code:signal; only in a stop.")] = ""
    reservation: str = ""
    wckey: str = ""
    comment: str = ""
    work_dir: str = ""
    features: str = ""
    licenses: str = ""
    submit_line: str = ""
    sluid: Annotated[str, Meta(description="Slurm's own unique id, from 24.11 on.")] = ""
    script: Annotated[str | None, Meta(description="Batch script, perhaps cut; only in a start.")] = None


class JobEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A run has begun, or is over. A stop repeats what was known at the start, so it can stand alone."""

    version: Annotated[Literal[1], Meta(description="Of this form.")]
    kind: Literal["start", "stop"]
    run: Run


class NodesEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What the nodes of a cluster do now."""

    version: Annotated[Literal[1], Meta(description="Of this form.")]
    kind: Literal["nodes"]
    cluster: str
    at: Annotated[int, Meta(description="Epoch seconds.")]
    nodes: tuple[NodeState, ...]


_decoder = msgspec.json.Decoder(JobEvent)


class BadEvent(ValueError):
    """The bytes are not an event of a supported version."""


def schema() -> dict[str, Any]:
    """Return the JSON schema of both events."""
    (first, second), parts = msgspec.json.schema_components(
        (JobEvent, NodesEvent), ref_template="#/$defs/{name}"
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Events of slurmsyncd, version 1",
        "anyOf": [first, second],
        "$defs": parts,
    }


def job_event(step: EventKind, start: Job, stop: Job | None, cluster: str, script_limit: int) -> bytes:
    """
    Return the JSON of the start or stop event of a run.

    Args:
        step: Kind of the event.
        start: The run as delivered with its start.
        stop: The run as it ended; only for a stop.
        cluster: The backend cluster name.
        script_limit: Bytes of batch script; 0 leaves it out.
    """
    job = start if step is EventKind.START or stop is None else with_end(start, stop)
    key = replace(start.key, cluster=cluster)
    script = clean(job.script or "", script_limit) if step is EventKind.START else ""
    return msgspec.json.encode(
        JobEvent(version=1, kind=step.value, run=_run(replace(job, key=key, script=script or None)))
    )


def nodes_event(cluster: str, nodes: tuple[NodeState, ...], at: int) -> bytes:
    """Return the JSON event with the node states of a cluster."""
    named = tuple(replace(node, host=clean(node.host, _TEXT)) for node in nodes)
    return msgspec.json.encode(NodesEvent(version=1, kind="nodes", cluster=cluster, at=at, nodes=named))


def read_event(body: bytes) -> Event:
    """
    Parse the payload of a message into an event. Unknown fields are ignored.

    Raises:
        BadEvent: The payload is not an event, or has another version.
    """
    try:
        event = decode_json(body, _decoder)
    except MalformedJson as err:
        raise BadEvent(str(err)) from err
    job = _job(event.run)
    key = job.key
    if not (TOKEN.fullmatch(key.cluster) and 0 < key.job_id < _BEYOND and 0 < key.start_at < _BEYOND):
        raise BadEvent("no identity of a run")
    if event.kind == "start":
        return RunStarted(job, Trigger.POLL)
    if job.end_at is None or not job.state.is_final:
        raise BadEvent("a stop without an end")
    return RunEnded(job, Trigger.POLL)


def headers(kind: str, cluster: str, at: int, event_id: str) -> dict[str, str]:
    """
    Return the CloudEvents attributes as headers, in the binary content mode of NATS.

    Args:
        kind: Kind of the event.
        cluster: Cluster of the event.
        at: Time of the event in seconds since the epoch.
        event_id: Identity of the event, the same each time that it is sent.
    """
    return {
        "ce-specversion": "1.0",
        "ce-type": kind,
        "ce-source": f"/slurm/{cluster}",
        "ce-id": event_id,
        "ce-time": _rfc3339(at),
        "ce-dataschema": "urn:slurmsyncd:event:1",
        "content-type": "application/json",
    }


def _rfc3339(at: int) -> str:
    try:
        return datetime.fromtimestamp(at, tz=timezone.utc).isoformat().replace("+00:00", "Z")
    except (OverflowError, OSError, ValueError):
        return "1970-01-01T00:00:00Z"


def _run(job: Job) -> Run:
    plain = {spec.name: _tidy(getattr(job, spec.name)) for spec in fields(Job) if spec.name not in _FORMED}
    allocation = None if job.allocation is None else tuple(map(_node, job.allocation))
    return Run(
        cluster=job.key.cluster,
        job_id=job.key.job_id,
        start_at=job.key.start_at,
        tres={_tidy(name): count for name, count in job.tres},
        nodes=tuple(map(_tidy, job.nodes)),
        allocation=allocation,
        **plain,
    )


_FORMED = frozenset({"key", "tres", "nodes", "allocation"})


def _tidy(value: Any) -> Any:
    # Script and comment may contain anything, including invalid Unicode.
    return clean(value, 1 << 30) if type(value) is str else value


def _node(node: NodeAllocation) -> Node:
    devices = None if node.devices is None else _devices(node.devices)
    return Node(
        _tidy(node.host), node.cores, node.cpus, node.memory_mib, _devices(node.gres), node.sockets, devices
    )


def _devices(gres: Iterable[Gres]) -> tuple[Device, ...]:
    return tuple(Device(_tidy(each.name), each.count, _tidy(each.type or ""), each.indexes) for each in gres)


def _job(run: Run) -> Job:
    plain = {spec.name: getattr(run, spec.name) for spec in fields(Job) if spec.name not in _FORMED}
    return Job(
        key=RunKey(run.cluster, run.job_id, run.start_at),
        tres=tuple(run.tres.items()),
        nodes=run.nodes,
        allocation=None if run.allocation is None else tuple(map(_allocation, run.allocation)),
        **plain,
    )


def _allocation(node: Node) -> NodeAllocation:
    devices = None if node.devices is None else _gres(node.devices)
    return NodeAllocation(
        node.host, node.cores, node.cpus, node.memory_mib, _gres(node.gres), node.sockets, devices
    )


def _gres(devices: Iterable[Device]) -> tuple[Gres, ...]:
    return tuple(Gres(each.name, each.type or None, each.count, each.indexes) for each in devices)
