"""The rows of docs/performance.md: what is measured, its budget, and why one is missed. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """
    One budget.

    Attributes:
        group: Whose module measures it; `--only` takes groups.
        limit: The figure may not be above it; with ``at_least``, not below.
        unit: Behind the figure.
        because: Why it is missed, shown only where it is.
    """

    key: str
    group: str
    what: str
    limit: float
    unit: str = ""
    at_least: bool = False
    because: str = ""

    @property
    def budget(self) -> str:
        """The budget in words."""
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}{_behind(self.unit)}"

    def met(self, value: float) -> bool:
        """Judge a figure."""
        return value >= self.limit if self.at_least else value <= self.limit

    def figure(self, value: float) -> str:
        """Write a figure."""
        return f"{significant(value)}{_behind(self.unit)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Cost against size."""

    key: str
    group: str
    what: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """
    What was measured for a row.

    Attributes:
        floor: What the machine itself needs for the like, in words.
        note: How the figure came about.
    """

    key: str
    value: float
    floor: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Lines:
    """What was measured for a table."""

    key: str
    lines: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """When and where something was measured; ``load`` is the load average while it was."""

    at: str
    load: float
    cpus: int
    quick: bool


@dataclass(slots=True)
class Results:
    """All that was measured so far, by key; as JSON would have it."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)


def significant(value: float) -> str:
    """Give three digits of a number, and no exponent."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _behind(unit: str) -> str:
    return f" {unit}" if unit else ""


ROWS: tuple[Row, ...] = (
    Row(
        key="hook-notify",
        group="hook",
        what="`slurmsyncd notify` against `python3 -c pass`, wall or CPU, whichever is worse",
        limit=2,
        unit="times",
    ),
    Row(
        key="hook-alone",
        group="hook",
        what="the hook as a file of its own against `python3 -I -S -c pass`, wall or CPU",
        limit=1.2,
        unit="times",
    ),
    Row(
        key="commands-idle",
        group="commands",
        what="Slurm commands in an idle cycle, 1,000 active jobs, node states included",
        limit=3,
    ),
    Row(
        key="commands-busy",
        group="commands",
        what="Slurm commands in a cycle with 1,000 new jobs, node states included",
        limit=6,
    ),
)

TABLES: tuple[Table, ...] = ()

_ALL: tuple[Row | Table, ...] = (*ROWS, *TABLES)
GROUPS: Mapping[str, tuple[str, ...]] = {
    group: tuple(each.key for each in _ALL if each.group == group)
    for group in dict.fromkeys(each.group for each in _ALL)
}
