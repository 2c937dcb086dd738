"""What Slurm says of a job now."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slurmsyncd.config import ClusterConfig
from slurmsyncd.errors import SourceError
from slurmsyncd.model import Job, JobQuestions
from slurmsyncd.sources.command_source import CommandSource
from slurmsyncd.sources.discovery import discover
from slurmsyncd.sources.slurm_cli import SlurmCli

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from slurmsyncd.config import Config
    from slurmsyncd.model import RunKey

_ROW = re.compile(r"([0-9]{1,18})\|([0-9_+\[\],%-]+)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """
    What one cluster's Slurm says of a job.

    Attributes:
        controller: As slurmctld holds it; None if it did not answer.
        accounting: All its runs that have started, as slurmdbd has them; None if it did not answer.
        trouble: Why something is missing.
    """

    cluster: str
    controller: tuple[Job, ...] | None
    accounting: tuple[Job, ...] | None
    trouble: tuple[str, ...] = ()


async def ask_slurm(job_id: int, config: Config) -> list[Said]:
    """Ask every cluster."""
    said = []
    wanted = JobQuestions(details=frozenset({job_id}), accounting=frozenset({job_id}))
    for name, each in (await _clusters(config)).items():
        source = CommandSource(name, config.slurm, slurm_conf=each.slurm_conf, remote=each.remote)
        try:
            found = await source.query_jobs(wanted)
        except SourceError as err:
            said.append(Said(cluster=name, controller=None, accounting=None, trouble=(str(err),)))
        else:
            said.append(
                Said(
                    cluster=name,
                    controller=found.details,
                    accounting=found.accounting,
                    trouble=found.errors,
                )
            )
    return said


async def accounting_of(runs: Collection[RunKey], config: Config) -> dict[str, tuple[Job, ...]]:
    """
    Return what accounting has of the jobs of runs, by cluster; a cluster that is not configured is left out.

    Raises:
        SourceError: Slurm does not answer.
    """
    found = {}
    for name, each in (await _clusters(config)).items():
        ids = frozenset(run.job_id for run in runs if run.cluster == name)
        if ids:
            source = CommandSource(name, config.slurm, slurm_conf=each.slurm_conf, remote=each.remote)
            answers = await source.query_jobs(JobQuestions(accounting=ids))
            found[name] = answers.accounting or ()
    return found


async def raw_ids(text: str, config: Config) -> tuple[int, ...]:
    """
    Return the raw ids of an array task or a component of a heterogeneous job.

    Raises:
        SourceUnavailable: Slurm does not answer.
    """
    found: dict[int, None] = {}
    for name, each in (await _clusters(config)).items():
        commands = SlurmCli(config.slurm, slurm_conf=each.slurm_conf, cluster=name if each.remote else "")
        output = await commands.run("sacct", "-a", "-X", "-n", "-P", "-j", text, "-o", "JobIDRaw,JobID")
        rows = (_ROW.fullmatch(line) for line in output.text.splitlines())
        found |= {int(row[1]): None for row in rows if row is not None and row[2] == text}
    return tuple(found)


async def _clusters(config: Config) -> Mapping[str, ClusterConfig]:
    if config.clusters:
        return config.clusters
    found = await discover(config.slurm, directory=None)
    return {found.cluster: ClusterConfig(name=found.cluster)}
