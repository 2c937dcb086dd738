"""One verification as a whole: whom to ask about what, and what was asked."""

from __future__ import annotations

import sys
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import msgspec

from slurmsyncd.clock import SystemClock
from slurmsyncd.commands.verify.backend import BackendQuery
from slurmsyncd.commands.verify.checker import Verifier
from slurmsyncd.commands.verify.json_report import document
from slurmsyncd.commands.verify.report import NAMED, Report
from slurmsyncd.commands.verify.text_report import show
from slurmsyncd.console.terminal import Terminal
from slurmsyncd.console.times import format_day
from slurmsyncd.errors import ConfigError
from slurmsyncd.sinks.rest.sink import RestSink
from slurmsyncd.sources.command_source import CommandSource
from slurmsyncd.sources.selection import choose, chosen_clusters
from slurmsyncd.text import counted, safe

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from slurmsyncd.config import Config

#: Between two lines of progress.
_PROGRESS_S = 0.2


async def verify(config: Config, args: argparse.Namespace) -> Report:
    """
    Check what the arguments choose.

    Raises:
        ConfigError: They choose what there is not.
        SourceUnavailable: Slurm, or a backend, does not answer.
        SlurmsyncdError: The daemon, or its store, does not.
    """
    since, until = _window(args, time.time())
    sinks = choose("sinks", args.sink, config.sinks)
    report = Report(since=since, until=until, named=None if args.all else NAMED)
    progress = _Progress(since, until)
    async with AsyncExitStack() as stack:
        backends: dict[str, BackendQuery] = {}
        for name in _readable(config, sinks) if args.backend else ():
            sink = RestSink(config.sinks[name], config.clusters, SystemClock())
            stack.push_async_callback(sink.aclose)
            backends[name] = BackendQuery(sink, config.sinks[name].audit_grace, asking=progress.asking)
        check = Verifier(
            config, report, sinks=sinks, backends=backends, repair=args.repair, progress=progress.read
        )
        for cluster in (await chosen_clusters(config, args.cluster)).values():
            source = CommandSource(
                cluster.name, config.slurm, slurm_conf=cluster.slurm_conf, remote=cluster.remote
            )
            try:
                await check.cluster(source, now_too=args.until is None)
            finally:
                progress.clear()
            for command, tally in source.tally.commands.items():
                report.commands[command] += tally.calls
        report.questions = {name: backend.questions for name, backend in backends.items()}
    return report


def print_report(report: Report, *, json: bool) -> None:
    """Print what was found."""
    if json:
        sys.stdout.write(msgspec.json.encode(document(report)).decode() + "\n")
    else:
        show(report, Terminal())


def _window(args: argparse.Namespace, now: float) -> tuple[int, int]:
    until = int(now) if args.until is None else min(args.until, int(now))
    if args.since >= until:
        raise ConfigError([f"--since {args.since}: nothing lies between it and --until, {until}"])
    return args.since, until


def _readable(config: Config, sinks: Sequence[str]) -> Sequence[str]:
    """Return the sinks that can say what they have."""
    found = [name for name in sinks if config.sinks[name].type == "rest"]
    if not found:
        raise ConfigError([f"--backend: none of {', '.join(sinks)} is of type rest and can be asked"])
    return found


class _Progress:
    """Says on a terminal how far it came."""

    def __init__(self, since: int, until: int) -> None:
        self._since = since
        self._until = until
        self._watched = sys.stderr.isatty()
        self._next_at = 0.0
        self._read = ""
        self._questions = 0

    def read(self, cluster: str, at: int, runs: int) -> None:
        """Accounting of a cluster was read up to an instant, so many runs so far."""
        share = 100 * (at - self._since) // (self._until - self._since)
        self._read = f"{safe(cluster)}: {format_day(at - 1)}, {share} %, {counted(runs, 'run')}"
        self._show()

    def asking(self) -> None:
        """Another question goes to a backend."""
        self._questions += 1
        self._show()

    def clear(self) -> None:
        """Make way for what was found."""
        if self._watched:
            self._put("")

    def _show(self) -> None:
        if self._watched and time.monotonic() >= self._next_at:
            self._next_at = time.monotonic() + _PROGRESS_S
            asked = f", {counted(self._questions, 'question')} to the backend" if self._questions else ""
            self._put(self._read + asked)

    def _put(self, line: str) -> None:
        sys.stderr.write(f"\r\x1b[K{line}")
        sys.stderr.flush()
