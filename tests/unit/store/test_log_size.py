"""The write-ahead log stays small, whatever is written and whoever would read."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.unit.store.builders import T0, key, opened, plan, started, tell_starts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from slurmsyncd.model import RunStarted

MIB = 2**20


def long_names(first: int, count: int) -> Iterator[RunStarted]:
    """Starts of 3 KB each that do not get smaller by being packed."""
    dice = random.Random(first)
    for number in range(first, first + count):
        yield started(key(number), dice.randbytes(1500).hex())


def test_d13_i6_the_log_is_bounded_by_what_one_plan_writes(directory: Path) -> None:
    """It turns over at some 4 MiB; a plan that needs more gets it, and it is given back."""
    store = opened(directory)
    log = directory / "store.sqlite-wal"
    sizes = []
    for number in range(60):
        store.record(plan(*long_names(number * 100, 100)), T0)
        sizes.append(log.stat().st_size)
    assert max(sizes) < 6 * MIB < (directory / "store.sqlite").stat().st_size
    store.record(plan(*long_names(10_000, 4000)), T0)
    assert log.stat().st_size > 6 * MIB
    store.record(plan(*long_names(20_000, 100)), T0)
    tell_starts(store)
    assert log.stat().st_size < 6 * MIB
    store.close()


def test_d13_nobody_else_reads_the_store_in_use(directory: Path) -> None:
    """A long reader would keep the log from being emptied: there is none but ourselves."""
    store = opened(directory)
    with (
        closing(sqlite3.connect(f"file:{directory}/store.sqlite?mode=ro", uri=True, timeout=0.0)) as con,
        pytest.raises(sqlite3.OperationalError, match="locked"),
    ):
        con.execute("SELECT count(*) FROM run")
    store.close()
