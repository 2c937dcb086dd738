"""The nodes of the host's real Slurm, as a cluster.json for the embedded backend."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from slurmsyncd.config import SlurmConfig
from slurmsyncd.errors import SourceUnavailable
from slurmsyncd.sandbox.demo.environment import cluster_json
from slurmsyncd.sources.discovery import discover
from slurmsyncd.sources.slurm_cli import SlurmCli

if TYPE_CHECKING:
    from collections.abc import Iterator

_GPUS = re.compile(r"(?:^|,)gpu:(?:[^:,()]+:)?(\d+)", re.ASCII)


async def host_cluster() -> dict[str, Any]:
    """
    Query the nodes of the Slurm cluster of this host.

    Raises:
        SourceUnavailable: Slurm is not installed or unreachable.
    """
    conf = os.environ.get("SLURM_CONF", "")
    name = (await discover(SlurmConfig(), slurm_conf=conf)).cluster
    commands = SlurmCli(SlurmConfig(), slurm_conf=conf)
    output = await commands.run("sinfo", "-h", "-a", "-N", "-o", "%N %X %Y %Z %G")
    hosts = sorted(set(_hosts(output.text)))
    if not hosts:
        raise SourceUnavailable("sinfo lists no nodes; is this host part of a cluster?")
    return cluster_json(name, hosts)


def _hosts(text: str) -> Iterator[tuple[str, int, int, int, int]]:
    for line in text.splitlines():
        host, sockets, cores, threads, gres = line.split(maxsplit=4)
        yield host, int(sockets), int(cores), int(threads), sum(map(int, _GPUS.findall(gres)))
