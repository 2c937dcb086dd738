"""Nodes: what is in use of them, and the records and texts that show it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurmsyncd.sandbox.slurm import formatting as words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from slurmsyncd.sandbox.slurm.records import HeldResources, NodeRow
    from slurmsyncd.sandbox.slurm.release_format import ReleaseFormat
    from slurmsyncd.sandbox.slurm.state import State


class NodeUsage:
    """
    One node and what the running jobs hold of it.

    Attributes:
        cpus: Allocated, in Slurm's sense.
        gpus: Device indexes in use, ascending.
    """

    def __init__(self, node: NodeRow, held: Iterable[HeldResources]) -> None:
        self.node = node
        mine = list(held)
        self.cpus = sum(map(words.cpus, mine))
        self.memory_mib = sum(one["memory_mib"] for one in mine)
        self.gpus = sorted(index for one in mine for index in one["gpus"])
        self.total = node["sockets"] * node["cores"] * node["threads"]

    @property
    def state(self) -> str:
        """Slurm's word."""
        if self.node["down"]:
            return "DOWN"
        return "IDLE" if not self.cpus else "ALLOCATED" if self.cpus == self.total else "MIXED"


def loads(state: State, names: Iterable[str] = ()) -> list[NodeUsage]:
    """Return all nodes, or those named, with what is in use."""
    held: dict[str, list[HeldResources]] = {}
    for run in state.runs("WHERE in_memory = 1 AND start_at > 0 AND end_at = 0"):
        for one in run["alloc"]:
            held.setdefault(one["node"], []).append(one)
    wanted = set(names)
    return [
        NodeUsage(node, held.get(node["name"], ()))
        for node in state.nodes()
        if not wanted or node["name"] in wanted
    ]


def _gres(load: NodeUsage, indexes: list[int] | None = None) -> str:
    node = load.node
    if not node["gpus"]:
        return ""
    kind = "gpu" + ":" * bool(node["gpu_type"]) + node["gpu_type"]
    if indexes is None:
        return f"{kind}:{node['gpus']}"
    return f"{kind}:{len(indexes)}(IDX:{words.ranges(indexes) or 'N/A'})"


def _tres(cpus: int, memory: str, gpus: int, gpu_type: str, billing: str = "") -> str:
    kind = f",gres/gpu={gpus}" + (f",gres/gpu:{gpu_type}={gpus}" if gpu_type else "") if gpus else ""
    return f"cpu={cpus},mem={memory}{billing}{kind}" if cpus else ""


def record(load: NodeUsage, shape: ReleaseFormat) -> dict[str, Any]:
    """Return the record of a node: ``scontrol show nodes --json``, in 22.05 ``sinfo --json``."""
    node = load.node
    idle = load.total - load.cpus
    names = node["features"].split(",")
    fields: dict[str, Any] = {
        "name": node["name"],
        "hostname": node["name"],
        "cores": node["cores"],
        "sockets": node["sockets"],
        "threads": node["threads"],
        "cpus": load.total,
        "real_memory": node["memory_mib"],
        "alloc_memory": load.memory_mib,
        "alloc_cpus": load.cpus,
        "alloc_idle_cpus" if shape.modern else "idle_cpus": idle,
        "features": names if shape.modern else node["features"],
        "active_features": names if shape.modern else node["features"],
        "gres": _gres(load),
        "gres_used": _gres(load, load.gpus),
        "reason": node["down"],
        "state": [load.state] if shape.modern else load.state.lower(),
        "tres": _tres(
            load.total,
            f"{node['memory_mib'] / 1024:.2f}G",
            node["gpus"],
            node["gpu_type"],
            f",billing={load.total}",
        ),
        "tres_used": _tres(load.cpus, f"{load.memory_mib}M", len(load.gpus), node["gpu_type"]),
    }
    if shape.modern:
        fields |= {"effective_cpus": load.total, "version": shape.version, "reservation": ""}
    else:
        fields |= {"state_flags": [], "slurmd_version": shape.version}
    if "tres_weighted" in shape.records["node"]:
        fields["tres_weighted"] = float(load.cpus)
    template: dict[str, Any] = shape.records["node"]
    return template | fields


def alike(found: list[NodeUsage]) -> list[list[NodeUsage]]:
    """Group nodes that sinfo shows in one record."""
    groups: dict[tuple[object, ...], list[NodeUsage]] = {}
    for load in found:
        node = load.node
        key = (load.state, load.total, node["memory_mib"], _gres(load), node["features"], node["down"])
        groups.setdefault(key, []).append(load)
    return list(groups.values())


def names(some: list[NodeUsage]) -> str:
    """Write the host list of a group."""
    return words.hostlist([load.node["name"] for load in some])


def group(some: list[NodeUsage], shape: ReleaseFormat) -> dict[str, Any]:
    """Return the record of a group: ``sinfo --json`` from 24.11 on."""
    template: dict[str, Any] = shape.records["group"]
    first, node = some[0], some[0].node
    used, total = sum(load.cpus for load in some), sum(load.total for load in some)
    busy = sum(bool(load.cpus) for load in some)

    def both(value: int) -> dict[str, int]:
        return {"minimum": value, "maximum": value}

    nodes = {"allocated": busy, "idle": len(some) - busy, "total": len(some)}
    return template | {
        "node": {"state": [first.state]},
        "nodes": template["nodes"] | nodes | {"nodes": [load.node["name"] for load in some]},
        "cpus": template["cpus"]
        | {"allocated": used, "idle": total - used, "total": total}
        | both(first.total),
        "sockets": both(node["sockets"]),
        "cores": both(node["cores"]),
        "threads": both(node["threads"]),
        "memory": template["memory"] | both(node["memory_mib"]) | {"allocated": first.memory_mib},
        "features": {"total": node["features"], "active": node["features"]},
        "gres": {"total": _gres(first), "used": _gres(first, first.gpus)},
        "reason": template["reason"] | {"description": node["down"]},
        "reservation": "",
    }


def text(load: NodeUsage, shape: ReleaseFormat, instant: Callable[[float], str]) -> str:
    """Return the lines of ``scontrol show node``."""
    node, made = load.node, record(load, shape)
    booted = made["boot_time"]["number"] if shape.modern else made["boot_time"]
    return (
        f"NodeName={node['name']} Arch=x86_64 CoresPerSocket={node['cores']} \n"
        f"   CPUAlloc={load.cpus} CPUEfctv={load.total} CPUTot={load.total} CPULoad=0.10\n"
        f"   AvailableFeatures={node['features']}\n   ActiveFeatures={node['features']}\n"
        f"   Gres={made['gres'] or '(null)'}\n   GresUsed={made['gres_used'] or '(null)'}\n"
        f"   NodeAddr={node['name']} NodeHostName={node['name']} Version={shape.version}\n"
        f"   RealMemory={node['memory_mib']} AllocMem={load.memory_mib} FreeMem={node['memory_mib']} "
        f"Sockets={node['sockets']} Boards=1\n"
        f"   State={load.state} ThreadsPerCore={node['threads']} TmpDisk=0 Weight=1 Owner=N/A MCS_label=N/A\n"
        f"   Partitions=batch \n   BootTime={instant(booted)}\n"
        f"   CfgTRES={made['tres']}\n   AllocTRES={made['tres_used']}\n\n"
    )
