"""How the status looks in cases that a test with a real daemon does not come to."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest

from slurmsyncd.commands.status.view import show
from slurmsyncd.console.terminal import Terminal
from slurmsyncd.control.health import assess
from slurmsyncd.control.status import CommandCost, HookStatus, Status
from slurmsyncd.control.store_requests import SinkTotals
from slurmsyncd.pipeline.minute_counters import Minute
from slurmsyncd.text import width
from tests.unit.control.test_verdict import NOW, sink, source, status

BUSY: dict[str, Any] = {
    "sources": (
        source(cluster="alpha", starts=1_234_567, rechecks=2, incomplete=3, never_started=4, set_aside=5),
        source(cluster="beta", unavailable="sacct failed", unavailable_since=NOW - 9, partly=True),
    ),
    "sinks": (
        sink(told={"start": 12, "stop": 1}, in_hand={"start": 3, "stop": 1}),
        sink(name="nats", trouble="unreachable", pause_s=17.0),
    ),
    "hook": HookStatus(received=9, accepted=6, refused={"uid": 3}, accepted_at=NOW - 4),
    "minutes": (Minute(int(NOW) - 240, {"starts": 7}), Minute(int(NOW) - 600, {"starts": 5})),
}


def lines(shown: Status, columns: int | None = None) -> list[str]:
    """Show it; give the lines."""
    stream = io.StringIO()
    terminal = Terminal(stream, {})
    terminal.columns = columns
    show(shown, assess(shown), terminal)
    return stream.getvalue().splitlines()


def test_everything_that_is_notable_is_in_it() -> None:
    """What has to be asked again, what was seen too late, refused hints, what is in hand, windows of rates."""
    text = "\n".join(lines(status(**BUSY)))
    for words in (
        "1,234,567",
        "alpha: 2 jobs to be asked for again, 3 starts without cores and GPUs, seen too late",
        ", 4 jobs ended without starting, 5 records of Slurm not understood (see the log)",
        "took 12 starts, 1 stop; 4 in hand",
        "tried again in 17 s",
        "6 hints, the last one 4 s ago",
        "3 messages refused: uid 3",
        "in part",
    ):
        assert words in text
    (row,) = [line.split() for line in text.splitlines() if line.startswith("  starts written down")]
    assert row[-3:] == ["7", "12", "12"]


def test_a_cluster_that_nobody_asks_is_shown_beside_the_others() -> None:
    """Its section has gone, and runs of it are open."""
    orphan = status()
    totals = replace(orphan.totals, open_runs={"alpha": 1, "gone": 7}, sinks={"cc": SinkTotals()})
    (row,) = [line.split() for line in lines(replace(orphan, totals=totals)) if line.startswith("  gone")]
    assert row == ["gone", "not", "asked", "never", "7"]


@pytest.mark.parametrize("columns", [80, 100])
def test_it_fits_on_a_terminal(columns: int) -> None:
    """Of 80 columns, too."""
    source_ = replace(BUSY["sources"][0], commands={"squeue": CommandCost(calls=9, failures=1, seconds=3.3)})
    changed = status(**{**BUSY, "sources": (source_,)})
    assert max(width(line) for line in lines(changed, columns)) <= columns
