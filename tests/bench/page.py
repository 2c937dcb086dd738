"""docs/performance.md, made of what was measured. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.bench.rows import ROWS, TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.bench.rows import Results, Row, Table

_HEAD = """\
# What slurmsyncd costs

Written by `make bench`; do not edit. Figures are medians, or ratios within one run, with what the machine
itself needs for the like beside them. Absolute figures are those of the machine that they were taken on.
`make bench BENCH_ARGS='--only GROUP'` measures one group anew and leaves the others as they are;
`--quick` takes fewer rounds.

| what | budget | reached | met | the machine's own floor | how | taken | command |
|---|---|---|---|---|---|---|---|
"""


def page(results: Results) -> str:
    """Write the document."""
    lines = [_row(row, results.rows.get(row.key)) for row in ROWS]
    tables = [_table(table, results.tables.get(table.key)) for table in TABLES]
    return _HEAD + "\n".join(lines) + "\n" + "".join(tables)


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
        return _cells(row.what, row.budget, "not measured yet", "", "", "", "", _command(row.group))
    met = "yes" if row.met(found["value"]) else f"**no**: {row.because or 'not explained yet'}"
    return _cells(
        row.what,
        row.budget,
        row.figure(found["value"]),
        met,
        found["floor"],
        found["note"],
        _taken(found),
        _command(row.group),
    )


def _table(table: Table, found: Mapping[str, Any] | None) -> str:
    head = f"\n## {table.what}\n\n{_command(table.group)}"
    if found is None:
        return f"{head}: not measured yet.\n"
    rule = "|" + "---|" * len(table.columns)
    lines = [_cells(*table.columns), rule, *(_cells(*line) for line in found["lines"])]
    return f"{head}, {_taken(found)}\n\n" + "\n".join(lines) + "\n"


def _taken(found: Mapping[str, Any]) -> str:
    quick = ", quick" if found["quick"] else ""
    return f"{found['at']}, load average {found['load']:.1f} on {found['cpus']} CPUs{quick}"


def _command(group: str) -> str:
    return f"`make bench BENCH_ARGS='--only {group}'`"


def _cells(*texts: str) -> str:
    return "| " + " | ".join(texts) + " |"
