"""Ask a Slurm what the daemon asks, through the daemon's own runner, and keep what it printed."""

from __future__ import annotations

import dataclasses
import re
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from slurmsyncd.commands.capture.anonymise import Anonymiser, FieldScanner, LeakChecker
from slurmsyncd.commands.capture.formats import FileFormat, walk
from slurmsyncd.commands.capture.sampling import (
    hosts_of,
    keep_blocks,
    keep_jobs,
    keep_nodes,
    keep_rows,
    sample_jobs,
)
from slurmsyncd.errors import SlurmsyncdError, SourceUnavailable
from slurmsyncd.slurm.accounting import END_STATES, choose_columns
from slurmsyncd.slurm.job_list import listing_format
from slurmsyncd.sources.executors.local import CommandFailed
from slurmsyncd.sources.slurm_cli import PINNED, SlurmCli

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from slurmsyncd.config import SlurmConfig

_RELEASE: Final = re.compile(r"\b[0-9]{2}\.[0-9]{2}(?:\.[0-9]+)?(?:-?[0-9a-z]+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class CapturedFile:
    """
    What one command printed.

    Attributes:
        name: Of the file.
        form: How it is laid out.
        command: As it was asked, without ids and times.
        text: Standard output, decoded with ``surrogateescape``.
        error: Standard error, on one line.
        exit_code: None if it was killed.
        took_ms: Milliseconds.
    """

    name: str
    form: FileFormat
    command: str
    text: str
    error: str = ""
    exit_code: int | None = 0
    took_ms: int = 0


@dataclass(frozen=True, slots=True)
class Capture:
    """
    What was recorded of one Slurm.

    Attributes:
        token: Ends each column of sacct's and squeue's text.
        fields: Columns of sacct.
        jobs: How many the controller's answers show.
    """

    release: str
    token: str
    fields: tuple[str, ...]
    jobs: int
    files: tuple[CapturedFile, ...]


async def capture(config: SlurmConfig, slurm_conf: str, *, since_s: int, limit: int, moment: str) -> Capture:
    """
    Record one Slurm; a dozen commands, which change nothing.

    Args:
        config: How its commands are run.
        slurm_conf: SLURM_CONF for them; empty: Slurm's default.
        since_s: Seconds of accounting.
        limit: Jobs, and nodes, that are kept.
        moment: How the names of files begin.

    Raises:
        SourceUnavailable: It does not answer.
    """
    recorder = _Recorder(SlurmCli(config, slurm_conf=slurm_conf))
    ask, token = recorder.ask, secrets.token_hex(8)
    version = await ask("version.txt", FileFormat.VERBATIM, "sacct", "--version", must=True)
    help_ = await ask("sacct-helpformat.txt", FileFormat.VERBATIM, "sacct", "--helpformat", must=True)
    versions = await ask("squeue-json-list.txt", FileFormat.VERBATIM, "squeue", "--json=list")
    listing = ("-h", "-a", "-t", "all", "-o", listing_format(token))
    ids = sample_jobs(
        await ask(f"{moment}.squeue-listing", FileFormat.LISTING, "squeue", *listing, must=True), token, limit
    )
    recorder.keep(lambda text: keep_rows(text, token, 5, ids, limit))
    hosts = hosts_of(recorder.files[-1].text, token)
    await _controller(recorder, moment, ids, filters="/" in versions, pinned=PINNED in versions)
    recorder.keep(lambda text: keep_nodes(text, hosts, limit))
    await ask("scontrol-show-config.txt", FileFormat.CONFIG, "scontrol", "show", "config")
    fields = choose_columns(help_)
    columns = ("-a", "-X", "-D", "-p", "-n", "--noconvert", f"--delimiter={token}", "-o", ",".join(fields))
    if ids:
        await ask(f"{moment}.sacct-X-D-p-token", FileFormat.SACCT, "sacct", *columns, "-j", _joined(ids))
        recorder.keep(lambda text: keep_rows(text, token, len(fields), ids, limit))
    now = int(time.time())
    window = ("-S", f"uts{now - since_s}", "-E", f"uts{now}", "-s", END_STATES)
    await ask("ended.sacct-X-D-p-token", FileFormat.SACCT, "sacct", *columns, *window)
    recorder.keep(lambda text: keep_rows(text, token, len(fields), ids, limit))
    recorder.write("sacct-format.txt", ",".join(fields) + "\n")
    recorder.write("token.txt", token + "\n")
    found = _RELEASE.search(version)
    if not found:
        raise SourceUnavailable("sacct --version names no release; set slurm.bin_dir to Slurm's commands")
    return Capture(found[0], token, fields, len(ids), tuple(recorder.files))


async def _controller(
    recorder: _Recorder, moment: str, ids: tuple[int, ...], *, filters: bool, pinned: bool
) -> None:
    """Record slurmctld's jobs, soon after each other since what they say is perishable, and its nodes."""
    ask = recorder.ask
    jobs = ("squeue", "-h", "-a", "-t", "all", *(("-j", _joined(ids)) if filters and ids else ()))
    if pinned:
        await ask(f"{moment}.squeue--t-all-{PINNED}--json", FileFormat.JSON, *jobs, f"--json={PINNED}")
        recorder.keep(lambda text: keep_jobs(text, ids))
    await ask(f"{moment}.squeue--t-all--json", FileFormat.JSON, *jobs, "--json")
    recorder.keep(lambda text: keep_jobs(text, ids))
    await ask(f"{moment}.scontrol-show-job-d.txt", FileFormat.SCONTROL, "scontrol", "show", "job", "-d")
    recorder.keep(lambda text: keep_blocks(text, ids))
    if filters:
        await ask(
            f"{moment}.scontrol-show-nodes--json", FileFormat.JSON, "scontrol", "show", "nodes", "--json"
        )
    else:
        await ask(f"{moment}.sinfo--json", FileFormat.JSON, "sinfo", "-h", "--json")


class _Recorder:
    """Runs commands and keeps what they print, whatever that is."""

    def __init__(self, commands: SlurmCli) -> None:
        self.files: list[CapturedFile] = []
        self._commands = commands

    async def ask(self, file: str, form: FileFormat, name: str, *arguments: str, must: bool = False) -> str:
        """
        Run a command and keep its output as ``file``.

        Raises:
            SourceUnavailable: It could not be started, or failed and ``must`` not.
        """
        began, error, text = time.monotonic(), "", ""
        code: int | None = 0
        try:
            output = await self._commands.run(name, *arguments, probe=form is FileFormat.VERBATIM)
            text, error = output.data[:].decode("utf-8", "surrogateescape"), output.stderr
        except CommandFailed as err:
            if must:
                raise
            error, code = err.stderr, err.exit_code
        took_ms = int(1000 * (time.monotonic() - began))
        command = " ".join([name, *map(_shown, arguments)])
        self.files.append(CapturedFile(file, form, command, text, error, code, took_ms))
        return text

    def keep(self, part: Callable[[str], str]) -> None:
        """Keep only a part of what was recorded last."""
        last = self.files[-1]
        self.files[-1] = dataclasses.replace(last, text=part(last.text))

    def write(self, file: str, text: str) -> None:
        """Add a file that no command printed."""
        self.files.append(CapturedFile(file, FileFormat.VERBATIM, "", text))


def _shown(argument: str) -> str:
    if argument.startswith("uts"):
        return "utsTIME"
    return "IDS" if re.fullmatch(r"[0-9,]+", argument) else argument


def _joined(ids: tuple[int, ...]) -> str:
    return ",".join(map(str, ids))


def anonymise_capture(found: Capture, dice: Random, *, shift: bool = False) -> Capture:
    """
    Return a capture in which nobody is named.

    Args:
        found: As recorded.
        dice: Where stand-ins come from.
        shift: Move times and job ids, too.

    Raises:
        SlurmsyncdError: A name would still be in it; nothing may be written.
    """
    seen = FieldScanner()
    for each in found.files:
        walk(each.form, each.text, seen, token=found.token, columns=found.fields)
        walk(FileFormat.MESSAGE, each.error, seen)
    change = Anonymiser(seen, dice, shift=shift)
    files = tuple(
        dataclasses.replace(
            each,
            text=walk(each.form, each.text, change, token=found.token, columns=found.fields),
            error=walk(FileFormat.MESSAGE, each.error, change),
        )
        for each in found.files
    )
    check_for_leaks(files, LeakChecker(seen, change.mapping.issued, found.token))
    return dataclasses.replace(found, files=files)


def check_for_leaks(files: tuple[CapturedFile, ...], inspector: LeakChecker) -> None:
    """
    Check that no file holds what it must not.

    Raises:
        SlurmsyncdError: One does.
    """
    for each in files:
        if each.form is FileFormat.VERBATIM:
            continue
        kind = inspector.leak(each.form, each.text) or inspector.leak(FileFormat.MESSAGE, each.error)
        if kind:
            raise SlurmsyncdError(
                f"{each.name} would still hold the original of a {kind!r}; nothing is written. "
                "Please report this release's name and that field; --raw records without anonymising"
            )
