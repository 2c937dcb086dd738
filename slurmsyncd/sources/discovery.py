"""Which Slurm this host belongs to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from slurmsyncd.errors import SourceUnavailable
from slurmsyncd.slurm.sdiag import counted_messages
from slurmsyncd.slurm.settings import SlurmSettings, parse_settings
from slurmsyncd.sources.slurm_cli import SlurmCli

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from slurmsyncd.config import SlurmConfig

#: Within this slurmctld answers something small.
_SOON_S: Final = 5.0
_CONTROLLER: Final = re.compile(r"^Slurmctld\([^)]*\) at (\S+) is UP", re.ASCII | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class DiscoveredCluster:
    """
    The Slurm of this host.

    Attributes:
        min_job_age_s: How long slurmctld remembers a job that is over, hence its allocation.
    """

    cluster: str
    version: str
    min_job_age_s: int


async def discover(
    config: SlurmConfig, *, slurm_conf: str = "", directory: Path | None = None
) -> DiscoveredCluster:
    """
    Ask slurmctld for its name.

    Raises:
        SourceUnavailable: It does not answer, or scontrol is missing.
    """
    return await discover_with(SlurmCli(config, slurm_conf=slurm_conf, directory=directory))


async def discover_with(commands: SlurmCli) -> DiscoveredCluster:
    """
    Ask the slurmctld of these commands for its name.

    Raises:
        SourceUnavailable: It does not answer, or scontrol is missing.
    """
    settings = await slurm_settings(commands)
    if not (cluster := settings.get("ClusterName")):
        raise SourceUnavailable("scontrol show config names no ClusterName; is this slurm.conf a cluster's?")
    age_s = settings.seconds("MinJobAge")
    return DiscoveredCluster(
        cluster=cluster,
        version=settings.get("SLURM_VERSION"),
        min_job_age_s=300 if age_s is None else age_s,
    )


async def slurm_settings(commands: SlurmCli) -> SlurmSettings:
    """
    Return the settings of slurmctld.

    Raises:
        SourceUnavailable: It does not answer, or scontrol is missing.
    """
    return parse_settings((await commands.run("scontrol", "show", "config")).text)


async def active_controller(commands: SlurmCli) -> str:
    """
    Return the host of the slurmctld that is in charge, empty if none is.

    Of several, Slurm takes the first one that is up, in the order of slurm.conf, which is that of the answer.

    Raises:
        SourceUnavailable: None is up, or scontrol is missing.
    """
    found = _CONTROLLER.search((await commands.run("scontrol", "ping")).text)
    return found[1] if found else ""


async def queued_messages(commands: SlurmCli) -> int | None:
    """Return how many messages slurmctld holds for slurmdbd, None if it does not say; any user may ask."""
    try:
        return counted_messages((await commands.run("sdiag", timeout_s=_SOON_S)).text)
    except SourceUnavailable:
        return None


async def known_clusters(commands: SlurmCli) -> tuple[str, ...]:
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
        known = await known_clusters(SlurmCli(config, directory=directory))
    except SourceUnavailable:
        return None
    candidates = [name for name in known if len(known) == 1 or name in before]
    return candidates[0] if len(candidates) == 1 else None
