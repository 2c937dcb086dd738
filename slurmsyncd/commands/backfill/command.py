"""The command ``slurmsyncd backfill``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from slurmsyncd.console.times import format_utc, parse_time
from slurmsyncd.numbers import argument, read_number, read_whole

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from slurmsyncd.commands.backfill.run import BackfillCounts
    from slurmsyncd.config import Config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; imports nothing heavy."""
    add = parser.add_argument
    add(
        "--from",
        dest="since",
        type=argument(_instant),
        required=True,
        metavar="WHEN",
        help="e.g. 90d, 2026-01-31",
    )
    add(
        "--to",
        dest="until",
        type=argument(_instant),
        default="now",
        metavar="WHEN",
        help="likewise (default: now)",
    )
    add("--cluster", metavar="NAME", help="only this one, by Slurm's name")
    add("--dry-run", action="store_true", help="count what would be told, and tell nothing")
    add(
        "--rate",
        type=argument(lambda text: read_number(text, 0.001, 1e9)),
        default=0.0,
        metavar="N",
        help="new runs a minute at most (default: no limit)",
    )
    add(
        "--depth",
        type=argument(lambda text: read_whole(text, 1, 10**9)),
        default=2000,
        metavar="N",
        help="wait while more runs than this wait (2000)",
    )
    parser.epilog = (
        "It can be interrupted and given again: it goes on where it was, and tells nothing twice. "
        "exit status: 0 done; 75 Slurm or the daemon does not answer; 130 interrupted"
    )


def _instant(text: str) -> int:
    """Read an instant; accounting has nothing of the future."""
    now = time.time()
    return int(now if text == "now" else min(now, parse_time(text, now)))


def run(args: argparse.Namespace, read: Callable[[argparse.Namespace], Config]) -> int:
    """Fill in, or count; gives the exit status."""
    import anyio  # noqa: PLC0415 - heavy, and not needed for --help

    from slurmsyncd.commands.backfill.resume_file import ResumeFile  # noqa: PLC0415
    from slurmsyncd.commands.backfill.run import backfill  # noqa: PLC0415
    from slurmsyncd.console.accounting_gaps import unread_span  # noqa: PLC0415
    from slurmsyncd.control.client import connect  # noqa: PLC0415
    from slurmsyncd.errors import ConfigError, SourceUnavailable  # noqa: PLC0415
    from slurmsyncd.logs import configure_logs  # noqa: PLC0415

    config = read(args)
    configure_logs("warning", "auto")
    if args.since >= args.until:
        raise ConfigError([f"--from {format_utc(args.since)}: must be before --to {format_utc(args.until)}"])
    with connect(config) as desk:
        if not (desk.running or args.dry_run):
            raise SourceUnavailable("no daemon runs, and it is the daemon that tells: start it first")
        position = None if args.dry_run else ResumeFile(config.daemon.state_dir, args.since, args.until)
        found = anyio.run(backfill, desk, config, args, position)
        if position is not None:
            position.delete()
    for each in found:
        print(_said(each, dry=args.dry_run))
        for gap in each.unread:
            print(f"{each.cluster}: {unread_span(gap)}")
    return 0


def _said(each: BackfillCounts, *, dry: bool) -> str:
    would = "would be told" if dry else "are being told"
    odd = f"; {each.set_aside:,} records were not understood" if each.set_aside else ""
    return (
        f"{each.cluster}: {each.read:,} runs in accounting, {each.read - each.new:,} known already, "
        f"{each.new:,} {would}; {each.never_started:,} jobs never started{odd}"
    )
