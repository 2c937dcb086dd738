"""
Small lives of a store, step by step, as a process of its own: ``python -m tests.system.crash.script NAME DIRECTORY``.

Each step is one thing that a cycle does with the state directory. Its number is said when it has returned:
from then on it is promised. Exit status 3 is a failure of the store's own kind, named on standard output.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from slurmsyncd.delivery import DeadLetter, Delivered, Park, Retry
from slurmsyncd.errors import StoreError
from slurmsyncd.model import EventKind
from slurmsyncd.store import checkpoint_file as lastrun
from slurmsyncd.store import open_store
from tests.unit.store.builders import CLUSTER, T0, key, plan, started, stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from slurmsyncd.delivery import Verdict
    from slurmsyncd.model import Event
    from slurmsyncd.store import Opened, SqliteStore

SINK = "rest"
LASTRUN = "lastrun"
REFUSED = 3
DONE = Delivered(T0, T0, "ok")
RUNS = [key(each) for each in range(7)]


class Life:
    """One state directory, and the store while it is open."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._opened: Opened | None = None

    def open(self) -> None:
        self._opened = opened(self.directory)

    def close(self) -> None:
        if self._opened is not None:
            self._opened.store.close()
            self._opened = None

    @property
    def store(self) -> SqliteStore:
        assert self._opened is not None
        return self._opened.store


def opened(directory: Path) -> Opened:
    return open_store(directory, [SINK], reserve_bytes=4096)


def record(*events: Event, cursor: int) -> Callable[[Life], object]:
    return lambda life: life.store.record(plan(*events, cursor=cursor), T0)


def settle(step: EventKind, *verdicts: Verdict) -> Callable[[Life], object]:
    """Settle what is due as one group, the first entries with these verdicts and the others as done."""

    def work(life: Life) -> None:
        due = life.store.due(SINK, step, T0, 100)
        each = [*verdicts, *[DONE] * len(due)]
        life.store.settle(list(zip(due, each, strict=False)), T0)

    return work


def checkpoint(at: int) -> Callable[[Life], object]:
    return lambda life: lastrun.write(life.directory / LASTRUN, at)


#: From an empty directory through all that the daemon does, a restart in between.
LIFE: Sequence[Callable[[Life], object]] = (
    Life.open,
    record(*(started(RUNS[each], "x" * 900) for each in range(4)), cursor=T0 + 10),
    checkpoint(T0 + 10),
    settle(
        EventKind.START,
        Delivered(T0, T0 + 50, "ok"),
        DONE,
        Retry(T0, "http_500", "text"),
        DeadLetter("http_400", ""),
    ),
    record(stopped(RUNS[1]), started(RUNS[4]), stopped(RUNS[4]), cursor=T0 + 20),
    settle(EventKind.START, Park(T0 + 60, "no_subcluster", "")),
    settle(EventKind.STOP),
    lambda life: life.store.set_cursor(CLUSTER, T0 + 5),
    checkpoint(T0 + 5),
    lambda life: life.store.prune(T0 + 10_000, 60),
    lambda life: life.store.retry([letter.id for letter in life.store.list_deliveries()], T0),
    Life.close,
    Life.open,
    record(started(RUNS[5]), stopped(RUNS[5]), stopped(RUNS[0]), cursor=T0 + 30),
    settle(EventKind.START),
    settle(EventKind.STOP),
    Life.close,
)

#: The file has become garbage while nobody looked: it is set aside, and a fresh one begins.
RECOVERY: Sequence[Callable[[Life], object]] = (
    Life.open,
    record(started(RUNS[0]), cursor=T0),
    checkpoint(T0),
    settle(EventKind.START),
    Life.close,
)

#: One plan between two marks that show in the trace.
INTAKE: Sequence[Callable[[Life], object]] = (
    Life.open,
    checkpoint(1),
    record(started(RUNS[0]), cursor=T0 + 1),
    checkpoint(2),
    Life.close,
)

SCRIPTS = {"life": LIFE, "recovery": RECOVERY, "intake": INTAKE}


def prepare(name: str, directory: Path) -> None:
    """Make what a script finds."""
    if name != "life":
        before = opened(directory).store
        before.record(plan(started(RUNS[6]), cursor=T0), T0)
        before.close()
    if name == "recovery":
        (directory / "store.sqlite").write_bytes(b"garbage" * 1000)


def main(name: str, directory: str) -> int:
    """Do all steps, saying each number on standard output, unbuffered."""
    life = Life(Path(directory))
    try:
        for number, step in enumerate(SCRIPTS[name], 1):
            step(life)
            os.write(1, f"{number}\n".encode())
    except StoreError as err:
        os.write(1, f"{type(err).__name__}: {err}\n".encode())
        return REFUSED
    finally:
        life.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
