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
    """Return three digits of a number, and no exponent."""
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
        key="hook-sh",
        group="hook",
        what="the hook in sh, wall or CPU, whichever is worse",
        limit=2,
        unit="ms",
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
    Row(
        key="parallel-lost",
        group="parallel",
        what="1,000 hooks at 16 in parallel against the daemon: lost",
        limit=0,
    ),
    Row(
        key="parallel-worst",
        group="parallel",
        what="1,000 hooks at 16 in parallel: the slowest one, beyond the slowest start of a bare interpreter",
        limit=100,
        unit="ms",
    ),
    Row(
        key="rss-10k",
        group="footprint",
        what="RSS with REST, NATS, metrics and page on, 10,000 active jobs",
        limit=45,
        unit="MB",
        because="the modules alone take 38 MB (TLS, httpx, nats-py, asyncio, SQLite), and the first look at 10,000 new jobs leaves some 3 MB in partly filled arenas that Python cannot give back; restarted among the same jobs it is 45.3 MB",
    ),
    Row(
        key="rss-slope",
        group="footprint",
        what="its growth over the last fifty of a hundred cycles",
        limit=0.1,
        unit="MB",
    ),
    Row(
        key="rss-100k",
        group="footprint",
        what="RSS, 100,000 active jobs",
        limit=60,
        unit="MB",
    ),
    Row(
        key="idle-cpu",
        group="footprint",
        what="CPU of our own with 10,000 active jobs of which nothing changes, a cycle a minute",
        limit=0.3,
        unit="% of a core",
    ),
    Row(
        key="catchup-time",
        group="catchup",
        what="catching up after a day's outage: 100,000 finished runs read, planned and stored",
        limit=30,
        unit="s",
    ),
    Row(
        key="catchup-rss",
        group="catchup",
        what="peak RSS meanwhile",
        limit=100,
        unit="MB",
    ),
    Row(
        key="dbd-memory",
        group="dbd",
        what="the same on a real slurmdbd: the largest resident set of any sacct that is started",
        limit=200,
        unit="MB",
    ),
    Row(
        key="dbd-json",
        group="dbd",
        what="that, against the memory of one `sacct --json` for the same day",
        limit=0.02,
        unit="times",
    ),
    Row(
        key="dbd-time",
        group="dbd",
        what="catching up with a real slurmdbd: 100,000 finished runs read, planned and stored",
        limit=30,
        unit="s",
    ),
    Row(
        key="dbd-rss",
        group="dbd",
        what="our peak RSS meanwhile",
        limit=100,
        unit="MB",
    ),
    Row(
        key="throughput",
        group="throughput",
        what="delivery to a backend that answers at once, settling included, against plain httpx with four workers",
        limit=90,
        unit="%",
        at_least=True,
        because="making the record, taking it out of the store and settling it cost as much as we save of httpx",
    ),
    Row(
        key="throughput-starts",
        group="throughput",
        what="starts delivered a second; cc-backend itself takes 3,000 over eight connections, 1,600 over one",
        limit=3000,
        unit="/s",
        at_least=True,
        because="one core is busy then, most of it with httpx, which alone does not get there either; a cluster of 2,000 nodes starts some tens of jobs a second",
    ),
    Row(
        key="throughput-stops",
        group="throughput",
        what="stops delivered a second; cc-backend itself takes 400",
        limit=400,
        unit="/s",
        at_least=True,
    ),
    Row(
        key="cpu-per-run",
        group="perrun",
        what="CPU for one delivered run (start and stop), our process and its commands together",
        limit=2,
        unit="ms",
    ),
    Row(
        key="startup",
        group="startup",
        what="start to READY with 100,000 known runs and 100,000 queued entries",
        limit=2,
        unit="s",
    ),
    Row(
        key="stall-text",
        group="stall",
        what="longest loop stall while 100 MB of Slurm's output are read",
        limit=50,
        unit="ms",
    ),
    Row(
        key="stall-json",
        group="stall",
        what="the same with 100 MB of JSON in one document, which only 22.05 gives",
        limit=50,
        unit="ms",
    ),
    Row(
        key="queued-commands",
        group="queued",
        what="Slurm commands in an idle cycle, 2,000 jobs in the memory of a real slurmctld, node states included",
        limit=3,
    ),
    Row(
        key="queued-own",
        group="queued",
        what="CPU of our own in such a cycle, against that of its Slurm commands",
        limit=1,
        unit="times",
    ),
    Row(
        key="queued-slurmctld",
        group="queued",
        what="slurmctld's CPU for such a cycle, against that for one `squeue --json`",
        limit=1,
        unit="times",
    ),
    Row(
        key="latency-p50",
        group="lab",
        what="hook to record accepted by the backend on a real Slurm, without `query_delay`, p50",
        limit=0.3,
        unit="s",
        because="what ended is asked of sacct, which takes a quarter of a second for any answer in 22.05 (see the floor: it waits for slurmdbd, whose messages wait for delayed acknowledgements), and what begins meanwhile is asked for after it; younger releases answer at once, see the next rows",
    ),
    Row(
        key="latency-p99",
        group="lab",
        what="the same, p99",
        limit=1,
        unit="s",
    ),
    Row(
        key="latency-p50-younger",
        group="lab",
        what="hook to record accepted on a younger Slurm, p50",
        limit=0.3,
        unit="s",
    ),
    Row(
        key="latency-p99-younger",
        group="lab",
        what="the same, p99",
        limit=1,
        unit="s",
    ),
    Row(
        key="cpu-per-run-lab",
        group="lab",
        what="CPU for one delivered run on a real Slurm, our process and its commands together",
        limit=2,
        unit="ms",
        because="Slurm's commands alone take nearly 2 ms (see the floor): jobs of one second are rung for twice, so each second has its questions; two exchanges are half of the rest",
    ),
    Row(
        key="script",
        group="lab",
        what="CPU to tell of start and end of 60 jobs on a real Slurm, against a script that forks two scontrol "
        "for each start, asks `sacct --json` for the ends, and posts one after the other",
        limit=1,
        unit="times",
    ),
)

TABLES: tuple[Table, ...] = (
    Table(
        key="footprint-sizes",
        group="footprint",
        what="Cost against the number of active jobs, everything on, nothing changing",
        columns=(
            "active jobs",
            "RSS, MB",
            "growth over the last half of the cycles, MB",
            "peak since the start, MB",
            "our CPU in a cycle, ms",
            "CPU of the (simulated) Slurm commands in a cycle, ms",
            "of a core, with a cycle a minute",
        ),
    ),
    Table(
        key="cycle-sizes",
        group="cycle",
        what="A look and what follows from it, against the number of active jobs; our CPU",
        columns=("active jobs", "nothing changed, ms", "10 began and 10 ended, ms", "more, ms"),
    ),
    Table(
        key="catchup-sizes",
        group="catchup",
        what="Catching up, against the number of runs that ended in a day",
        columns=(
            "runs",
            "seconds",
            "our CPU, s",
            "CPU of the (simulated) Slurm commands, s",
            "peak RSS, MB",
            "store, MB",
        ),
    ),
    Table(
        key="startup-sizes",
        group="startup",
        what="Start to READY, and questions to the store, against the number of stored runs, half of them queued",
        columns=(
            "runs",
            "store, MB",
            "seconds",
            "what `status` asks, ms",
            "a job's story, ms",
            "the next 100 deliveries, ms",
        ),
    ),
)

_ALL: tuple[Row | Table, ...] = (*ROWS, *TABLES)
GROUPS: Mapping[str, tuple[str, ...]] = {
    group: tuple(each.key for each in _ALL if each.group == group)
    for group in dict.fromkeys(each.group for each in _ALL)
}
