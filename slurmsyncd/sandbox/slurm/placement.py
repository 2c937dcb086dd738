"""Which cores and GPUs a job gets: the bookkeeping of the nodes. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurmsyncd.sandbox.slurm import formatting as words

if TYPE_CHECKING:
    from collections.abc import Iterable

    from slurmsyncd.sandbox.slurm.records import HeldResources, JobRequest, NodeRow

MIB_PER_CPU = 1000


class _Free:
    """What is left of one node. ``users`` has the name of each holder, ``only`` whom it is kept for."""

    def __init__(self, node: NodeRow) -> None:
        self.node = node
        self.cores = {(s, c) for s in range(node["sockets"]) for c in range(node["cores"])}
        self.gpus = set(range(node["gpus"]))
        self.memory_mib = node["memory_mib"]
        self.users: list[str] = []
        self.only = ""

    def offer(self, request: JobRequest, count: int) -> HeldResources | None:
        """Return what a job would get here, None if it does not fit."""
        node, whole = self.node, request["exclusive"] == "node"
        if node["down"] or (self.only and self.only != request["user"]):
            return None
        if whole and self.users:
            return None
        if request["exclusive"] == "user" and set(self.users) - {request["user"]}:
            return None
        if request["gpu_type"] and request["gpu_type"] != node["gpu_type"]:
            return None
        cores = sorted(self.cores) if whole else sorted(self.cores)[:count]
        gpus = sorted(self.gpus) if whole else sorted(self.gpus)[: request["gpus"]]
        memory = MIB_PER_CPU * len(cores) * node["threads"]
        if len(cores) < count or len(gpus) < request["gpus"] or memory > self.memory_mib:
            return None
        return {
            "node": node["name"],
            "sockets": node["sockets"],
            "cores_per_socket": node["cores"],
            "threads": node["threads"],
            "cores": [list(core) for core in cores],
            "gpus": gpus,
            "gpu_type": node["gpu_type"],
            "memory_mib": memory,
        }


class NodePool:
    """What is free of every node."""

    def __init__(self, nodes: Iterable[NodeRow]) -> None:
        self._free = {node["name"]: _Free(node) for node in nodes}

    def place(self, request: JobRequest) -> list[HeldResources] | None:
        """Choose nodes, cores and GPUs, first fit, and book them; None if they are not free."""
        found: list[HeldResources] = []
        for free in self._free.values():
            held = free.offer(request, request["cores"] + (0 if found else request["more"]))
            if held is not None:
                found.append(held)
            if len(found) == request["nodes"]:
                self.take(found, request)
                return found
        return None

    def take(self, alloc: Iterable[HeldResources], request: JobRequest) -> None:
        """
        Book an allocation.

        Raises:
            ValueError: Something of it is not free.
        """
        for held in alloc:
            free = self._free[held["node"]]
            cores = {(socket, core) for socket, core in held["cores"]}
            if not (cores <= free.cores and set(held["gpus"]) <= free.gpus):
                raise ValueError(f"{held['node']}: {words.cpus(held)} CPUs are not all free")
            free.cores -= cores
            free.gpus -= set(held["gpus"])
            free.memory_mib -= held["memory_mib"]
            free.users.append(request["user"])
            if request["exclusive"]:
                free.only = request["user"]

    def take_down(self, node: str, reason: str) -> None:
        """Offer nothing of a node any more; without a reason again."""
        self._free[node].node["down"] = reason

    def release(self, alloc: Iterable[HeldResources], request: JobRequest) -> None:
        """Return an allocation back."""
        for held in alloc:
            free = self._free[held["node"]]
            free.cores |= {(socket, core) for socket, core in held["cores"]}
            free.gpus |= set(held["gpus"])
            free.memory_mib += held["memory_mib"]
            free.users.remove(request["user"])
            if not free.users:
                free.only = ""
