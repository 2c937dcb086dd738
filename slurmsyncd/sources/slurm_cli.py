"""Slurm's commands on this host: where they are, what they offer, how they are asked."""

from __future__ import annotations

import math
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from slurmsyncd.errors import DecodeError, SourceUnavailable
from slurmsyncd.slurm.accounting import choose_columns
from slurmsyncd.slurm.json_documents import read_records
from slurmsyncd.slurm.scalars import printable
from slurmsyncd.sources.executors.local import CommandCosts, CommandFailed, minimal_environment, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from msgspec import Raw

    from slurmsyncd.config import SlurmConfig
    from slurmsyncd.sources.output import CommandOutput

PINNED: Final = "v0.0.42"
"""The one data version that both 24.11 and 26.05 have."""

_VERSION: Final = re.compile(r"([0-9]{2})\.([0-9]{1,2})(?:\.[0-9]+)?", re.ASCII)
_DATA_VERSION: Final = re.compile(r"data_parser/(v[0-9.]{1,20})", re.ASCII)
_NOTICES: Final = 200
_ERROR: Final = re.compile(r"\b(?:error|fatal):")

_OF_FEDERATION: Final = frozenset({"squeue", "sacct", "sinfo"})
"""Commands that show all clusters of a federation unless they are asked for the local one."""

_FILTERS_SINCE: Final = (23, 2)
"""From this release on squeue's JSON obeys ``-j``; 22.05 prints all jobs whatever it is asked."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Capabilities:
    """
    What squeue, scontrol and sinfo can do.

    Attributes:
        version: (year, month) of the release; (0, 0) if it does not say.
        json: The data version to ask for; empty for the release's own.
        filters: squeue's JSON obeys -j and -t; in 22.05 it does not.
    """

    version: tuple[int, int]
    json: str
    filters: bool


class OnceLogger:
    """Say each thing once; foreign text must not fill the log, nor our memory."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def once(self, event: str, text: str, **context: str) -> None:
        """Log a warning unless this text was logged before."""
        if text and text not in self._said and len(self._said) < _NOTICES:
            self._said.add(text)
            log.warning(event, text=printable(text), **context)


class SlurmCli:
    """
    Asks Slurm by its commands.

    What they offer is asked once, and anew after a failure, since Slurm may have been upgraded (S17). sacct
    and the rest are kept apart, so that trouble with one costs no answer of the other.

    Args:
        cluster: Of several in one slurmdbd the one to ask for (``-M``); empty: slurm.conf's own.

    Attributes:
        tally: What was asked and what it cost.
        notices: What was said once.
    """

    def __init__(
        self, config: SlurmConfig, *, slurm_conf: str = "", cluster: str = "", directory: Path | None = None
    ) -> None:
        self.tally = CommandCosts()
        self.notices = OnceLogger()
        self._config = config
        self._env = minimal_environment(slurm_conf)
        self._cluster = cluster
        self._directory = directory
        self._offers: Capabilities | None = None
        self._fields: tuple[str, ...] | None = None

    async def run(
        self,
        name: str,
        *arguments: str,
        probe: bool = False,
        may_fail: bool = False,
        timeout_s: float = math.inf,
    ) -> CommandOutput:
        """
        Run a command of Slurm.

        Args:
            name: squeue, sacct, scontrol, sinfo, sdiag or sacctmgr.
            arguments: As they are.
            probe: About the command itself, not a cluster; what it says on standard error is no news.
            may_fail: An exit status of its own is an answer, and no failure of Slurm's.
            timeout_s: A shorter deadline than the configured one.

        Raises:
            SourceUnavailable: It did not answer, or printed an error and nothing else.
        """
        path = str(Path(self._config.bin_dir) / name) if self._config.bin_dir else name

        def is_answer(err: SourceUnavailable) -> bool:
            return is_unknown_job_id(err) or (may_fail and _exited(err))

        try:
            with self.tally.count(name, is_answer):
                output = await run(
                    [path, *(() if probe else self._where(name)), *arguments],
                    timeout_s=min(timeout_s, self._config.command_timeout),
                    output_limit=self._config.output_limit * 1024 * 1024,
                    env=self._env,
                    directory=self._directory,
                )
                _require_answer(name, output)
        except SourceUnavailable as err:
            if not is_answer(err):
                self.invalidate(name)
            raise
        if not probe:
            self.notices.once("slurm_warns", output.stderr, command=name)
        return output

    def _where(self, name: str) -> tuple[str, ...]:
        """Return the options for one cluster: of several, 22.05 prints the JSON of the first alone."""
        if name == "sacctmgr":  # speaks of all of them
            return ()
        if self._cluster:
            return ("-M", self._cluster)
        # Else a member of a federation may show the others' jobs, too (FederationParameters=fed_display).
        return ("--local",) if name in _OF_FEDERATION else ()

    def invalidate(self, name: str) -> None:
        """Ask anew what a command offers, before it is used next."""
        if name == "sacct":
            self._fields = None
        elif name != "sdiag":  # it may be missing, and nothing depends on what it offers
            self._offers = None

    @asynccontextmanager
    async def records(self, key: str, name: str, *arguments: str) -> AsyncIterator[Iterable[Raw]]:
        """
        Ask a command for JSON and give its records, undecoded; to be iterated within the block.

        Raises:
            SourceUnavailable: No answer.
            DecodeError: No such document; perhaps only at the end of the block.
        """
        offers = await self.capabilities()
        json = f"--json={offers.json}" if offers.json else "--json"
        output = await self.run(name, *arguments, json)
        if not output.data and offers.json:
            # Some releases print nothing, exit code 0, for a version that they claim to offer.
            self.notices.once("data_version_fails", f"{name} {json} prints nothing")
            self._offers = replace(offers, json="")
            output = await self.run(name, *arguments, "--json")
        try:
            yield read_records(output.data, key)
        except DecodeError as err:
            self.invalidate(name)
            raise DecodeError(f"{name} --json: {err}") from err
        finally:
            await output.close()

    async def sacct_columns(self) -> tuple[str, ...]:
        """
        Return the columns to ask sacct for.

        Raises:
            SourceUnavailable: It is missing or does not work.
            DecodeError: It is no sacct.
        """
        if self._fields is None:
            self._fields = choose_columns((await self.run("sacct", "--helpformat", probe=True)).text)
        return self._fields

    async def capabilities(self) -> Capabilities:
        """
        Return what squeue, scontrol and sinfo can do.

        Raises:
            SourceUnavailable: squeue is missing or does not work.
        """
        if self._offers is None:
            version = _VERSION.search((await self.run("squeue", "--version", probe=True)).text)
            versions = await self._data_versions()
            release = (int(version[1]), int(version[2])) if version else (0, 0)
            self._offers = Capabilities(
                version=release,
                json=PINNED if PINNED in versions else "",
                filters=release >= _FILTERS_SINCE if version else bool(versions),
            )
        return self._offers

    async def _data_versions(self) -> frozenset[str]:
        try:
            output = await self.run("squeue", "--json=list", probe=True, may_fail=True)
        except CommandFailed as err:
            if not _exited(err):
                raise
            return frozenset()  # to 23.02: "option '--json' doesn't allow an argument"
        # 23.11 and 24.05 print the list on standard error, later releases on standard output.
        return frozenset(_DATA_VERSION.findall(f"{output.text}\n{output.stderr}"))


def _require_answer(name: str, output: CommandOutput) -> None:
    """
    Raise for a command that failed and exited with 0.

    sacct exits with errno, which may be 0 again by the time it ends. An empty answer beside an error is then
    not "nothing ended", nor "no job is there".
    """
    if not output.data and _ERROR.search(output.stderr):
        raise CommandFailed(
            f"{name} printed nothing but an error, with exit code 0: {output.stderr[:200]}",
            exit_code=0,
            stderr=output.stderr,
        )


def is_unknown_job_id(err: SourceUnavailable) -> bool:
    """Tell squeue's failure for a single id that slurmctld no longer knows from an outage."""
    return isinstance(err, CommandFailed) and _exited(err) and "Invalid job id" in err.stderr


def _exited(err: SourceUnavailable) -> bool:
    """Return whether a command ended with an exit status of its own."""
    return isinstance(err, CommandFailed) and err.exit_code is not None
