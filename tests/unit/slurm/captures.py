"""What real Slurm printed, for the tests to hold the readers against."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slurmsyncd.slurm.controller_jobs import JobDetails, read_detail
from slurmsyncd.slurm.hostlist import expand_hostlist
from slurmsyncd.slurm.json_documents import read_records
from tests.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

CAPTURES = ROOT / "tests" / "data" / "slurm"
VERSIONS = ("22.05.8", "23.11.11", "24.11.5", "26.05.5")
AFTERWARDS = 1_795_300_000
"""Epoch seconds; after everything that was recorded, before the ends that were forecast."""

JOB_DOCUMENTS = tuple(
    path
    for version in VERSIONS
    for pattern in ("*squeue*json", "*scontrol-show-job--json")
    for path in sorted((CAPTURES / version).glob(pattern))
    if not path.name.startswith(("ctld-down", "unknown-id"))
)


def details(path: Path) -> dict[int, JobDetails]:
    """Read a document's runs that have started, by job id."""
    records = read_records(path.read_bytes(), "jobs")
    found = [read_detail(record, "lab", now=AFTERWARDS) for record in records]
    return {detail.job.key.job_id: detail for detail in found if detail}


def records_by_id(path: Path) -> dict[int, dict[str, Any]]:
    """Return a document's raw job records."""
    return {job["job_id"]: job for job in json.loads(path.read_text())["jobs"]}


@dataclass(frozen=True)
class Shown:
    """What ``scontrol show job -d`` says of one job."""

    state: str
    tres: str
    cpus: dict[str, set[int]]
    memory: dict[str, int]
    gres: dict[str, str]


def shown_jobs(path: Path) -> dict[int, Shown]:
    """Read ``scontrol show job -d``, by job id; a name may hold lines that look like a record's."""
    blocks = re.split(r"(?m)^(?=JobId=\d+ (?:ArrayJobId|HetJobId|JobName)=)", path.read_text())
    return {int(block[6:].split()[0]): _shown(block) for block in blocks if block}


def _shown(block: str) -> Shown:
    cpus, memory, gres = {}, {}, {}
    for nodes, ids, mem, held in re.findall(r"(?m)^ +Nodes=(\S+) CPU_IDs=(\S+) Mem=(\d+) GRES=(.*)$", block):
        for host in expand_hostlist(nodes):
            cpus[host] = {int(number) for number in expand_hostlist(f"[{ids}]")}
            memory[host], gres[host] = int(mem), held
    state = re.search(r"(?m)^   JobState=(\S+)", block)
    tres = re.search(r"(?m)^   (?:TRES|AllocTRES)=(\S+)", block)
    assert state
    return Shown(state[1], tres[1] if tres else "", cpus, memory, gres)


def sacct_rows(version: str, name: str) -> list[dict[str, str]]:
    """Read a recorded ``sacct -P --delimiter=0x1f``; one job's name holds the delimiter, so does its command."""
    columns = (CAPTURES / version / "sacct-format.txt").read_text().strip().split(",")
    text = (CAPTURES / version / name).read_text()
    rows = []
    for row in re.split(r"\n(?=[0-9]+(?:\.\w+)?\x1f[0-9])", text.removesuffix("\n")):
        fields = row.split("\x1f")
        extra = (len(fields) - len(columns)) // 2
        at = columns.index("JobName")
        fields[at : at + extra + 1] = ["\x1f".join(fields[at : at + extra + 1])]
        fields[len(columns) - 1 :] = ["\x1f".join(fields[len(columns) - 1 :])]
        rows.append(dict(zip(columns, fields, strict=True)))
    return rows
