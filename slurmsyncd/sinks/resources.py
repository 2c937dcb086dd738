"""
The allocation of a run in the backend's terms: host names, hardware threads, accelerator ids. Pure.

Nothing is guessed. Unknown parts are omitted, and a note reports them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from slurmsyncd.model import Gres, NodeAllocation, Sharing
from slurmsyncd.sinks.topology import (
    NotKnown,
    SubCluster,
    accelerator_ids,
    core_numbers,
    find_sub_cluster,
    hwthreads_of,
    look_up_ids,
    look_up_threads,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from slurmsyncd.config import ClusterConfig
    from slurmsyncd.model import Job

T = TypeVar("T")

# Slices of a GPU: "1g.5gb", "a100_3g.39gb", "a100-3g-20gb", "1g5gb", "a100_mig". Their indexes count slices.
_SLICE = re.compile(r"\d+g[._-]?\d+gb|(?:^|[._-])mig(?:$|[._-])", re.ASCII | re.IGNORECASE)
# Parts of a GPU by other names; they have the indexes of the GPUs.
_SHARES = frozenset({"shard", "mps"})


class Note(NamedTuple):
    """A note for the operator: a short constant for its kind, and the details of this case."""

    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class Resources:
    """
    The resources of a run.

    Attributes:
        nodes: Elements of ``resources[]``, in allocation order.
        num_hwthreads: Total; 0 if not known.
        num_acc: Total of the allocated accelerators, with or without an id.
        smt: 1 if the run uses more than one thread of a core.
        missing: Omitted parts, for ``metaData.resourcesIncomplete``.
    """

    nodes: tuple[dict[str, Any], ...]
    num_hwthreads: int
    num_acc: int
    smt: int
    missing: frozenset[str] = frozenset()
    notes: tuple[Note, ...] = ()


@dataclass(slots=True)
class _Tally:
    """The notes and totals collected from the nodes of a run."""

    missing: set[str] = field(default_factory=set)
    notes: dict[str, Note] = field(default_factory=dict)

    def note(self, kind: str, detail: str, missing: str = "") -> None:
        self.notes.setdefault(kind, Note(kind, detail))
        if missing:
            self.missing.add(missing)


def backend_host_name(host: str, config: ClusterConfig) -> str:
    """Return the backend's name of a host."""
    return host.partition(".")[0] if config.strip_domain else host


def hosts_of(job: Job) -> tuple[str, ...]:
    """Return the Slurm names of a run's hosts, in allocation order, without duplicates."""
    named = job.nodes or tuple(node.host for node in job.allocation or ())
    return tuple(dict.fromkeys(named))


def is_ignored_run(job: Job, config: ClusterConfig) -> bool:
    """Return whether all hosts of a run are excluded from reports."""
    hosts = hosts_of(job)
    return bool(hosts) and all(is_ignored_host(host, config) for host in hosts)


def is_ignored_host(host: str, config: ClusterConfig) -> bool:
    """Return whether a host is excluded from reports."""
    return any(_fits(host, glob) for glob in config.ignore_hosts)


def has_mapping(table: Mapping[str, T], host: str) -> bool:
    """Return whether the configuration maps a host's cores or GPUs, overriding the backend's topology."""
    return any(_fits(host, glob) for glob in table)


def _fits(host: str, glob: str) -> bool:
    return fnmatchcase(host, glob) or fnmatchcase(host.partition(".")[0], glob)


def _by_host(table: Mapping[str, T], host: str) -> T | None:
    return next((value for glob, value in table.items() if _fits(host, glob)), None)


def resources_of(job: Job, config: ClusterConfig, clusters: Sequence[SubCluster]) -> Resources:
    """
    Return the resources of a run.

    Args:
        job: The run at its start.
        config: Section of the run's cluster; its mappings override the backend's topology.
        clusters: The backend's sub-clusters of this cluster.
    """
    tally = _Tally()
    held = {node.host: node for node in job.allocation or ()}
    if job.allocation is None:
        tally.note("allocation_unknown", "Slurm no longer knows it")
    nodes = tuple(_node(host, held.get(host), config, clusters, tally) for host in hosts_of(job))
    _judge_cores(job, nodes, tally)
    listed = sum(len(node.get("accelerators", ())) for node in nodes)
    num_acc = max(listed, _gpus_held(job, config))
    if num_acc > listed:
        # The number alone makes the backend's GPU hours correct. A wrong id would show another run's load.
        tally.note("gpus_incomplete", f"{listed} of {num_acc}", "accelerators")
    return Resources(
        nodes=nodes,
        num_hwthreads=_num_hwthreads(job, nodes, tally),
        num_acc=num_acc,
        smt=_smt(job),
        missing=frozenset(tally.missing),
        notes=tuple(tally.notes.values()),
    )


def _node(
    host: str,
    held: NodeAllocation | None,
    config: ClusterConfig,
    clusters: Sequence[SubCluster],
    tally: _Tally,
) -> dict[str, Any]:
    name = backend_host_name(host, config)
    element: dict[str, Any] = {"hostname": name}
    if held is None:
        return element
    sub = find_sub_cluster(clusters, name)
    if threads := _threads(held, config, sub, tally):
        element["hwthreads"] = threads
    if ids := _accelerators(held, config, sub, tally):
        element["accelerators"] = ids
    return element


def _threads(
    held: NodeAllocation, config: ClusterConfig, sub: SubCluster | NotKnown, tally: _Tally
) -> tuple[int, ...]:
    if not held.cores:
        return ()
    table = _by_host(config.hwthreads, held.host)
    per_socket = None if isinstance(sub, NotKnown) else sub.cores_per_socket
    numbers = core_numbers(held.cores, held.sockets, per_socket)
    if table is None:
        found = hwthreads_of(sub, held.cores, held.sockets)
    elif isinstance(numbers, NotKnown):
        found = numbers
    else:
        found = look_up_threads(numbers, table, "the configured hwthreads")
    if not isinstance(found, NotKnown):
        return found
    # Nothing but the core numbers is known; without SMT they are correct on most nodes.
    usable = table is None and not isinstance(numbers, NotKnown) and _is_silent(sub)
    kind = "hwthreads_are_core_numbers" if usable else "hwthreads_unknown"
    tally.note(kind, f"{held.host}: {found.reason}", "hwthreads")
    return numbers if usable and not isinstance(numbers, NotKnown) else ()


def _is_silent(sub: SubCluster | NotKnown) -> bool:
    """Return whether the backend has no cores of a host, as opposed to cores that contradict Slurm's."""
    return isinstance(sub, NotKnown) or sub.cores is None


def _accelerators(
    held: NodeAllocation, config: ClusterConfig, sub: SubCluster | NotKnown, tally: _Tally
) -> tuple[str, ...]:
    ids: list[str] = []
    table = _by_host(config.gpus, held.host)
    for gres in held.gres:
        if gres.name not in config.accelerator_gres:
            _note_other(gres, held.host, tally)
            continue
        found = _ids(gres, table, sub, held.devices)
        if isinstance(found, NotKnown):
            tally.note("gpus_unknown", f"{held.host}: {found.reason}")
        else:
            ids += found
    return tuple(dict.fromkeys(ids))


def _note_other(gres: Gres, host: str, tally: _Tally) -> None:
    """Note a device that may be an uncounted accelerator, except mere counts such as disk space."""
    if gres.name in _SHARES:
        tally.note("gpu_share_left_out", f"{host}: {gres.name} is a part of a GPU")
    elif gres.indexes:
        detail = f"{host}: {gres.name} is none of accelerator_gres"
        tally.note("gres_not_mapped", detail, "accelerators")


def _ids(
    gres: Gres, table: Sequence[str] | None, sub: SubCluster | NotKnown, devices: Sequence[Gres] | None
) -> tuple[str, ...] | NotKnown:
    if len(gres.indexes) < gres.count:
        return NotKnown("Slurm did not say which")
    if table is not None:
        return look_up_ids(gres.indexes, table, "the configured gpus")
    if gres.type is not None and _SLICE.search(gres.type):
        return NotKnown(f"{gres.type} is a part of a GPU and needs an entry in the configuration")
    same = None if devices is None else tuple(each for each in devices if each.name == gres.name)
    return accelerator_ids(sub, gres.indexes, same)


def _judge_cores(job: Job, nodes: Iterable[Mapping[str, Any]], tally: _Tally) -> None:
    # Without hwthreads the backend assumes the full node, which is correct for an exclusive run.
    if job.sharing is not Sharing.NONE and any("hwthreads" not in node for node in nodes):
        tally.note("cores_unknown", "a run that may share its nodes, without its cores", "hwthreads")


def _gpus_held(job: Job, config: ClusterConfig) -> int:
    """Return the number of accelerators of a run, from any of Slurm's fields."""
    total = typed = 0
    for name, count in job.tres:
        kind, colon, _ = name.partition(":")
        if kind.removeprefix("gres/") in config.accelerator_gres:
            total, typed = (total, typed + count) if colon else (total + count, typed)
    held = (each for node in job.allocation or () for each in node.gres)
    return max(total, typed, sum(each.count for each in held if each.name in config.accelerator_gres))


def _num_hwthreads(job: Job, nodes: Sequence[Mapping[str, Any]], tally: _Tally) -> int:
    listed = sum(len(node.get("hwthreads", ())) for node in nodes)
    all_listed = all("hwthreads" in node for node in nodes)
    if all_listed and "hwthreads" not in tally.missing:
        return listed
    return job.num_cpus if job.num_cpus > 0 else listed


def _smt(job: Job) -> int:
    if job.threads_per_core is not None:
        return int(job.threads_per_core > 1)
    # Slurm counts a thread as a CPU: more CPUs than cores means more than one thread of a core.
    held = job.allocation or ()
    cores = sum(len(node.cores) for node in held)
    complete = bool(held) and all(node.cores for node in held)
    return int(complete and max(job.num_cpus, sum(node.cpus or 0 for node in held)) > cores)
