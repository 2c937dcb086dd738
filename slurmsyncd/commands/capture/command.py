"""``slurmsyncd fixtures capture DIR``: record and anonymise what this Slurm prints, for the tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from slurmsyncd.config import DEFAULT_FILE
from slurmsyncd.numbers import argument, read_whole

if TYPE_CHECKING:
    import argparse

YEAR_S = 366 * 86400


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; imports nothing heavy."""
    inner = parser.add_subparsers(required=True, metavar="COMMAND")
    capture = inner.add_parser(
        "capture",
        help="record what this Slurm prints, anonymised",
        description="Asks Slurm what the daemon asks (a dozen commands, none of which changes anything) and "
        "writes the answers to DIR/RELEASE. Below tests/data/slurm of the sources that is a test case.",
    )
    add = capture.add_argument
    add("directory", type=Path, metavar="DIR", help="where the directory of the release is made")
    add("--config", type=Path, metavar="FILE", help=f"settings (default: {DEFAULT_FILE}, if there is one)")
    add("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings", help="override a setting")
    add("--bin-dir", metavar="DIR", help="where Slurm's commands are (slurm.bin_dir)")
    add("--slurm-conf", metavar="FILE", help="SLURM_CONF of the cluster (default: the only one configured)")
    add(
        "--since",
        type=argument(lambda text: read_whole(text, 0, YEAR_S)),
        default=3600,
        metavar="S",
        help="seconds of accounting to record (%(default)s)",
    )
    add(
        "--jobs",
        type=argument(lambda text: read_whole(text, 1, 10**6)),
        default=200,
        metavar="N",
        help="jobs and nodes recorded at most (%(default)s)",
    )
    add("--moment", default="running", metavar="WORD", help="how the files' names begin (%(default)s)")
    add("--shift", action="store_true", help="move all times by the same random weeks, all job ids alike")
    add("--raw", action="store_true", help="do NOT anonymise: names, paths and comments stay as they are")


def run(args: argparse.Namespace) -> int:
    """Record, anonymise, check and write; gives the exit status."""
    import sys  # noqa: PLC0415
    from random import SystemRandom  # noqa: PLC0415

    import anyio  # noqa: PLC0415 - heavy, and not needed for --help

    from slurmsyncd.commands.capture.capture import anonymise_capture, capture  # noqa: PLC0415
    from slurmsyncd.commands.capture.writer import write  # noqa: PLC0415
    from slurmsyncd.logs import configure_logs  # noqa: PLC0415

    config, slurm_conf = _settings(args)
    configure_logs("warning", "auto")
    found = anyio.run(
        lambda: capture(config, slurm_conf, since_s=args.since, limit=args.jobs, moment=args.moment)
    )
    if args.raw:
        print("warning: --raw: users, hosts, paths and comments are recorded as they are", file=sys.stderr)
    else:
        found = anonymise_capture(found, SystemRandom(), shift=args.shift)
    place = write(args.directory, found, raw=args.raw)
    print(f"recorded {found.jobs} jobs of Slurm {found.release} in {place}")
    if not args.raw:
        print("names, paths and texts are replaced and checked; look through it before you give it away")
    return 0


def _settings(args: argparse.Namespace) -> tuple[SlurmConfig, str]:
    """Return how to run Slurm's commands, and its SLURM_CONF."""
    import os  # noqa: PLC0415

    from slurmsyncd.config import read_config  # noqa: PLC0415

    settings = list(args.settings)
    if args.bin_dir:
        settings.append(f"slurm.bin_dir={args.bin_dir}")
    config = read_config(
        args.config or (DEFAULT_FILE if DEFAULT_FILE.exists() else None), os.environ, settings
    )
    clusters = list(config.clusters.values())
    return config.slurm, args.slurm_conf or (clusters[0].slurm_conf if len(clusters) == 1 else "")


if TYPE_CHECKING:
    from slurmsyncd.config import SlurmConfig
