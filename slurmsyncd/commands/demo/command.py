"""``slurmsyncd demo``: watch jobs start, run, end, be requeued, and arrive in the backend's page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from slurmsyncd.numbers import argument, read_id, read_number

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; imports nothing heavy."""
    add = parser.add_argument
    add(
        "--duration",
        type=argument(lambda text: read_number(text, 0.1, 1e9)),
        metavar="S",
        help="end by itself; exit 0 only if no run is lost",
    )
    add(
        "--listen",
        default="127.0.0.1:8080",
        metavar="ADDRESS",
        help="of the page (%(default)s; if taken, another port)",
    )
    add(
        "--rate",
        type=argument(lambda text: read_number(text, 0.001, 1000.0)),
        default=1.0,
        metavar="N",
        help="jobs submitted a second (%(default)s)",
    )
    add(
        "--release",
        choices=("22.05", "24.11", "26.05"),
        default="24.11",
        help="Slurm to simulate (%(default)s)",
    )
    add("--seed", type=argument(read_id), metavar="N", help="the same jobs again")
    add("--real", action="store_true", help="take the Slurm of this host; nothing is submitted to it")
    add("--keep", type=Path, metavar="DIR", help="keep all files there (default: a temporary directory)")


def run(args: argparse.Namespace) -> int:
    """Run the demonstration until Ctrl-C or for its duration; gives the exit status."""
    from slurmsyncd.logs import configure_logs  # noqa: PLC0415
    from slurmsyncd.sandbox.demo.run import show  # noqa: PLC0415 - heavy, and not needed for --help

    configure_logs("warning", "auto")
    return show(args)
