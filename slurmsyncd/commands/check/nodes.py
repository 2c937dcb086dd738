"""Whether the backend knows every node as Slurm has it: an unknown one's runs are refused. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from slurmsyncd.commands.check.result import CheckLevel, CheckResult
from slurmsyncd.errors import DecodeError
from slurmsyncd.sinks.resources import backend_host_name, has_mapping, is_ignored_host
from slurmsyncd.sinks.topology import NotKnown, accelerator_ids, find_sub_cluster, hwthreads_of
from slurmsyncd.slurm.gres import parse_gres

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from slurmsyncd.config import ClusterConfig
    from slurmsyncd.model import Gres
    from slurmsyncd.sinks.topology import SubCluster, Topology

SINFO: Final = ("-h", "-a", "-N", "-o", "%N|%X|%Y|%Z|%G")
_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class SlurmNode:
    """
    One node, as Slurm is configured.

    Attributes:
        sockets: (sockets, cores per socket).
        devices: Its generic resources.
    """

    host: str
    sockets: tuple[int, int]
    devices: tuple[Gres, ...] = ()


def parse_nodes(text: str) -> tuple[SlurmNode, ...]:
    """Read ``sinfo -N`` in the format of ``SINFO``; a node is listed once for each partition."""
    found = {}
    for line in text.splitlines():
        host, *numbers, gres = line.split("|", 4) if line.count("|") >= 4 else ("", "", "")
        if host and len(numbers) == 3 and all(number.isdecimal() for number in numbers):
            sockets, cores, _ = map(int, numbers)
            found[host] = SlurmNode(host, (sockets, cores), _devices(gres))
    return tuple(found.values())


def _devices(text: str) -> tuple[Gres, ...]:
    try:
        return parse_gres(text)
    except DecodeError:
        return ()  # `check` asks for nodes as the daemon does, too, and names what is not understood there


def assess_nodes(
    nodes: Sequence[SlurmNode], topology: Topology, name: str, config: ClusterConfig, area: str
) -> Iterator[CheckResult]:
    """
    Compare Slurm's nodes with the backend's cluster.json.

    Args:
        nodes: All of one cluster.
        topology: What the backend says.
        name: What the backend calls the cluster.
        config: Its section.
        area: Of the findings.
    """
    subs = topology.clusters.get(name)
    if subs is None:
        known = ", ".join(sorted(topology.clusters)[:_NAMED]) or "none"
        yield CheckResult(
            area,
            "cluster",
            CheckLevel.FAIL,
            f"the backend has no cluster {name!r}; it has: {known}",
            f"add {name}/cluster.json to its archive and restart it, or set its backend_name",
        )
        return
    troubles: dict[NotKnown, list[str]] = defaultdict(list)
    wanted = [node for node in nodes if not is_ignored_host(node.host, config)]
    for node in wanted:
        for trouble in _troubles(node, subs, config):
            troubles[trouble].append(node.host)
    for trouble, hosts in troubles.items():
        yield _trouble(trouble, hosts, area, name)
    if not troubles:
        yield CheckResult(
            area, "nodes", CheckLevel.OK, f"the backend has all {len(wanted)} nodes of {name} as they are"
        )


def _troubles(node: SlurmNode, subs: Sequence[SubCluster], config: ClusterConfig) -> Iterator[NotKnown]:
    sub = find_sub_cluster(subs, backend_host_name(node.host, config))
    if isinstance(sub, NotKnown):
        yield sub
        return
    threads = hwthreads_of(sub, (), node.sockets)
    if isinstance(threads, NotKnown) and not has_mapping(config.hwthreads, node.host):
        yield threads
    devices = tuple(each for each in node.devices if each.name in config.accelerator_gres)
    ids = accelerator_ids(sub, (), devices)
    if (
        isinstance(ids, NotKnown)
        and (devices or sub.accelerators)
        and not has_mapping(config.gpus, node.host)
    ):
        yield ids


def _trouble(trouble: NotKnown, hosts: Iterable[str], area: str, name: str) -> CheckResult:
    hosts = sorted(hosts)
    more = f" and {len(hosts) - _NAMED} more" if len(hosts) > _NAMED else ""
    return CheckResult(
        area,
        "nodes",
        CheckLevel.FAIL if trouble.unlisted else CheckLevel.WARN,
        f"{', '.join(hosts[:_NAMED])}{more}: {trouble.reason}",
        f"correct {name}/cluster.json in the backend's archive and restart the backend"
        + ("; what it refused meanwhile is sent by itself" if trouble.unlisted else ""),
    )
