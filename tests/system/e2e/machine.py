"""The lab's nodes as an administrator would describe them in cluster.json. Pure."""

from __future__ import annotations

from typing import Any

SOCKETS, CORES, THREADS = 2, 8, 2  # of each node; as in the lab's slurm.conf

#: Sub-cluster → its nodes, and its accelerators by Slurm's index. Neither is in any order that could be guessed.
ACCELERATORS = {
    "odd": ("n[1-2]", ("00000000:C1:00.0", "00000000:01:00.0", "00000000:81:00.0", "00000000:41:00.0")),
    "even": ("n[3-4]", ("00000001:1B:00.0", "00000000:E3:00.0", "00000000:1B:00.0", "00000001:E3:00.0")),
}
_SUB_CLUSTER = {"n1": "odd", "n2": "odd", "n3": "even", "n4": "even"}


def hwthreads(host: str, core: int) -> list[int]:
    """
    Return the operating system's ids of a core's two threads.

    One kind of node numbers from socket to socket in turn, siblings last; the other backwards, siblings together.
    """
    socket, index = divmod(core, CORES)
    if _SUB_CLUSTER[host] == "odd":
        first = index * SOCKETS + socket
        return [first, first + SOCKETS * CORES]
    last = SOCKETS * CORES * THREADS - 1 - THREADS * core
    return [last - 1, last]


def accelerator(host: str, index: int) -> str:
    """Return the id of a device by Slurm's index."""
    return ACCELERATORS[_SUB_CLUSTER[host]][1][index]


def sub_cluster(host: str) -> str:
    """Return the sub-cluster of a host."""
    return _SUB_CLUSTER[host]


def machine(cluster: str) -> dict[str, Any]:
    """Return cluster.json."""
    return {"name": cluster, "metricConfig": [], "subClusters": [_part(name) for name in ACCELERATORS]}


def _part(name: str) -> dict[str, Any]:
    nodes, devices = ACCELERATORS[name]
    host = next(host for host, part in _SUB_CLUSTER.items() if part == name)
    cores = [hwthreads(host, core) for core in range(SOCKETS * CORES)]
    packages = [
        sorted(thread for core in cores[at : at + CORES] for thread in core)
        for at in range(0, len(cores), CORES)
    ]
    return {
        "name": name,
        "nodes": nodes,
        "processorType": "of the tests",
        "socketsPerNode": SOCKETS,
        "coresPerSocket": CORES,
        "threadsPerCore": THREADS,
        "topology": {
            "node": list(range(SOCKETS * CORES * THREADS)),
            "socket": packages,
            "memoryDomain": packages,
            "core": cores,
            "accelerators": [{"id": id_, "type": "Nvidia GPU", "model": "A100"} for id_ in devices],
        },
    }
