"""One cluster's Slurm: its commands, its settings, what we may see of it, its nodes."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from slurmsyncd.commands.check.nodes import SINFO, SlurmNode, parse_nodes
from slurmsyncd.commands.check.questions import ACCOUNTING, ask_all
from slurmsyncd.commands.check.result import CheckLevel, CheckResult
from slurmsyncd.commands.check.slurm_settings import AREA, assess_permission, assess_release, assess_settings
from slurmsyncd.commands.check.user import daemons_uid, user_name
from slurmsyncd.errors import SourceUnavailable
from slurmsyncd.slurm.scalars import printable
from slurmsyncd.slurm.settings import SlurmSettings, parse_slurmdbd_settings
from slurmsyncd.sources.command_source import CommandSource
from slurmsyncd.sources.discovery import known_clusters, slurm_settings
from slurmsyncd.sources.slurm_cli import SlurmCli

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from slurmsyncd.config import ClusterConfig, Config

_COMMANDS: Final = ("sacct", "squeue", "scontrol", "sinfo")
_RUNAWAY_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class SlurmReport:
    """
    What was found of one cluster.

    Attributes:
        cluster: Its name; empty if it could not be found out.
        nodes: All of them; None if Slurm did not say.
    """

    findings: tuple[CheckResult, ...]
    cluster: str = ""
    nodes: tuple[SlurmNode, ...] | None = None


async def check_slurm(config: Config, cluster: ClusterConfig | None) -> SlurmReport:
    """
    Look at one cluster's Slurm; a dozen commands, which change nothing.

    Args:
        config: The whole configuration.
        cluster: Its section; None for this host's own.
    """
    slurm_conf = cluster.slurm_conf if cluster else ""
    name = cluster.name if cluster and cluster.remote else ""
    commands = SlurmCli(config.slurm, slurm_conf=slurm_conf, cluster=name)
    missing = tuple(_missing(config))
    if missing:
        return SlurmReport(missing)
    findings = [_found(config)]
    try:
        findings.append(assess_release((await commands.run("sacct", "--version", probe=True)).text))
        settings = await slurm_settings(commands)
        now = time.time()
        nodes = parse_nodes((await commands.run("sinfo", *SINFO)).text)
    except SourceUnavailable as err:
        findings.append(
            CheckResult(
                AREA,
                "slurmctld",
                CheckLevel.FAIL,
                str(err),
                "see that slurmctld and munge run: scontrol ping",
            )
        )
        return SlurmReport(tuple(findings))
    findings.append(_name(settings, cluster))
    gpus = any(gres.name == "gpu" for node in nodes for gres in node.devices)
    findings += assess_settings(settings, poll_s=config.daemon.poll_interval, gpus=gpus, now=now)
    found = name or settings.get("ClusterName")
    findings += [await _registered(commands, found), await _permission(commands, settings, config)]
    source = CommandSource(found, config.slurm, slurm_conf=slurm_conf, remote=bool(name))
    findings += await ask_all(source, config)
    findings += [each async for each in _runaways(commands)]
    findings += _hooks(settings)
    return SlurmReport(tuple(findings), found, nodes)


def _path(config: Config, name: str) -> Path:
    return Path(config.slurm.bin_dir) / name if config.slurm.bin_dir else Path(shutil.which(name) or "")


def _found(config: Config) -> CheckResult:
    paths = ", ".join(str(_path(config, name)) for name in _COMMANDS)
    return CheckResult(AREA, "commands", CheckLevel.OK, f"Slurm's commands are {paths}")


def _missing(config: Config) -> Iterator[CheckResult]:
    for name in _COMMANDS:
        path = _path(config, name)
        if not (path.is_file() and os.access(path, os.X_OK)):
            where = f"slurm.bin_dir = {config.slurm.bin_dir}" if config.slurm.bin_dir else "PATH"
            yield CheckResult(
                AREA,
                "commands",
                CheckLevel.FAIL,
                f"{name} is not in {where}, or cannot be run",
                "install Slurm's client commands, or set slurm.bin_dir to their directory",
            )


def _name(settings: SlurmSettings, cluster: ClusterConfig | None) -> CheckResult:
    found = settings.get("ClusterName")
    if cluster is None or cluster.remote or cluster.name == found:
        return CheckResult(AREA, "cluster", CheckLevel.OK, f"slurmctld of cluster {found} answers")
    return CheckResult(
        AREA,
        "cluster",
        CheckLevel.FAIL,
        f"clusters.{cluster.name}: the Slurm that answers is cluster {found}",
        f"name the section clusters.{found} (backend_name is the backend's word), or set its slurm_conf",
    )


async def _registered(commands: SlurmCli, name: str) -> CheckResult:
    """Look for the cluster in slurmdbd: of one that it lacks, sacct prints nothing and exits 0."""
    try:
        known = await known_clusters(commands)
    except SourceUnavailable as err:
        return CheckResult(
            AREA, "registered", CheckLevel.FAIL, f"accounting does not answer: {err}", ACCOUNTING
        )
    if name in known:
        return CheckResult(AREA, "registered", CheckLevel.OK, f"slurmdbd knows cluster {name}")
    others = ", ".join(map(printable, known)) or "none"
    return CheckResult(
        AREA,
        "registered",
        CheckLevel.FAIL,
        f"slurmdbd knows no cluster {name}, so sacct shows no job of it; it knows: {others}",
        f"sacctmgr -i add cluster {name}, or correct AccountingStorageHost in slurm.conf; restart slurmctld",
    )


async def _permission(commands: SlurmCli, settings: SlurmSettings, config: Config) -> CheckResult:
    """Judge whether the daemon's user sees all that is asked for."""
    me, slurm_user = user_name(daemons_uid(config)), settings.get("SlurmUser").partition("(")[0]
    if me in {"root", slurm_user}:
        return CheckResult(AREA, "permission", CheckLevel.OK, f"{me} sees everybody's jobs")
    try:
        level = (await commands.run("sacctmgr", "-n", "-P", "show", "user", me, "format=adminlevel")).text
        said = (await commands.run("sacctmgr", "show", "configuration")).text
    except SourceUnavailable as err:
        return CheckResult(
            AREA, "permission", CheckLevel.SKIPPED, f"sacctmgr does not say what {me} may see: {err}"
        )
    both = {"slurm.conf": settings, "slurmdbd.conf": parse_slurmdbd_settings(said)}
    hidden = " and ".join(file for file, each in both.items() if each.hides_jobs)
    return assess_permission(me, level.strip(), hidden=hidden, scripts=config.slurm.job_script)


async def _runaways(commands: SlurmCli) -> AsyncIterator[CheckResult]:
    """Count runs that accounting believes to run and slurmctld does not know: they never end."""
    try:
        said = await commands.run("sacctmgr", "-n", "-P", "show", "runawayjobs", "format=id,cluster")
    except SourceUnavailable:
        return  # only operators may ask, and that was said
    found = [line.split("|")[0] for line in said.text.splitlines() if line.partition("|")[0].isdecimal()]
    if found:
        shown = ", ".join(found[:_RUNAWAY_SHOWN]) + (" …" if len(found) > _RUNAWAY_SHOWN else "")
        yield CheckResult(
            AREA,
            "runaway",
            CheckLevel.WARN,
            f"{len(found)} runaway jobs in accounting ({shown}): they run for ever there",
            "sacctmgr show runawayjobs, and let it fix them",
        )


def _hooks(settings: SlurmSettings) -> Iterator[CheckResult]:
    for name in ("PrologSlurmctld", "EpilogSlurmctld"):
        programs = settings.listed(name)
        if not programs:
            yield CheckResult(
                "hook",
                name,
                CheckLevel.NOTE,
                f"{name} is not set: only polls find jobs, and very short ones lose their cores and GPUs",
                f"set {name} to our script in hooks/ (see hooks/README.md)",
            )
        for program in programs:
            yield _program(name, Path(program), settings.get("SlurmUser"))


def _program(name: str, path: Path, slurm_user: str) -> CheckResult:
    """See that a hook can be run by slurmctld, if slurmctld is on this host."""
    try:
        found = path.stat()
    except OSError as err:
        return CheckResult(
            "hook",
            name,
            CheckLevel.WARN,
            f"{name} = {path}: {err.strerror} on this host",
            "jobs fail to start if slurmctld's host lacks it too: put it there, or unset it",
        )
    # Whoever may not pass one of its directories may not run it either.
    closed = [each for each in reversed(path.parents) if not _may_run(each.stat(), slurm_user)]
    if not stat.S_ISREG(found.st_mode) or closed or not _may_run(found, slurm_user):
        return CheckResult(
            "hook",
            name,
            CheckLevel.FAIL,
            f"{name} = {path} cannot be run by SlurmUser = {slurm_user}: jobs may fail to start",
            f"chmod a+x {closed[0]}" if closed else f"chmod 0755 {path}",
        )
    return CheckResult("hook", name, CheckLevel.OK, f"{name} = {path} can be run by slurmctld")


def _may_run(found: os.stat_result, slurm_user: str) -> bool:
    if found.st_mode & stat.S_IXOTH:
        return True
    try:
        user = pwd.getpwnam(slurm_user.partition("(")[0])
    except KeyError:
        return False
    return (
        user.pw_uid == 0
        or (found.st_uid == user.pw_uid and bool(found.st_mode & stat.S_IXUSR))
        or (found.st_gid == user.pw_gid and bool(found.st_mode & stat.S_IXGRP))
    )
