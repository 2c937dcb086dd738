"""The filter of runs that are not reported to a sink. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurmsyncd.config import ClusterConfig
from slurmsyncd.delivery import Outcome, OutcomeKind
from slurmsyncd.sinks.resources import is_ignored_run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slurmsyncd.model import Job


def skip_reason(job: Job, clusters: Mapping[str, ClusterConfig]) -> Outcome | None:
    """Return why a run is not reported; None if the run is reported."""
    name = job.key.cluster
    if clusters and name not in clusters:
        # The removed section also held the backend's names of the cluster, its hosts and hardware threads.
        remedy = f"put [clusters.{name}] back, or drop what is left of it"
        return Outcome(
            result=OutcomeKind.REJECTED_UNTIL_FIXED, reason="cluster_not_configured", detail=remedy
        )
    if is_ignored_run(job, cluster_section(name, clusters)):
        return Outcome(result=OutcomeKind.ALREADY_DELIVERED, reason="ignored_hosts")
    return None


def cluster_section(name: str, clusters: Mapping[str, ClusterConfig]) -> ClusterConfig:
    """Return the section of a cluster, or the defaults if it has no section."""
    return clusters.get(name) or ClusterConfig(name=name)
