"""The commands. Errors become one line each and an exit status; no traceback reaches an operator."""

from __future__ import annotations

import os
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from slurmsyncd import __version__
from slurmsyncd.commands.completion import command as completion
from slurmsyncd.commands.man import command as man
from slurmsyncd.console import options as operator
from slurmsyncd.console.examples import add_examples
from slurmsyncd.console.parser import ArgumentParser
from slurmsyncd.errors import AlreadyRunning, ConfigError, SlurmsyncdError, SourceUnavailable, StoreError
from slurmsyncd.host.journal import is_journal, with_priority

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence

    from slurmsyncd.config import Config
    from slurmsyncd.config.load import RawConfig

#: Exit statuses, after sysexits.h where it has a word for it.
EXIT_INTERRUPTED = 130
EXIT_BUG, EXIT_CLOCK, EXIT_STATE, EXIT_AGAIN, EXIT_CONFIG = 70, 71, 74, 75, 78
_STATUSES: tuple[tuple[type[SlurmsyncdError], int], ...] = (
    (ConfigError, EXIT_CONFIG),
    (AlreadyRunning, EXIT_AGAIN),
    (SourceUnavailable, EXIT_AGAIN),
    (StoreError, EXIT_STATE),
)


def main(arguments: Sequence[str]) -> int:
    """
    Run one command.

    Returns:
        0, or what ``slurmsyncd --help`` says of exit statuses.
    """
    try:
        args = _parser(arguments[:1]).parse_args(arguments)
        run: Callable[[argparse.Namespace], int] = args.run
        status = run(args)
        print(end="", flush=True)  # here a reader that has gone is caught, at the interpreter's end it is not
        return status  # noqa: TRY300 - both belong together
    except BrokenPipeError:
        # The reader of our output has gone; what is left of it must not fail once more at the very end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except BaseException as err:  # noqa: BLE001 - the one place where every error ends
        return EXIT_INTERRUPTED if _is_interrupt(err) else _report(err)


def _is_interrupt(err: BaseException) -> bool:
    """Return whether Ctrl-C ended the command; before Python 3.11 it ends anyio.run() with a cancellation."""
    from asyncio import CancelledError  # noqa: PLC0415 - most commands do without

    return isinstance(err, (KeyboardInterrupt, CancelledError))


def _report(err: BaseException) -> int:
    """Return what went wrong, a line each; an error that we have no name for is a bug and shows its place."""
    if isinstance(err, SystemExit):
        raise err
    found = list(_leaves(err))
    for leaf in found:
        if isinstance(leaf, OverflowError) and not _clock_is_usable():
            _print_error("slurmsyncd: the clock of this host is later than 2262-04-11; set it")
            return EXIT_CLOCK
        if not isinstance(leaf, SlurmsyncdError):
            _print_error("".join(traceback.format_exception(leaf)).rstrip())
            _print_error("slurmsyncd: this is a bug; please report it with the lines above")
            return EXIT_BUG
        lines = leaf.problems if isinstance(leaf, ConfigError) else (str(leaf),)
        for line in lines:
            _print_error(f"slurmsyncd: {line}")
    return next((status for kind, status in _STATUSES if isinstance(found[0], kind)), 1)


def _print_error(text: str) -> None:
    print(with_priority(text, "error") if is_journal(sys.stderr) else text, file=sys.stderr)


def _clock_is_usable() -> bool:
    try:
        time.time()
    except OverflowError:
        return False
    return True


def _leaves(err: BaseException) -> Iterator[BaseException]:
    """Return the errors within a group of them, or the one error."""
    inner = getattr(err, "exceptions", None)
    if inner is None:
        yield err
        return
    for each in inner:
        yield from _leaves(each)


def _parser(wanted: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Declare the commands; ``run`` alone where it is wanted: the daemon keeps what the others load."""
    parser: argparse.ArgumentParser = ArgumentParser(
        prog="slurmsyncd",
        description="Pushes Slurm accounting to ClusterCockpit's cc-backend: nothing lost, nothing twice.",
        epilog="exit status: 0 done; 2 wrong usage; 70 a bug; 71 the clock cannot be used; "
        "74 the state on disk cannot be used; "
        "75 try again later (Slurm, the backend or another slurmsyncd is in the way); "
        "78 the configuration is wrong",
    )
    parser.add_argument("--version", action="version", version=f"slurmsyncd {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_run(commands)
    if [*wanted] != ["run"]:
        _add_others(commands)
    add_examples(parser)
    return parser


if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - has no public name


def _add_others(commands: Commands) -> None:
    _add_config(commands)
    _add_check(commands)
    operator.add_commands(commands, _add_config_options, read)
    _add_notify(commands)
    _add_backend(commands)
    _add_demo(commands)
    _add_fixtures(commands)
    _add_verify(commands)
    _add_backfill(commands)
    _add_relay(commands)
    man.add_command(commands, _parser)
    completion.add_command(commands, _parser)


def _add_config_options(parser: argparse.ArgumentParser) -> None:
    from slurmsyncd.config import DEFAULT_FILE  # noqa: PLC0415 - only where it is needed

    parser.add_argument(
        "--config", type=Path, default=None, metavar="FILE", help=f"settings (default: {DEFAULT_FILE})"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="settings",
        help="override one setting, e.g. --set daemon.poll_interval=30",
    )


def _add_run(commands: Commands) -> None:
    parser = commands.add_parser(
        "run", help="run the daemon", description="Runs the daemon in the foreground, until SIGTERM."
    )
    _add_config_options(parser)
    parser.add_argument(
        "--once", action="store_true", help="one look at Slurm, send what is due, and say how it went"
    )
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"))
    parser.add_argument("--log-format", choices=("auto", "console", "json"))
    parser.set_defaults(run=_run)


def _add_config(commands: Commands) -> None:
    from slurmsyncd.commands.config import command  # noqa: PLC0415 - the daemon shall not load it

    parser = commands.add_parser("config", help="check, show, write or import the configuration")
    inner = parser.add_subparsers(required=True, metavar="COMMAND")
    command.add_commands(inner, _add_config_options, _read_tree)


def _add_check(commands: Commands) -> None:
    parser = commands.add_parser(
        "check",
        help="walk the whole path from Slurm to the backend, and say what is wrong and how to mend it",
    )
    _add_config_options(parser)
    parser.add_argument("--json", action="store_true", help="one JSON document, for scripts")
    parser.set_defaults(run=_check)


def _check(args: argparse.Namespace) -> int:
    from slurmsyncd.commands.check import run as command  # noqa: PLC0415 - the daemon shall not load it

    return command.run(args, read)


def _add_notify(commands: Commands) -> None:
    # Never reached from the console script, which takes a shorter way (see __main__).
    parser = commands.add_parser(
        "notify", help="tell the daemon of a job, from a hook; exits 0 whatever happens"
    )
    parser.add_argument("--socket", metavar="ADDR", help="unix:/path, tcp:host:port or tcp:[::1]:port")
    parser.add_argument("--secret-file", metavar="FILE", help="what a tcp hint must carry")
    parser.add_argument("--context", metavar="WORD", help="prolog, epilog or test")
    parser.add_argument("--job-id", metavar="N", help="raw job id")
    parser.add_argument("--cluster", metavar="NAME", help="Slurm's name of the cluster")
    parser.add_argument("--verbose", action="store_true", help="say on stderr what became of the hint")


def _add_backend(commands: Commands) -> None:
    from slurmsyncd.commands.backend import command  # noqa: PLC0415 - the daemon shall not load the backend

    parser = commands.add_parser(
        "backend", help="run the embedded backend: cc-backend's job API on SQLite, with a page to look at"
    )
    command.add_arguments(parser)
    parser.set_defaults(run=command.run)


def _add_demo(commands: Commands) -> None:
    from slurmsyncd.commands.demo import command  # noqa: PLC0415 - the daemon shall not load the demo

    parser = commands.add_parser(
        "demo", help="watch it work: a simulated cluster, the real daemon and the embedded backend"
    )
    command.add_arguments(parser)
    parser.set_defaults(run=command.run)


def _add_fixtures(commands: Commands) -> None:
    from slurmsyncd.commands.capture import command  # noqa: PLC0415 - the daemon shall not load it

    parser = commands.add_parser("fixtures", help="record what this Slurm prints, as a test case")
    command.add_arguments(parser)
    parser.set_defaults(run=command.run)


def _add_backfill(commands: Commands) -> None:
    from slurmsyncd.commands.backfill import command  # noqa: PLC0415 - the daemon shall not load it

    parser = commands.add_parser("backfill", help="have old runs of accounting told, behind the live ones")
    _add_config_options(parser)
    command.add_arguments(parser)
    parser.set_defaults(run=lambda args: command.run(args, read))


def _add_relay(commands: Commands) -> None:
    from slurmsyncd.commands.relay import command  # noqa: PLC0415 - the daemon shall not load it

    parser = commands.add_parser(
        "relay", help="deliver the events of a JetStream stream to a REST backend, until SIGTERM"
    )
    _add_config_options(parser)
    command.add_arguments(parser)
    parser.set_defaults(run=lambda args: command.run(args, read))


def _add_verify(commands: Commands) -> None:
    from slurmsyncd.commands.verify import command  # noqa: PLC0415 - the daemon shall not load it

    parser = commands.add_parser("verify", help="prove that every run of Slurm's has reached the sinks")
    command.add_arguments(parser)
    parser.set_defaults(run=command.run)


def read(args: argparse.Namespace) -> Config:
    """
    Read the configuration that a command was given.

    Raises:
        ConfigError: With all mistakes.
    """
    from slurmsyncd.config import load_config  # noqa: PLC0415 - only where it is needed

    tree = _read_tree(args)
    return load_config(tree.values, tree.problems)


def _read_tree(args: argparse.Namespace) -> RawConfig:
    """Read what is set, for a command that also says where."""
    from slurmsyncd.config import DEFAULT_FILE  # noqa: PLC0415 - only where it is needed
    from slurmsyncd.config.load import read_raw  # noqa: PLC0415 - only where it is needed

    settings = list(args.settings)
    chosen = ((key, getattr(args, key, None)) for key in ("log_level", "log_format"))
    settings.extend(f"daemon.{key}={value}" for key, value in chosen if value)
    return read_raw(args.config or DEFAULT_FILE, os.environ, settings)


def _run(args: argparse.Namespace) -> int:
    import anyio  # noqa: PLC0415 - the other commands do without

    from slurmsyncd import daemon  # noqa: PLC0415
    from slurmsyncd.logs import configure_logs  # noqa: PLC0415

    config = read(args)
    configure_logs(config.daemon.log_level, config.daemon.log_format)
    if args.once:
        return anyio.run(daemon.run_once, config)
    anyio.run(daemon.run_daemon, config, lambda: read(args))
    return 0
