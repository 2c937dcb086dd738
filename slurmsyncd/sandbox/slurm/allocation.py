"""``job_resources`` and ``gres_detail`` as each release prints them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurmsyncd.sandbox.slurm import formatting as words
from slurmsyncd.sandbox.slurm import visibility as views

if TYPE_CHECKING:
    from typing import Any

    from slurmsyncd.sandbox.slurm.records import HeldResources, RunRow
    from slurmsyncd.sandbox.slurm.release_format import ReleaseFormat


def gres_detail(run: RunRow) -> list[str]:
    """Return GPUs per node, in the order of the nodes; empty if there are none or the run has ended."""
    texts = [words.gres(held) for held in run["alloc"]] if views.holds(run) else []
    return texts if any(texts) else []


def job_resources(run: RunRow, shape: ReleaseFormat) -> Any:
    """Return cores and memory per node; they stay until slurmctld forgets the job."""
    return _modern(run, shape) if shape.modern else _plain(run)


def _plain(run: RunRow) -> dict[str, Any]:
    """22.05: the allocated cores only, indexes as keys; ``allocated_cores`` is not what it says."""
    return {
        "nodes": words.nodes(run["alloc"]),
        "allocated_cores": words.requested_tres(run)["cpu"],
        "allocated_hosts": len(run["alloc"]),
        "allocated_nodes": [
            {
                "sockets": _sockets(held),
                "nodename": held["node"],
                "cpus_used": _in_use(run, words.cpus(held)),
                "memory_used": _in_use(run, held["memory_mib"]),
                "memory_allocated": held["memory_mib"],
            }
            for held in run["alloc"]
        ],
    }


def _sockets(held: HeldResources) -> dict[str, Any]:
    sockets: dict[str, Any] = {}
    for socket, core in held["cores"]:
        sockets.setdefault(str(socket), {"cores": {}})["cores"][str(core)] = "allocated"
    return sockets


def _modern(run: RunRow, shape: ReleaseFormat) -> dict[str, Any]:
    """24.11 on: every core of every allocated node, allocated or not."""
    return {
        "select_type": ["CORE" if shape.layout == "24.11" else "CR_CORE_MEMORY"],
        "nodes": {
            "count": len(run["alloc"]),
            "select_type": ["ONE_ROW"],
            "list": words.nodes(run["alloc"]),
            "whole": run["request"]["exclusive"] == "node",
            "allocation": [_node(index, held, run) for index, held in enumerate(run["alloc"])],
        },
        "cpus": words.requested_tres(run)["cpu"],
        "threads_per_core": shape.number(None),
    }


def _node(index: int, held: HeldResources, run: RunRow) -> dict[str, Any]:
    mine = {(socket, core) for socket, core in held["cores"]}
    return {
        "index": index,
        "name": held["node"],
        "cpus": {"count": words.cpus(held), "used": _in_use(run, words.cpus(held))},
        "memory": {"used": _in_use(run, held["memory_mib"]), "allocated": held["memory_mib"]},
        "sockets": [
            {
                "index": socket,
                "cores": [
                    {"index": core, "status": ["ALLOCATED" if (socket, core) in mine else "UNALLOCATED"]}
                    for core in range(held["cores_per_socket"])
                ],
            }
            for socket in range(held["sockets"])
        ],
    }


def _in_use(run: RunRow, amount: int) -> int:
    return amount if views.holds(run) else 0
