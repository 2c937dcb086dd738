"""The options of the operator's commands; imports nothing heavy."""

from __future__ import annotations

import argparse
import re
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from slurmsyncd.numbers import argument, read_id, read_number

if TYPE_CHECKING:
    from collections.abc import Callable

    from slurmsyncd.config import Config

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - has no public name
    Declare = Callable[[argparse.ArgumentParser], None]
    Read = Callable[[argparse.Namespace], Config]
    Run = Callable[[argparse.Namespace], int]

#: Where each command works; loaded only when it runs.
_MODULES: Final = {
    "status": "slurmsyncd.commands.status.run",
    "job": "slurmsyncd.commands.job.run",
    "deadletters": "slurmsyncd.commands.deadletters.run",
    "events": "slurmsyncd.commands.events.run",
}

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
        parser.set_defaults(run=_runner(_MODULES[name], read))
        return parser

    _add_status(add)
    _add_job(add)
    _add_deadletters(commands, add_config_options, read)
    _add_events(add)


def _runner(module: str, read: Read) -> Run:
    def run(args: argparse.Namespace) -> int:
        command: Any = import_module(module)
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
        type=argument(lambda text: read_number(text, LEAST_S, MOST_S)),
        const=WATCH_S,
        metavar="SECONDS",
        help="show it again and again (every %(const)g s)",
    )
    parser.add_argument(
        "--acknowledge",
        action="store_true",
        help="you know that something written down was lost: do not say so any more",
    )


_JOB = """\
Array tasks and components of heterogeneous jobs have raw ids of their own: `squeue -O JobID,JobArrayID` and
`sacct -o JobIDRaw,JobID` give them; with --slurm, slurmsyncd asks for you.

exit status: 0 something is known of it; 1 nothing is known of it

examples:
  slurmsyncd job 4711
  slurmsyncd job 4711_3 --slurm
  slurmsyncd job 4711 --json | jq .jobs[0].runs
"""


def _add_job(add: Callable[[str, str, str, str], argparse.ArgumentParser]) -> None:
    parser = add(
        "job",
        "the story of one job: what was seen, what was sent, what comes next",
        "Tells all that is known of a job's runs: when and how each was seen, what was captured of it,\n"
        "what was sent to whom, each attempt and what came of it, what happens next; and if nothing was\n"
        "sent, why not.",
        _JOB,
    )
    parser.add_argument("id", type=_job, metavar="ID", help="job id; also 123_4 or 123+1")
    parser.add_argument("--slurm", action="store_true", help="also ask Slurm what it says now")
    parser.add_argument("--json", action="store_true", help="one line of JSON, for scripts")


def _job(text: str) -> str:
    if not _JOB_ID.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text[:60]!r} is no job id; expected 123, 123_4 or 123+1")
    return text


_JOB_ID = re.compile(r"[0-9]{1,18}([_+][0-9]{1,10})?", re.ASCII)

_EVENTS = """\
Node states are not shown. What a terminal would act on is escaped; --json has every field of an event.

exit status: 130 after Ctrl-C; 78 no sink of the configuration publishes events

examples:
  slurmsyncd events
  slurmsyncd events --since 1d --user ada
  slurmsyncd events --json | jq -r 'select(.kind == "stop") | .run.state'
"""


def _add_events(add: Callable[[str, str, str, str], argparse.ArgumentParser]) -> None:
    parser = add(
        "events",
        "starts and stops on NATS, as they come",
        'Prints the events that a sink of type = "nats" publishes, one line each, until Ctrl-C.',
        _EVENTS,
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON each, for scripts")
    parser.add_argument(
        "--since", type=_age, metavar="AGE", help="begin so far back, e.g. 1h, 7d; wants a JetStream sink"
    )
    parser.add_argument("--cluster", metavar="NAME", help="only this cluster's")
    parser.add_argument("--user", metavar="NAME", help="only this user's")
    parser.add_argument(
        "--from", dest="source", metavar="SINK", help="the sink whose events (default: first)"
    )


_DEADLETTERS = """\
What a sink will never take (dead), takes only after somebody has changed something there (parked), or was
given up by you or left out by the requeue policy (dropped). retry and drop speak of dead and parked ones;
retry --state dropped sends what the policy left out. What you gave up stays dropped.

examples:
  slurmsyncd deadletters list
  slurmsyncd deadletters list --state parked --sink cc
  slurmsyncd deadletters show 17                    a letter's number, or a job id
  slurmsyncd deadletters retry --reason no_subcluster
  slurmsyncd deadletters drop --reason http_400 --older-than 2d --yes
"""


def _add_deadletters(commands: Commands, add_config_options: Declare, read: Read) -> None:
    parser = commands.add_parser(
        "deadletters",
        help="what sinks do not take, by reason; try it again, or give it up",
        description="Lists what sinks do not take, tries it again, or gives it up.",
        epilog=_DEADLETTERS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION", dest="action")
    listed = actions.add_parser("list", help="count them by reason, with an example each")
    _add_selectors(listed, default="dead", dropped=True)
    listed.add_argument("--json", action="store_true", help="one line of JSON, for scripts")
    shown = actions.add_parser("show", help="all that is known of one")
    shown.add_argument("id", type=argument(read_id), metavar="ID", help="a letter's number, or a job id")
    shown.add_argument("--json", action="store_true", help="one line of JSON, for scripts")
    retried = actions.add_parser("retry", help="try them again at once, as if for the first time")
    dropped = actions.add_parser("drop", help="give them up: the sink will never be told")
    dropped.add_argument("--yes", action="store_true", help="do not ask")
    for each in (retried, dropped):
        each.add_argument("ids", type=argument(read_id), nargs="*", metavar="ID", help="numbers of letters")
        each.add_argument("--all", action="store_true", help="all of them")
        _add_selectors(each, default=None, dropped=each is retried)
    for each in (listed, shown, retried, dropped):
        add_config_options(each)
        each.set_defaults(run=_selected(_runner(_MODULES["deadletters"], read), each))


def _add_selectors(parser: argparse.ArgumentParser, *, default: str | None, dropped: bool) -> None:
    add = parser.add_argument
    states = ("dead", "parked", "dropped") if dropped else ("dead", "parked")
    add("--sink", metavar="NAME", help="only this sink's")
    add("--reason", metavar="REASON", help="only those with this reason")
    add("--job", type=argument(read_id), metavar="ID", help="only those of this job")
    add(
        "--older-than",
        type=_age,
        metavar="AGE",
        help="only those that failed first so long ago, e.g. 2d, 12h",
    )
    add(
        "--state",
        choices=states,
        default=default,
        help=f"only those (default: {default or 'dead and parked'})",
    )


def _selected(run: Run, parser: argparse.ArgumentParser) -> Run:
    """Refuse to retry or drop what nobody has chosen."""

    def checked(args: argparse.Namespace) -> int:
        chosen = (
            getattr(args, name, None) for name in ("ids", "sink", "reason", "job", "older_than", "state")
        )
        if args.action in ("retry", "drop") and not args.all and not any(map(_given, chosen)):
            parser.error("say which: their numbers, --reason, --sink, --job, --older-than, --state, or --all")
        return run(args)

    return checked


def _given(value: object) -> bool:
    return value is not None and value != []


_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}


def _age(text: str) -> float:
    """Read a span as 90s, 30m, 12h, 2d or 1w."""
    found = re.fullmatch(r"([0-9]{1,9})([smhdw])", text, re.ASCII)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text[:60]!r} is no age; expected 90s, 30m, 12h, 2d or 1w")
    return int(found[1]) * _UNITS[found[2]]
