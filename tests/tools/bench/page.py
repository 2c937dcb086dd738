"""docs/performance.md, made of what was measured. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.tools.bench.rows import GROUPS, ROWS, TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.tools.bench.rows import Results, Row, Table

_HEAD = """\
# What slurmsyncd costs

Written by `make bench`; do not edit. Figures are medians, or ratios within one run. Absolute ones are those of
the machine that they were taken on; the floor is what that machine needs for the like in the same run.
`make bench BENCH_ARGS='--only GROUP'` measures one group anew and leaves the others as they are; `--quick` takes
fewer rounds. How each figure came about is [below](#how-each-figure-came-about).

| what | budget | reached | floor |
|---|---|---|---|
"""
_MISSED = "\n## Budgets that are missed, and why\n\n"
_HOW = "\n## How each figure came about\n"


def page(results: Results) -> str:
    """Write the document."""
    lines = [_row(row, results.rows.get(row.key)) for row in ROWS]
    missed = [_why(row) for row in ROWS if _misses(row, results)]
    groups = [_group(group, results) for group in GROUPS]
    tables = [_table(table, results.tables.get(table.key)) for table in TABLES]
    return "".join((_HEAD, *lines, *([_MISSED, *missed] if missed else []), *tables, _HOW, *groups))


def summary(results: Results, keys: Iterable[str]) -> str:
    """Write some rows and tables for a terminal."""
    wanted = set(keys)
    lines = []
    for row in ROWS:
        if row.key in wanted and (found := results.rows.get(row.key)):
            met = "met" if row.met(found["value"]) else "MISSED"
            reached = f"{row.figure(found['value']):>12}  (budget {row.budget}: {met})  {row.what}"
            lines += [reached, *(f"{'':14}{text}" for text in (found["floor"], found["note"]) if text)]
    shown = (table for table in TABLES if table.key in wanted and table.key in results.tables)
    return "\n".join(lines) + "\n" + "".join(_table(table, results.tables[table.key]) for table in shown)


def _row(row: Row, found: Mapping[str, Any] | None) -> str:
    if found is None:
        return _cells(row.what, row.budget, "not measured yet", "")
    reached = row.figure(found["value"])
    met = row.met(found["value"])
    return _cells(row.what, row.budget, reached if met else f"**{reached}**: missed", found["floor"])


def _misses(row: Row, results: Results) -> bool:
    return row.key in results.rows and not row.met(results.rows[row.key]["value"])


def _why(row: Row) -> str:
    return f"- {row.what}: {row.because or 'not explained yet'}.\n"


def _group(group: str, results: Results) -> str:
    rows = [(row, results.rows[row.key]) for row in ROWS if row.group == group and row.key in results.rows]
    notes = [f"- {row.what}: {found['note']} ({_taken(found)})\n" for row, found in rows]
    return f"\n{_command(group)}\n\n{''.join(notes)}" if notes else ""


def _table(table: Table, found: Mapping[str, Any] | None) -> str:
    head = f"\n## {table.what}\n\n{_command(table.group)}"
    if found is None:
        return f"{head}: not measured yet.\n"
    rule = "|" + "---|" * len(table.columns) + "\n"
    lines = [_cells(*table.columns), rule, *(_cells(*line) for line in found["lines"])]
    return f"{head}, {_taken(found)}\n\n" + "".join(lines)


def _taken(found: Mapping[str, Any]) -> str:
    quick = ", quick" if found["quick"] else ""
    return f"{found['at']}, load average {found['load']:.1f} on {found['cpus']} CPUs{quick}"


def _command(group: str) -> str:
    return f"`make bench BENCH_ARGS='--only {group}'`"


def _cells(*texts: str) -> str:
    return "| " + " | ".join(texts) + " |\n"
