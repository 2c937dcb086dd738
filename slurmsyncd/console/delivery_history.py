"""The failed attempts of a delivery, as the commands `job` and `deadletters` show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurmsyncd.text import cut, when

if TYPE_CHECKING:
    from slurmsyncd.console.terminal import Terminal
    from slurmsyncd.store.queries import Delivery


def show_history(delivery: Delivery, now: float, terminal: Terminal, *, indent: int = 2) -> None:
    """Show the failed attempts, and what the audit found."""
    if delivery.history:
        terminal.print_line("what went wrong with it, the last times:", indent=indent)
        rows = [
            (when(at, now), step, reason, cut(detail, 200)) for at, step, reason, detail in delivery.history
        ]
        terminal.table(rows, indent=indent + 2)
