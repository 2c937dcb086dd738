"""
Bodies of requests to the backend. Pure.

Only keys of the contract are sent, since the backend rejects unknown keys. This module also checks what the
backend should check but does not: an id or a start of 0, a duplicate host, totals that differ.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Union

import msgspec

from slurmsyncd.model import JobState, Sharing
from slurmsyncd.sinks.dialect import V1_5, Dialect
from slurmsyncd.sinks.metadata import meta_data, slurm_info, with_end
from slurmsyncd.sinks.resources import Note, backend_host_name, hosts_of, resources_of
from slurmsyncd.sinks.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from slurmsyncd.config import ClusterConfig
    from slurmsyncd.model import Job, NodeState, RunKey
    from slurmsyncd.sinks.topology import Topology

_INT64 = 2**63 - 1
_INT32 = 2**31 - 1
_NAME = 255  # bytes of a user, account, partition or cluster name
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyOptions:
    """
    Options for building bodies.

    Attributes:
        script_limit: Maximum size of the batch script in bytes.
        without_long_texts: Omit script and texts, because the backend rejected the body as too large.
    """

    dialect: Dialect = V1_5
    script_limit: int = 65536
    without_long_texts: bool = False


@dataclass(frozen=True, slots=True)
class RequestBody:
    """The JSON of a request, with notes for the operator about omitted parts."""

    content: bytes
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class NotRepresentable:
    """The reason why the backend cannot represent a run."""

    reason: str
    detail: str


def backend_cluster_name(name: str, config: ClusterConfig) -> str:
    """Return the backend cluster name of the Slurm cluster ``name``."""
    return config.backend_name or name


def start_body(
    job: Job, config: ClusterConfig, topology: Topology, options: BodyOptions, ended: Job | None = None
) -> Union[RequestBody, NotRepresentable]:
    """
    Build the body of ``start_job``.

    A stop cannot carry metadata. A start whose end is known carries the summary of the end. A later request
    may be unable to write the summary: there is no edit by NATS, and none before cc-backend 1.5.

    Args:
        job: The run at its start.
        config: Section of the run's cluster.
        topology: Topology of the backend; an empty one means that nothing is known.
        options: Dialect and limits.
        ended: The run as it ended; None while its end is not known.

    Source:
        Contract sections 3 and 5.
    """
    refusal = _problem(job, config)
    if refusal is not None:
        return refusal
    cluster = backend_cluster_name(job.key.cluster, config)
    held = resources_of(job, config, topology.clusters.get(cluster, ()))
    notes = list(held.notes)
    if job.sharing is None:
        # An exclusive run reported as shared is shown with foreign load; the reverse does less harm.
        notes.append(Note("sharing_unknown", "sent as none"))
    fields: dict[str, Any] = {
        "jobId": job.key.job_id,
        "user": one_line(job.user, _NAME),
        "cluster": cluster,
        "partition": one_line(job.partition, _NAME),
        "project": one_line(job.account, _NAME),
        "numNodes": len(held.nodes),
        "numHwthreads": min(held.num_hwthreads, _INT32),
        "numAcc": held.num_acc,
        options.dialect.sharing_field: options.dialect.sharing[job.sharing or Sharing.NONE],
        "walltime": min(max(job.time_limit_s or 0, 0), _INT64),
        "smt": held.smt,
        "resources": held.nodes,
        "metaData": meta_data(
            job, held.missing, script_limit=options.script_limit, slim=options.without_long_texts, ended=ended
        ),
        "startTime": job.key.start_at,
    }
    if job.array_job_id is not None and 0 < job.array_job_id <= _INT64:
        fields["arrayJobId"] = job.array_job_id
    return RequestBody(msgspec.json.encode(fields), tuple(notes))


def _problem(job: Job, config: ClusterConfig) -> NotRepresentable | None:
    names = [backend_host_name(host, config) for host in hosts_of(job)]
    odd = [name for name in names if _HOST.fullmatch(name) is None]
    refusal = _bad_key(job, config)
    if refusal is not None:
        return refusal
    if not one_line(job.user, _NAME):
        return NotRepresentable("no_user", "the backend wants a user")
    if not names:
        return NotRepresentable("no_nodes", "neither the controller nor accounting named a node")
    if odd:
        return NotRepresentable("bad_host", f"not a host name: {odd[0][:80]!r}")
    if len(set(names)) != len(names):
        return NotRepresentable("host_twice", "two nodes have the same name without their domain")
    return None


def _bad_key(job: Job, config: ClusterConfig) -> NotRepresentable | None:
    if not 0 < job.key.job_id <= _INT64:
        return NotRepresentable("bad_job_id", str(job.key.job_id)[:80])
    if not 0 < job.key.start_at <= _INT64:
        return NotRepresentable("bad_start", str(job.key.start_at)[:80])
    cluster = backend_cluster_name(job.key.cluster, config)
    if not cluster or one_line(cluster, _NAME) != cluster:
        return NotRepresentable("bad_cluster", repr(cluster[:80]))
    return None


def backend_stop_state(stop: Job, dialect: Dialect) -> str | None:
    """Return the backend's state of an ended run; None if the run has not ended in a known state."""
    return dialect.states.get(stop.state)


def stop_body(
    start: Job, stop: Job, config: ClusterConfig, options: BodyOptions
) -> Union[RequestBody, NotRepresentable]:
    """
    Build the body of ``stop_job``.

    Args:
        start: The run as delivered with its start; the backend finds the run by this key.
        stop: The run as it ended.
        config: Section of the run's cluster.
        options: Dialect.

    Source:
        Contract section 5.
    """
    refusal = _bad_key(start, config)
    if refusal is not None:
        return refusal
    state = backend_stop_state(stop, options.dialect)
    if state is None:
        return NotRepresentable("not_over", stop.state.value)
    if stop.end_at is None:
        return NotRepresentable("no_end", "the run is over but has no end time")
    duration = stop.end_at - start.key.start_at
    if duration > _INT32 or stop.end_at > _INT64:
        return NotRepresentable("bad_end", str(stop.end_at)[:80])
    fields = {
        "jobId": start.key.job_id,
        "cluster": backend_cluster_name(start.key.cluster, config),
        "startTime": start.key.start_at,
        "stopTime": start.key.start_at + max(duration, 0),
        "jobState": state,
    }
    notes = []
    if duration < 0:
        notes.append(Note("end_before_start", f"by {-duration} s; sent as equal"))
    if stop.state is JobState.UNKNOWN:
        notes.append(Note("end_state_unknown", f"sent as {state}; upgrade slurmsyncd for this Slurm"))
    return RequestBody(msgspec.json.encode(fields), tuple(notes))


def end_body(start: Job, stop: Job, config: ClusterConfig) -> RequestBody:
    """
    Build the body of ``edit_meta`` that writes the end of a run into its ``slurmInfo``.

    Args:
        start: The run as delivered with its start; the backend finds the run by this key.
        stop: The run as it ended.
        config: Section of the run's cluster.

    Source:
        Contract sections 8 and 17: one key per request, whose value is a string.
    """
    return edit_body(start.key, "slurmInfo", slurm_info(with_end(start, stop)), config)


def edit_body(key: RunKey, name: str, value: str, config: ClusterConfig) -> RequestBody:
    """Build the body of ``edit_meta`` that sets one value of a run's metadata."""
    which = {
        "jobId": key.job_id,
        "cluster": backend_cluster_name(key.cluster, config),
        "startTime": key.start_at,
    }
    return RequestBody(msgspec.json.encode({**which, "payload": {"key": name, "value": value}}))


_NODE_WORDS = frozenset({"allocated", "reserved", "idle", "down", "mixed", "unknown"})


def nodes_body(cluster: str, nodes: Iterable[NodeState], config: ClusterConfig) -> RequestBody:
    """
    Build the body of the node state report. Each node has exactly one of the backend's six states.

    Source:
        Contract section 10.
    """
    return RequestBody(
        msgspec.json.encode(
            {
                "cluster": backend_cluster_name(cluster, config),
                "nodes": [
                    {
                        "hostname": one_line(backend_host_name(node.host, config), _NAME),
                        "states": [node.state if node.state in _NODE_WORDS else "unknown"],
                        "cpusAllocated": _count(node.cpus),
                        "memoryAllocated": _count(node.memory_mib),
                        "gpusAllocated": _count(node.gpus),
                        "jobsRunning": _count(node.jobs),
                    }
                    for node in nodes
                ],
            }
        )
    )


def _count(number: int) -> int:
    return min(max(number, 0), _INT32)
