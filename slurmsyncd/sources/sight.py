"""
Whether the user that asks Slurm sees other users' jobs.

With ``PrivateData=jobs`` squeue and sacct leave other users' jobs out of their answers for everybody but
operators, and report no error. Such an answer looks like an empty cluster: nothing must be concluded from it.
"""

from __future__ import annotations

import os
import pwd
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from slurmsyncd.errors import SourceUnavailable
from slurmsyncd.slurm.settings import parse_settings, parse_slurmdbd_settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from slurmsyncd.sources.slurm_cli import SlurmCli

log = structlog.get_logger(__name__)

CHECK_S: Final = 3600.0
"""Between two questions while nothing is suspicious: one command an hour."""

AGAIN_S: Final = 300.0
"""After a question that was not answered."""

PROVEN: Final = 2
"""Looks in succession that show no job although CPUs are allocated: one may be a job that just started."""

_SEES_ALL: Final = frozenset({"operator", "administrator", "admin"})
_CPUS: Final = re.compile(r"([0-9]{1,12})/[0-9]+/[0-9]+/[0-9]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Blindness:
    """
    What the user does not see, and what to do.

    Attributes:
        listing: squeue leaves jobs out.
        accounting: sacct leaves jobs out.
    """

    reason: str
    remedy: str
    listing: bool = True
    accounting: bool = True


def own_name() -> str:
    """Return the name of the user that this process runs as, or its number."""
    uid = os.geteuid()
    with suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return str(uid)


class Visibility:
    """
    Follows what the user sees.

    Args:
        commands: Of the cluster.
        user: That Slurm's commands are run as.
        monotonic: Clock for the waits.
        now: Epoch seconds.

    Attributes:
        blind: What is not seen, None if nothing is known to be hidden.
        doubted_from: Accounting since then may have been incomplete when it was read (epoch seconds).
    """

    def __init__(
        self,
        cluster: str,
        commands: SlurmCli,
        user: str,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._cluster = cluster
        self._commands = commands
        self._user = user
        self._monotonic = monotonic
        self._now = now
        self.blind: Blindness | None = None
        self.doubted_from: float | None = None
        self._sees_all = user == "root"
        self._level: str | None = None
        self._hidden = {"slurm.conf": False, "slurmdbd.conf": False}
        self._turn = 0
        self._check_at = self._cpus_at = 0.0
        self._seen_at: float | None = None  # when accounting was last known to be whole (epoch seconds)
        self._suspicious = 0

    async def check(self, *, empty: bool | None) -> Blindness | None:
        """
        Judge an answer of squeue.

        Args:
            empty: It lists no active job; None: it was not asked, or did not answer.

        Returns:
            What must not be believed now.
        """
        if self._sees_all:
            return None
        now = self._monotonic()
        doubt = await self._doubt(now) if empty else None
        if empty is False:
            self._suspicious, self._cpus_at = 0, 0.0  # the next empty list is looked at again
        await self._check(now, fully=self._suspicious == 1 or self._level is None)
        found = self._judged()
        self._note(found or (doubt if self._suspicious >= PROVEN else None))
        return found or doubt

    async def _doubt(self, now: float) -> Blindness | None:
        """Hold an empty list against the CPUs that are allocated; hourly while it stays empty."""
        if now < self._cpus_at:
            return None
        self._cpus_at = now + CHECK_S
        try:
            said = (await self._commands.run("sinfo", "-h", "-a", "-o", "%C")).text
        except SourceUnavailable:
            return None
        allocated = sum(int(found[1]) for found in _CPUS.finditer(said))
        if not allocated:
            self._suspicious = 0
            return None
        self._suspicious, self._cpus_at = self._suspicious + 1, now
        return Blindness(
            f"squeue shows {self._user} no job although {allocated} CPUs are allocated",
            f"compare `squeue -a` as {self._user} and as root; see PrivateData in slurm.conf",
        )

    async def _check(self, now: float, *, fully: bool) -> None:
        """Ask what hides jobs, and for the user's role: one of it each hour, all at first and in doubt."""
        if now < self._check_at and not (self.blind or self._suspicious == 1):
            return
        self._check_at = now + CHECK_S
        for ask in self._questions(fully=fully):
            try:
                await ask()
            except SourceUnavailable:  # what is not known stays as it was
                self._check_at = now + AGAIN_S

    def _questions(self, *, fully: bool) -> tuple[Callable[[], Awaitable[None]], ...]:
        files = (self._ask_slurm_conf, self._ask_slurmdbd_conf)
        if fully:
            return (*files, self._ask_role)
        if any(self._hidden.values()):
            return (self._ask_role,)
        self._turn += 1
        return (files[self._turn % 2],)

    async def _ask_slurm_conf(self) -> None:
        settings = parse_settings((await self._commands.run("scontrol", "show", "config")).text)
        self._hidden["slurm.conf"] = settings.hides_jobs
        self._sees_all = self._user == settings.get("SlurmUser").partition("(")[0]

    async def _ask_slurmdbd_conf(self) -> None:
        said = (await self._commands.run("sacctmgr", "show", "configuration")).text
        self._hidden["slurmdbd.conf"] = hides = parse_slurmdbd_settings(said).hides_jobs
        self._seen_at = self._seen_at if hides else self._now()

    async def _ask_role(self) -> None:
        which = ("show", "user", self._user, "format=adminlevel")
        said = (await self._commands.run("sacctmgr", "-n", "-P", *which)).text
        self._level = said.strip().partition("\n")[0].lower()
        self._seen_at = self._now() if self._level in _SEES_ALL else self._seen_at

    def _judged(self) -> Blindness | None:
        hidden = [file for file, hides in self._hidden.items() if hides]
        if self._sees_all or not hidden or self._level is None or self._level in _SEES_ALL:
            return None
        add = "" if self._level else f"sacctmgr -i add user {self._user} account=root; "
        return Blindness(
            f"{self._user} is no operator, and PrivateData in {' and '.join(hidden)} hides other users' jobs",
            f"{add}sacctmgr -i modify user {self._user} set adminlevel=operator",
            listing=self._hidden["slurm.conf"],
            accounting=self._hidden["slurmdbd.conf"],
        )

    def _note(self, blind: Blindness | None) -> None:
        before, self.blind = self.blind, blind
        if blind and blind.accounting and before is None:
            self.doubted_from = self._seen_at
        if blind and (before is None or blind.reason != before.reason):
            log.error("source_blind", cluster=self._cluster, reason=blind.reason, remedy=blind.remedy)
        elif before and blind is None:
            log.info("source_sees_again", cluster=self._cluster)
