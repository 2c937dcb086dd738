"""``slurmsyncd deadletters``: what sinks do not take, by reason; try it again, or give it up."""

from __future__ import annotations

import difflib
import sys
import time
from typing import TYPE_CHECKING

import anyio

from slurmsyncd.commands.deadletters.view import show_groups, show_letters
from slurmsyncd.console.ask_slurm import accounting_of
from slurmsyncd.console.terminal import Terminal
from slurmsyncd.control.client import connect
from slurmsyncd.control.delivery_requests import (
    GroupDeliveries,
    ListDeliveryIds,
    ListRunsWithoutBody,
    RestoreBodies,
)
from slurmsyncd.control.store_requests import DropDeliveries, GetTotals, ListDeliveries, RetryDeliveries
from slurmsyncd.errors import SlurmsyncdError, SourceError
from slurmsyncd.store.queries import DeliverySelection
from slurmsyncd.text import counted

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from slurmsyncd.config import Config
    from slurmsyncd.control.client import ControlClient
    from slurmsyncd.model import RunKey
    from slurmsyncd.store.queries import Delivery, DeliveryGroup

#: Deliveries moved by one request: the store is for others, too.
AT_ONCE = 1000
#: Records that are sent to the daemon at once; one on many nodes has a long list of them.
RECORDED = 50
#: Of one job, or named one by one, not more are shown.
SHOWN = 500


def run(args: argparse.Namespace, config: Config) -> int:
    """Do what was asked; gives the exit status."""
    terminal = Terminal()
    if args.action == "retry":
        _read_again(config, args, terminal)
    with connect(config) as desk:
        if getattr(args, "sink", None):
            _check_sink(desk, args.sink)
        action = {"list": _list, "show": _show, "retry": _retry, "drop": _drop}[args.action]
        return action(desk, args, terminal)


def _read_again(config: Config, args: argparse.Namespace, terminal: Terminal) -> None:
    """Have the records that the store lacks read from accounting. The store is not held meanwhile."""
    with connect(config) as desk:
        bare = set(_bare(desk, _chosen(desk, args, ("dead", "parked"))).values())
    if not bare:
        return
    try:
        found = anyio.run(accounting_of, bare, config)
    except SourceError as err:
        terminal.print_line(f"{counted(len(bare), 'record')} cannot be read from Slurm again: {err}")
        return
    with connect(config) as desk:
        done = sum(
            desk.ask(RestoreBodies(cluster=cluster, jobs=jobs[at : at + RECORDED]))
            for cluster, jobs in found.items()
            for at in range(0, len(jobs), RECORDED)
        )
    terminal.print_line(f"{counted(done, 'record')} of {len(bare)} read from Slurm's accounting again")


def _bare(desk: ControlClient, ids: Sequence[int]) -> dict[int, RunKey]:
    """Return the run of each delivery that has no sound record."""
    batches = (tuple(ids[at : at + AT_ONCE]) for at in range(0, len(ids), AT_ONCE))
    return dict(pair for batch in batches for pair in desk.ask(ListRunsWithoutBody(batch)))


def _check_sink(desk: ControlClient, name: str) -> None:
    names = list(desk.ask(GetTotals()).sinks)
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        meant = f"; did you mean {near[0]}?" if near else f"; there are: {', '.join(names)}"
        raise SlurmsyncdError(f"--sink {name}: no such sink{meant}")


def _list(desk: ControlClient, args: argparse.Namespace, terminal: Terminal) -> int:
    groups = desk.ask(GroupDeliveries(_selection(args, args.state)))
    examples = _examples(desk, groups)
    if args.json:
        terminal.json(
            {"groups": [{"group": group, "example": examples.get(group.example)} for group in groups]}
        )
    else:
        show_groups(groups, examples, args.state, time.time(), terminal)
    return 0


def _examples(desk: ControlClient, groups: Sequence[DeliveryGroup]) -> dict[int, Delivery]:
    ids = tuple(group.example for group in groups[:SHOWN])
    found = desk.ask(ListDeliveries(DeliverySelection(ids=ids))) if ids else ()
    return {letter.id: letter for letter in found}


def _show(desk: ControlClient, args: argparse.Namespace, terminal: Terminal) -> int:
    found = {letter.id: letter for letter in desk.ask(ListDeliveries(DeliverySelection(ids=(args.id,))))}
    of_job = desk.ask(ListDeliveries(DeliverySelection(job_id=args.id), limit=SHOWN))
    found |= {letter.id: letter for letter in of_job if letter.state in ("dead", "parked", "dropped")}
    if args.json:
        terminal.json({"letters": list(found.values())})
    else:
        show_letters(list(found.values()), args.id, time.time(), terminal)
    return 0 if found else 1


def _retry(desk: ControlClient, args: argparse.Namespace, terminal: Terminal) -> int:
    chosen = _chosen(desk, args, ("dead", "parked"))
    bare = _bare(desk, chosen)
    ids = tuple(id_ for id_ in chosen if id_ not in bare)
    if bare:
        terminal.print_line(
            f"left as they are, without a record: {counted(len(bare), 'delivery', 'deliveries')}"
        )
    done = sum(desk.ask(RetryDeliveries(ids[at : at + AT_ONCE])) for at in range(0, len(ids), AT_ONCE))
    when = "" if desk.running else ", once the daemon runs"
    terminal.print_line(f"{counted(done, 'delivery', 'deliveries')} will be tried again{when or ' at once'}")
    return 0 if done else 1


def _drop(desk: ControlClient, args: argparse.Namespace, terminal: Terminal) -> int:
    ids = _chosen(desk, args, ("dead", "parked"))
    what = counted(len(ids), "delivery", "deliveries")
    if not ids:
        terminal.print_line("nothing matches: nothing was given up")
        return 1
    if not args.yes and not _confirmed(f"give up {what} for good? The sinks will never be told. [y/N] "):
        terminal.print_line("nothing was given up")
        return 1
    done = sum(desk.ask(DropDeliveries(ids[at : at + AT_ONCE])) for at in range(0, len(ids), AT_ONCE))
    terminal.print_line(f"gave up {counted(done, 'delivery', 'deliveries')}")
    return 0


def _confirmed(question: str) -> bool:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise SlurmsyncdError(
            "drop: nobody can be asked here; give --yes, or look with `deadletters list` first"
        )
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _chosen(desk: ControlClient, args: argparse.Namespace, states: Sequence[str]) -> tuple[int, ...]:
    wanted = (args.state,) if args.state else states
    return tuple(id_ for state in wanted for id_ in desk.ask(ListDeliveryIds(_selection(args, state))))


def _selection(args: argparse.Namespace, state: str | None) -> DeliverySelection:
    return DeliverySelection(
        sink=args.sink,
        state=state,
        reason=args.reason,
        job_id=args.job,
        since_before=None if args.older_than is None else time.time() - args.older_than,
        ids=tuple(getattr(args, "ids", ())),
    )
