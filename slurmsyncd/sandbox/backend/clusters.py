"""The clusters that the backend knows: cluster.json read, matched, and generated for demo and tests."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from slurmsyncd.errors import SlurmsyncdError
from slurmsyncd.sandbox.backend.node_list import BadNodeList, NodeList

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

Numbering = Literal["block", "interleaved"]


class BadClusters(SlurmsyncdError):
    """A cluster.json cannot be used; the message says what to change."""


class NoSuchCluster(LookupError):
    """A cluster is not configured."""


class NoSubCluster(LookupError):
    """A sub-cluster is not configured, or no sub-cluster lists the host."""


@dataclass(frozen=True, slots=True)
class _SubCluster:
    name: str
    nodes: NodeList | None  # None: "*"

    def lists(self, host: str) -> bool:
        return self.nodes is not None and host in self.nodes


@dataclass(frozen=True, slots=True)
class Clusters:
    """
    All configured clusters.

    Attributes:
        raw: Name → content of its cluster.json.
    """

    raw: Mapping[str, Mapping[str, Any]]
    _parts: Mapping[str, tuple[_SubCluster, ...]]

    @classmethod
    def parse(cls, contents: Iterable[Mapping[str, Any]]) -> Clusters:
        """
        Take over the contents of cluster.json files.

        Raises:
            BadClusters: One of them is not usable.
        """
        raw: dict[str, Mapping[str, Any]] = {}
        parts: dict[str, tuple[_SubCluster, ...]] = {}
        for content in contents:
            name, subs = _parse(content)
            raw[name], parts[name] = content, subs
        return cls(raw, parts)

    def assign(self, cluster: str, sub_cluster: str, host: str) -> str:
        """
        Return the sub-cluster of a job: as requested, else by its first host.

        Raises:
            NoSuchCluster: The cluster is not configured.
            NoSubCluster: The requested one is not, or no node list holds the host.
        """
        subs = self._subs(cluster)
        if sub_cluster:
            if sub_cluster not in {sub.name for sub in subs}:
                raise NoSubCluster(f"no such subcluster: {sub_cluster}")
            return sub_cluster
        found = self.listed(cluster, host)
        if found:
            return random.choice(found)  # noqa: S311  # as the original: overlapping lists are ambiguous
        if subs[0].nodes is None:
            return subs[0].name
        raise NoSubCluster(f"no subcluster found for cluster {cluster} and host {host}")

    def listed(self, cluster: str, host: str) -> tuple[str, ...]:
        """Return the sub-clusters whose node list names the host; ``*`` does not name a host."""
        return tuple(sub.name for sub in self._parts.get(cluster, ()) if sub.lists(host))

    def check(self, cluster: str) -> None:
        """
        Make sure that a cluster is configured.

        Raises:
            NoSuchCluster: It is not.
        """
        self._subs(cluster)

    def _subs(self, cluster: str) -> tuple[_SubCluster, ...]:
        if cluster not in self._parts:
            raise NoSuchCluster(f"no such cluster: {cluster}")
        return self._parts[cluster]


def read_clusters(path: Path) -> list[Mapping[str, Any]]:
    """
    Read a file that holds one cluster.json, or a list of them.

    Raises:
        BadClusters: It cannot be read, or is no JSON.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise BadClusters(f"{path}: {err}; give a file with a cluster.json or a list of them") from err
    return content if isinstance(content, list) else [content]


def _parse(content: Mapping[str, Any]) -> tuple[str, tuple[_SubCluster, ...]]:
    try:
        name = str(content["name"])
        subs = tuple(_sub_cluster(sub) for sub in content["subClusters"])
    except (KeyError, TypeError, BadNodeList) as err:
        what = f"key {err} is missing" if isinstance(err, KeyError) else str(err)
        raise BadClusters(f"cluster.json: {what}; it needs name and subClusters[].name, .nodes") from err
    if not name or not subs:
        raise BadClusters(f"cluster.json of {name!r}: needs a name and at least one entry in subClusters")
    return name, subs


def _sub_cluster(sub: Mapping[str, Any]) -> _SubCluster:
    nodes = sub["nodes"]
    return _SubCluster(str(sub["name"]), None if nodes == "*" else NodeList.parse(nodes))


def make_sub_cluster(
    name: str,
    nodes: str,
    *,
    sockets: int = 1,
    cores_per_socket: int = 4,
    threads_per_core: int = 1,
    gpus_per_node: int = 0,
    numbering: Numbering = "block",
) -> dict[str, Any]:
    """
    Make an entry of ``subClusters`` with its topology.

    ``nodes`` is a node list such as ``cn[001-100]``. ``numbering`` tells how the operating system numbers
    cores: ``block`` socket by socket, ``interleaved`` from socket to socket in turn; SMT siblings come
    after all first threads either way.
    """
    count = sockets * cores_per_socket

    def thread(socket: int, core: int, sibling: int) -> int:
        place = socket * cores_per_socket + core if numbering == "block" else core * sockets + socket
        return sibling * count + place

    cores = [
        [thread(socket, core, sibling) for sibling in range(threads_per_core)]
        for socket in range(sockets)
        for core in range(cores_per_socket)
    ]
    packages = [
        sorted(id_ for core in cores[first : first + cores_per_socket] for id_ in core)
        for first in range(0, count, cores_per_socket)
    ]
    return {
        "name": name,
        "nodes": nodes,
        "processorType": "Example",
        "socketsPerNode": sockets,
        "coresPerSocket": cores_per_socket,
        "threadsPerCore": threads_per_core,
        "topology": {
            "node": list(range(count * threads_per_core)),
            "socket": packages,
            "memoryDomain": packages,
            "core": cores,
            "accelerators": [
                {"id": pci_address(index), "type": "Nvidia GPU", "model": "Example"}
                for index in range(gpus_per_node)
            ],
        },
    }


def pci_address(index: int) -> str:
    """Return the accelerator id of the n-th GPU, in the form that cluster.json uses."""
    domain, slot = divmod(index, 14)
    return f"{domain:08X}:{0x0E + 0x11 * slot:02X}:00.0"


def make_cluster(
    name: str,
    nodes: str,
    *,
    sockets: int = 1,
    cores_per_socket: int = 4,
    threads_per_core: int = 1,
    gpus_per_node: int = 0,
    numbering: Numbering = "block",
) -> dict[str, Any]:
    """Build a cluster.json with one sub-cluster ``main``; see ``make_sub_cluster``."""
    sub = make_sub_cluster(
        "main",
        nodes,
        sockets=sockets,
        cores_per_socket=cores_per_socket,
        threads_per_core=threads_per_core,
        gpus_per_node=gpus_per_node,
        numbering=numbering,
    )
    return join_cluster(name, sub)


def join_cluster(name: str, *sub_clusters: dict[str, Any]) -> dict[str, Any]:
    """Build a cluster.json with several sub-clusters."""
    return {"name": name, "metricConfig": [], "subClusters": list(sub_clusters)}
