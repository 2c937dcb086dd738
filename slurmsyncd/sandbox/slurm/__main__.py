"""``python -m slurmsyncd.sandbox.slurm``: a cluster to play with, and its faults."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path

import anyio

from slurmsyncd.sandbox.slurm import SHAPES, faults, install
from slurmsyncd.sandbox.slurm.engine import Simulation


def main(argv: list[str] | None = None) -> int:
    """
    Run a simulated cluster until Ctrl-C, or set its faults.

    Returns:
        Exit status: 2 for a fault that does not exist.
    """
    options = _parser().parse_args(argv)
    if options.what == "run":
        return _run(options)
    try:
        return _fault(options)
    except ValueError as err:
        sys.stderr.write(f"{err}\n")
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m slurmsyncd.sandbox.slurm")
    what = parser.add_subparsers(dest="what", required=True)
    run = what.add_parser("run", help="write the commands to DIR/bin and let jobs come and go")
    run.add_argument("directory", type=Path)
    run.add_argument("--shape", choices=SHAPES, default="24.11")
    run.add_argument("--rate", type=float, default=1.0, help="submissions per second")
    run.add_argument("--seed", type=int, default=0)
    run.add_argument("--duration", type=float, default=float("inf"), help="seconds")
    listing = "\n".join(f"  {name:<11}{meaning}" for name, meaning in faults.KINDS.items())
    fault = what.add_parser(
        "fault",
        help="list, set or clear faults",
        epilog=f"faults:\n{listing}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    fault.add_argument("directory", type=Path, help="state directory")
    fault.add_argument("name", nargs="?")
    fault.add_argument("value", nargs="?", default="")
    fault.add_argument("--command", default="", help="only this command")
    fault.add_argument("--clear", action="store_true", help="end it, or without a name all")
    return parser


def _run(options: argparse.Namespace) -> int:
    state = options.directory / "state"
    simulation = Simulation(state, shape=options.shape, seed=options.seed)
    install(options.directory / "bin", state, options.shape)
    sys.stdout.write(f"commands: {options.directory / 'bin'}\n")
    try:
        anyio.run(simulation.run, options.rate, time.time() + options.duration)
    except (KeyboardInterrupt, asyncio.CancelledError):  # the latter before Python 3.11
        pass
    finally:
        simulation.close()
    return 0


def _fault(options: argparse.Namespace) -> int:
    if options.clear and options.name is None:
        faults.clear_faults(options.directory)
    elif options.clear:
        faults.clear_fault(options.directory, options.name, options.command)
    elif options.name is None:
        for name, command, value in faults.list_faults(options.directory):
            sys.stdout.write("  ".join(filter(None, (name, command, value))) + "\n")
    else:
        faults.set_fault(options.directory, options.name, options.value, options.command)
    return 0


if __name__ == "__main__":
    sys.exit(main())
