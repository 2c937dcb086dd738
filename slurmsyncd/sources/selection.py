"""Which clusters and sinks a command is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurmsyncd.config import ClusterConfig
from slurmsyncd.errors import ConfigError
from slurmsyncd.sources.discovery import discover

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from slurmsyncd.config import Config


def choose(section: str, wanted: str | None, there: Collection[str]) -> Sequence[str]:
    """
    Return the one section that is named, or all of them.

    Raises:
        ConfigError: There is none, or none of this name.
    """
    if not there:
        raise ConfigError([f"{section}: none is configured, so there is nothing to hold against Slurm"])
    if wanted is not None and wanted not in there:
        raise ConfigError([f"{section}.{wanted}: there is no such section; allowed: {', '.join(there)}"])
    return list(there) if wanted is None else [wanted]


async def chosen_clusters(config: Config, wanted: str | None) -> Mapping[str, ClusterConfig]:
    """Return the clusters to query: the one that is named, or all; without sections, this host's own."""
    clusters: Mapping[str, ClusterConfig] = config.clusters
    if not clusters:
        own = (await discover(config.slurm)).cluster
        clusters = {own: ClusterConfig(name=own)}
    return {name: clusters[name] for name in choose("clusters", wanted, clusters)}
