"""Which Slurm this host belongs to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from slurmsyncd.errors import SourceUnavailable
from slurmsyncd.sources.slurm_commands import SlurmCommands

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from slurmsyncd.config import SlurmConfig

_SETTING: Final = re.compile(r"^(ClusterName|SLURM_VERSION|MinJobAge) *= *(\S+)", re.ASCII | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class HostSlurm:
    """
    The Slurm of this host.

    Attributes:
        min_job_age_s: How long slurmctld remembers a job that is over, hence its allocation.
    """

    cluster: str
    version: str
    min_job_age_s: int


async def discover(config: SlurmConfig, *, slurm_conf: str = "", directory: Path | None = None) -> HostSlurm:
    """
    Ask slurmctld for its name.

    Raises:
        SourceUnavailable: It does not answer, or scontrol is missing.
    """
    return await describe(SlurmCommands(config, slurm_conf=slurm_conf, directory=directory))


async def describe(commands: SlurmCommands) -> HostSlurm:
    """
    Ask the slurmctld of these commands for its name.

    Raises:
        SourceUnavailable: It does not answer, or scontrol is missing.
    """
    output = await commands.run("scontrol", "show", "config")
    found = dict(_SETTING.findall(output.text))
    if "ClusterName" not in found:
        raise SourceUnavailable("scontrol show config names no ClusterName; is this slurm.conf a cluster's?")
    age = found.get("MinJobAge", "")
    return HostSlurm(
        cluster=found["ClusterName"],
        version=found.get("SLURM_VERSION", ""),
        min_job_age_s=int(age) if age.isdecimal() else 300,
    )


async def known_clusters(commands: SlurmCommands) -> tuple[str, ...]:
    """
    Return the names of the clusters that slurmdbd knows.

    Raises:
        SourceUnavailable: It does not answer, or sacctmgr is missing.
    """
    output = await commands.run("sacctmgr", "-n", "-P", "list", "clusters", "format=cluster")
    return tuple(output.text.split())


async def only_cluster(
    config: SlurmConfig, before: Collection[str], *, directory: Path | None = None
) -> str | None:
    """
    Return the name of this host's cluster while slurmctld does not answer, None if slurmdbd leaves it open.

    Args:
        config: How Slurm is asked.
        before: Clusters of which accounting was read before; they decide where slurmdbd knows several.
        directory: Where the output of commands is kept.
    """
    try:
        known = await known_clusters(SlurmCommands(config, directory=directory))
    except SourceUnavailable:
        return None
    candidates = [name for name in known if len(known) == 1 or name in before]
    return candidates[0] if len(candidates) == 1 else None
