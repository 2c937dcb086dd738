"""``slurmsyncd status``: shows it once, or until Ctrl-C."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from slurmsyncd.commands.status.view import WINDOWS, show
from slurmsyncd.console.terminal import Colour, Styled, Terminal
from slurmsyncd.control.client import connect
from slurmsyncd.control.health import assess
from slurmsyncd.control.status import GetStatus
from slurmsyncd.control.store_requests import AcknowledgeDataLoss
from slurmsyncd.errors import SlurmsyncdError

if TYPE_CHECKING:
    import argparse

    from slurmsyncd.config import Config
    from slurmsyncd.control.health import Health
    from slurmsyncd.control.status import Status

#: Without a daemon we open its store: not so often that one that is started finds it taken.
STOPPED_S = 5.0


def run(args: argparse.Namespace, config: Config) -> int:
    """Show it; gives the exit status."""
    terminal = Terminal()
    draw = _draw_json if args.json else show
    if args.acknowledge:
        with connect(config) as desk:
            desk.ask(AcknowledgeDataLoss())
    status, verdict = _look(config)
    if args.watch is None:
        draw(status, verdict, terminal)
        return verdict.level
    with suppress(KeyboardInterrupt):
        while True:
            with terminal.redraw():
                draw(status, verdict, terminal)
            time.sleep(args.watch if status.live else max(args.watch, STOPPED_S))
            status, verdict = _look_again(config, terminal)
    return verdict.level


def _look_again(config: Config, terminal: Terminal) -> tuple[Status, Health]:
    """Look until somebody answers: whoever watches a restart wants to see its end."""
    while True:
        try:
            return _look(config)
        except SlurmsyncdError as err:
            with terminal.redraw():
                terminal.print_line(Styled(str(err), Colour.BAD))
            time.sleep(STOPPED_S)


def _look(config: Config) -> tuple[Status, Health]:
    with connect(config) as desk:
        status = desk.ask(GetStatus(minutes=max(WINDOWS)))
    return status, assess(status)


def _draw_json(status: Status, verdict: Health, terminal: Terminal) -> None:
    said = {"level": verdict.level.name.lower(), "problems": verdict.problems}
    terminal.json({"verdict": said, "now": status.now, "totals": status.totals, "live": status.live})
