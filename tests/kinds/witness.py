"""
What Slurm's own text says of each run, read without the product's code.

``scontrol --details show job`` is noted several times a second while the jobs run, ``sacct`` is asked at the end.
"""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.lab import LabError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab import Lab

COLUMNS = (
    *("JobIDRaw", "JobID", "State", "Submit", "Start", "End", "TimelimitRaw", "NNodes", "NCPUS", "NodeList"),
    *("AllocTRES", "ExitCode", "User", "Account", "Partition", "QOS", "Reservation", "WCKey", "JobName"),
    *("Comment", "WorkDir", "SubmitLine"),
)
TOKEN = "@kinds@"
EVERY_S = 0.25
RECORD = re.compile(r"(?m)^(?=JobId=\d+ (?:ArrayJobId|HetJobId|JobName)=)")
HELD = re.compile(r"(?m)^ +Nodes=(\S+) CPU_IDs=(\S+) Mem=(\d+) GRES=(.*)$")

Key = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Held:
    """What a run holds on one node: CPUs as Slurm numbers them, and devices by kind."""

    cpus: frozenset[int]
    memory_mib: int
    gres: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """What scontrol said of a run when it ran."""

    words: dict[str, str]
    held: dict[str, Held]


@dataclass(slots=True)
class Witness:
    """Notes of each run what scontrol shows first while it runs: its size may change later."""

    lab: Lab
    seen: dict[Key, Shown] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)

    @classmethod
    @contextmanager
    def watching(cls, lab: Lab) -> Iterator[Witness]:
        """Have one watch."""
        witness = cls(lab)
        thread = threading.Thread(target=witness._watch)
        thread.start()
        try:
            yield witness
        finally:
            witness._stop.set()
            thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(EVERY_S):
            try:
                text = self.lab.run("scontrol", "--details", "show", "job", timeout_s=5)
            except LabError:
                continue
            for record in re.split(RECORD, text):
                self._note(record)

    def _note(self, record: str) -> None:
        words = dict(re.findall(r"(?<=\s)([A-Z]\w*)=(\S*)", re.sub(r"(?m)^   Comment=.*$", "", record)))
        if words.get("JobState") not in ("RUNNING", "CONFIGURING", "SUSPENDED"):
            return
        held = {
            host: Held(numbers(cpus), int(memory), gres_items(gres))
            for nodes, cpus, memory, gres in HELD.findall(record)
            for host in hosts(nodes)
        }
        if held:
            key = int(record[len("JobId=") :].split(maxsplit=1)[0]), int(words["StartTime"])
            self.seen.setdefault(key, Shown(words, held))


def accounting(lab: Lab) -> list[dict[str, str]]:
    """Give all rows of accounting, one for each run and each size of a run."""
    form = ("-a", "-X", "-D", "-n", "-p", "--noconvert", f"--delimiter={TOKEN}")
    text = lab.run("sacct", *form, "-S", "uts1000000000", "-o", ",".join(COLUMNS))
    cells, width = text.split(TOKEN), len(COLUMNS)
    assert cells.pop() == "\n"
    rows = [cells[at : at + width] for at in range(0, len(cells), width)]
    return [dict(zip(COLUMNS, (row[0].removeprefix("\n"), *row[1:]), strict=True)) for row in rows]


def runs(rows: list[dict[str, str]]) -> dict[Key, dict[str, str]]:
    """
    Give the runs among the rows: those that had nodes; of a run that was resized, the last size.

    From 24.11 on, each size starts when the one before ended; in 22.05 all start when the run did.
    """
    found = [row for row in rows if row["NodeList"] not in ("None assigned", "") and row["Start"].isdigit()]
    sizes = [row for row in found if row["State"] == "RESIZING"]
    result = {}
    for row in found:
        if row in sizes:
            continue
        start = row["Start"]
        while before := [s for s in sizes if (s["JobIDRaw"], s["End"]) == (row["JobIDRaw"], start)]:
            start = before[0]["Start"]
        result[int(row["JobIDRaw"]), int(start)] = row
    return result


def numbers(text: str) -> frozenset[int]:
    """Expand ``0-2,10``."""
    found: set[int] = set()
    for part in text.split(","):
        low, _, high = part.partition("-")
        found.update(range(int(low), int(high or low) + 1))
    return frozenset(found)


def hosts(text: str) -> list[str]:
    """Expand ``n[1-2],big1``."""
    found = []
    for prefix, inside in re.findall(r"([A-Za-z]+\d*)(?:\[([\d,-]+)\])?", text):
        found += [f"{prefix}{number}" for number in sorted(numbers(inside))] if inside else [prefix]
    return found


def gres_items(text: str) -> tuple[str, ...]:
    """Part ``gpu:a100:1(IDX:0),gpu:v100:2(IDX:2-3)`` at the commas outside of brackets."""
    return tuple(re.findall(r"[^,()]+\([^)]*\)", text))


def devices(item: str) -> tuple[str, str | None, int, frozenset[int]]:
    """
    Give name, type, count and indexes of an item.

    Shards are shown as ``(3/4,0/4)`` from 24.11 on: three of the first device's four, none of the second's.
    """
    match = re.fullmatch(r"(\w+)(?::([^:(]+))?:(\d+)\((?:IDX:([\d,-]+)|([\d/,]+))\)", item)
    assert match, item
    name, kind, count, indexes, shares = match.groups()
    parts = shares.split(",") if shares else []
    used = frozenset(index for index, part in enumerate(parts) if not part.startswith("0/"))
    return name, kind, int(count), numbers(indexes) if indexes else used


def tres(text: str) -> dict[str, int]:
    """Read ``cpu=4,mem=4000M,gres/gpu=2``."""
    pairs = (part.split("=") for part in text.split(",") if part)
    return {name: int(value.removesuffix("M")) for name, value in pairs}
