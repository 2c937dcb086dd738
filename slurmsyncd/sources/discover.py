"""Which Slurm this host belongs to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from slurmsyncd.errors import SourceUnavailable
from slurmsyncd.sources.slurm_commands import SlurmCommands

if TYPE_CHECKING:
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
