"""The options of the operator's commands; imports nothing heavy."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from slurmsyncd.config import Config

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - has no public name
    Declare = Callable[[argparse.ArgumentParser], None]
    Read = Callable[[argparse.Namespace], Config]

#: Seconds between two drawings of `status --watch`; and the least and the most.
WATCH_S, LEAST_S, MOST_S = 2.0, 0.2, 86400.0


def add_commands(commands: Commands, add_config_options: Declare, read: Read) -> None:
    """
    Add the operator's commands.

    Args:
        commands: Where to.
        add_config_options: Declares the options by which a command finds its configuration.
        read: Reads it.
    """

    def add(name: str, help_: str, description: str, epilog: str) -> argparse.ArgumentParser:
        parser = commands.add_parser(
            name,
            help=help_,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_config_options(parser)
        parser.set_defaults(run=_runner(name, read))
        return parser

    _add_status(add)


def _runner(module: str, read: Read) -> Callable[[argparse.Namespace], int]:
    def run(args: argparse.Namespace) -> int:
        command: Any = import_module(f"slurmsyncd.operator.{module}")
        status: int = command.run(args, read(args))
        return status

    return run


_STATUS = """\
exit status:
  0  it runs, and all is well
  1  it runs, and something needs a look: Slurm or a sink does not answer, runs are parked, some were given
     up within the last day, or something written down was lost and nobody has acknowledged it
  3  no daemon runs; what is shown is what it has written down

examples:
  slurmsyncd status
  slurmsyncd status --watch              draw it again every 2 s, until Ctrl-C
  slurmsyncd status --json | jq .verdict
"""


def _add_status(add: Callable[[str, str, str, str], argparse.ArgumentParser]) -> None:
    parser = add(
        "status",
        "how the running daemon is doing, and what to do if not well",
        "Says how the daemon is doing: whether all is well, and if not what to do; then the details.",
        _STATUS,
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON, for scripts")
    parser.add_argument(
        "--watch",
        nargs="?",
        type=_interval,
        const=WATCH_S,
        metavar="SECONDS",
        help="show it again and again (every %(const)s s)",
    )
    parser.add_argument(
        "--acknowledge",
        action="store_true",
        help="you know that something written down was lost: do not say so any more",
    )


def _interval(text: str) -> float:
    """Read an interval."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not LEAST_S <= seconds <= MOST_S:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of seconds from {LEAST_S} to {MOST_S:.0f}"
        )
    return seconds
