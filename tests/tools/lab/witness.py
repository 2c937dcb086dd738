"""
What Slurm's own text says of each run, read without the product's code.

``scontrol --details show job`` is noted several times a second while the jobs run: devices are shown only then.
"""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.tools.lab.waiting import LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.tools.lab.lab import Lab

EVERY_S = 0.25

#: Where a record begins; a job name may only look so.
_RECORD = re.compile(r"(?m)^(?=JobId=\d+ (?:ArrayJobId|HetJobId|JobName)=)")
#: Lines of words; names and comments, which may hold anything, are passed over.
_WORDS = re.compile(r"(?m)^ {3,}(?!Comment=).*$")
_HELD = re.compile(r"(?m)^ +Nodes=(\S+) CPU_IDs=(\S+) Mem=(\d+) GRES=(.*)$")

#: Job id and start.
Key = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Held:
    """What a run holds on one node: CPUs as Slurm numbers them, and devices by kind."""

    cpus: frozenset[int]
    memory_mib: int
    gres: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """
    What scontrol said of a job.

    Attributes:
        words: Key → word, the first of each key.
        held: Host → what the job holds there; empty if it holds nothing.
    """

    job_id: int
    words: Mapping[str, str]
    held: Mapping[str, Held]

    @property
    def key(self) -> Key:
        """Job id and start; only of what has started."""
        return self.job_id, int(self.words["StartTime"])

    @property
    def state(self) -> str:
        """Slurm's word."""
        return self.words.get("JobState", "")


def read(text: str) -> Iterator[Shown]:
    """Read what ``scontrol --details show job`` prints."""
    for record in re.split(_RECORD, text):
        if not record.startswith("JobId="):
            continue
        words: dict[str, str] = {}
        for line in re.findall(_WORDS, record):
            for key, word in re.findall(r"(?<=\s)([A-Z]\w*)=(\S*)", line):
                words.setdefault(key, word)
        held = {
            host: Held(frozenset(numbers(cpus)), int(memory), gres_items(gres))
            for nodes, cpus, memory, gres in re.findall(_HELD, record)
            for host in hosts(nodes)
        }
        yield Shown(int(record[len("JobId=") :].split(maxsplit=1)[0]), words, held)


@contextmanager
def watching(lab: Lab, note: Callable[[Shown], None]) -> Iterator[None]:
    """Have somebody look at all jobs several times a second, and note what holds something."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(EVERY_S):
            try:
                text = lab.run("scontrol", "--details", "show", "job", timeout_s=5)
            except LabError:
                continue  # slurmctld is away: some tests want it so
            for shown in read(text):
                if shown.held:
                    note(shown)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def had_nodes(row: Mapping[str, str]) -> bool:
    """
    Return whether a row of accounting is of a run.

    What never started has no nodes. It has no start either, but for a job that was cancelled before slurmdbd had
    heard of it (22.05).
    """
    return row["Start"].isdigit() and row["NodeList"] not in ("", "None assigned")


def numbers(text: str) -> list[int]:
    """Expand ``0-2,10``."""
    found: list[int] = []
    for part in text.split(","):
        low, _, high = part.partition("-")
        found += range(int(low), int(high or low) + 1)
    return found


def hosts(text: str) -> list[str]:
    """Expand ``n[1-2],big1``."""
    found = []
    for prefix, inside in re.findall(r"([A-Za-z]+\d*)(?:\[([\d,-]+)\])?", text):
        found += [f"{prefix}{number}" for number in numbers(inside)] if inside else [prefix]
    return found


def gres_items(text: str) -> tuple[str, ...]:
    """Part ``gpu:a100:1(IDX:0),gpu:v100:2(IDX:2-3)`` at the commas outside of brackets."""
    return tuple(re.findall(r"[^,()]+\([^)]*\)", text))


def devices(item: str) -> tuple[str, str | None, int, frozenset[int]]:
    """
    Return name, type, count and indexes of an item.

    Shards are shown as ``(3/4,0/4)`` from 24.11 on: three of the first device's four, none of the second's.
    """
    match = re.fullmatch(r"(\w+)(?::([^:(]+))?:(\d+)\((?:IDX:([\d,-]+)|([\d/,]+))\)", item)
    assert match, item
    name, kind, count, indexes, shares = match.groups()
    parts = shares.split(",") if shares else []
    used = frozenset(index for index, part in enumerate(parts) if not part.startswith("0/"))
    return name, kind, int(count), frozenset(numbers(indexes)) if indexes else used


def tres(text: str) -> dict[str, int]:
    """Read ``cpu=4,mem=4000M,gres/gpu=2``."""
    pairs = (part.split("=") for part in text.split(",") if part)
    return {name: int(value.removesuffix("M")) for name, value in pairs}
