"""``slurmsyncd verify``: prove that every run of Slurm's has reached the sinks, and send what has not."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from slurmsyncd.config import DEFAULT_FILE
from slurmsyncd.console.times import parse_time
from slurmsyncd.numbers import argument

if TYPE_CHECKING:
    import argparse

_MISSING, _AGAIN = 1, 75


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; imports nothing heavy."""
    add = parser.add_argument
    add(
        "--since",
        type=argument(_instant),
        default="7d",
        metavar="WHEN",
        help="a span (7d, 36h, 90min), a date (UTC) or epoch seconds",
    )
    add("--until", type=argument(_instant), metavar="WHEN", help="likewise (default: now, and what runs now)")
    add("--cluster", metavar="NAME", help="only this one, by Slurm's name")
    add("--sink", metavar="NAME", help="only this one")
    add("--backend", action="store_true", help="ask the backend itself, too: up to a question for each run")
    add("--repair", action="store_true", help="have written down and sent what is missing")
    add("--all", action="store_true", help="list all runs that are missing")
    add("--json", action="store_true", help="print one JSON document")
    add("--config", type=Path, metavar="FILE", help=f"settings (default: {DEFAULT_FILE})")
    add("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings", help="override a setting")
    parser.epilog = (
        "exit status: 0 nothing is missing (what waits, is parked or dead is not missing); 1 something is, "
        "with --repair something still is, or a span of accounting cannot be read; 75 Slurm, the daemon or "
        "the backend does not answer"
    )


def _instant(text: str) -> int:
    return parse_time(text, time.time())


def run(args: argparse.Namespace) -> int:
    """Check, perhaps repair, and print; gives the exit status."""
    import os  # noqa: PLC0415
    import sys  # noqa: PLC0415

    import anyio  # noqa: PLC0415 - heavy, and not needed for --help

    from slurmsyncd.commands.verify.run import print_report, verify  # noqa: PLC0415
    from slurmsyncd.config import read_config  # noqa: PLC0415
    from slurmsyncd.errors import SlurmsyncdError  # noqa: PLC0415
    from slurmsyncd.logs import configure_logs  # noqa: PLC0415

    config = read_config(args.config or DEFAULT_FILE, os.environ, args.settings)
    configure_logs("warning", "auto")
    try:
        report = anyio.run(verify, config, args)
    except SlurmsyncdError as err:
        if type(err) is not SlurmsyncdError:
            raise
        # The daemon does not answer; 1 would say that something is missing.
        print(f"slurmsyncd: {err}", file=sys.stderr)
        return _AGAIN
    print_report(report, json=args.json)
    return 0 if report.complete else _MISSING
