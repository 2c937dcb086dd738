"""docs/performance.md is what the benchmarks write; and what they count, counted once more. Nothing is timed."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest

from tests.tools.bench.__main__ import PAGE, load
from tests.tools.bench.commands import count
from tests.tools.bench.page import page
from tests.tools.bench.rows import GROUPS, ROWS, TABLES

if TYPE_CHECKING:
    from pathlib import Path

LIMITS = {row.key: row.limit for row in ROWS}


def test_the_page_is_what_was_measured_for_the_rows_that_there_are() -> None:
    """Written anew from the stored figures, the page is the same; a row more or less would change it."""
    assert PAGE.read_text() == page(load())


def test_each_row_has_a_name_of_its_own_and_somebody_who_measures_it() -> None:
    """Each key is one row's or one table's, and its group has a module."""
    keys = [*(row.key for row in ROWS), *(table.key for table in TABLES)]
    assert len(set(keys)) == len(keys)
    assert all(importlib.util.find_spec(f"tests.tools.bench.{group}") for group in GROUPS)


def test_a_missed_budget_says_why() -> None:
    """Whatever figure is on the page and misses its budget has its reason beside it."""
    rows = load().rows
    missed = [row for row in ROWS if row.key in rows and not row.met(rows[row.key]["value"])]
    assert [row.key for row in missed if not row.because] == []


@pytest.mark.anyio
async def test_a_cycle_takes_few_commands_whatever_the_number_of_jobs(tmp_path: Path) -> None:
    """At most three commands when nothing changed, six for a thousand new jobs, and none for each job."""
    found = await count(tmp_path)

    assert found["idle"].total() <= LIMITS["commands-idle"]
    assert found["busy"].total() <= LIMITS["commands-busy"]
