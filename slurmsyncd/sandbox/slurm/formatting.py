"""Slurm's ways to write host lists, index ranges, TRES, ids and times. Pure but for the clock's zone."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slurmsyncd.sandbox.slurm.records import HeldResources, RunRow

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def ranges(numbers: Iterable[int], width: int = 1) -> str:
    """Write ascending numbers as ``0-2,5``, padded with zeros to ``width``."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(
        f"{first:0{width}d}" if first == last else f"{first:0{width}d}-{last:0{width}d}"
        for first, last in spans
    )


def hostlist(names: Sequence[str]) -> str:
    """Write host names as ``n[1-2],login``; the order of first appearance is kept per prefix."""
    groups: dict[tuple[str, int], list[int]] = {}
    for name in names:
        digits = name[len(name.rstrip("0123456789")) :]
        prefix = name[: len(name) - len(digits)]
        width = len(digits) if digits.startswith("0") else bool(digits)
        groups.setdefault((prefix, int(width)), []).append(int(digits or 0))
    parts = []
    for (prefix, width), numbers in groups.items():
        inner = ranges(sorted(numbers), width) if width else ""
        parts.append(f"{prefix}[{inner}]" if len(numbers) > 1 else prefix + inner)
    return ",".join(parts)


def nodes(alloc: Iterable[HeldResources]) -> str:
    """Write the nodes of an allocation, empty before the start."""
    return hostlist([held["node"] for held in alloc])


def cpus(held: HeldResources) -> int:
    """Count what Slurm calls CPUs: hardware threads."""
    return len(held["cores"]) * held["threads"]


def tres(run: RunRow) -> dict[str, int]:
    """Return what a run holds or held, memory in MiB; empty before its start."""
    if not run["alloc"]:
        return {}
    return _with_gpus(
        {
            "cpu": sum(map(cpus, run["alloc"])),
            "mem": sum(held["memory_mib"] for held in run["alloc"]),
            "node": len(run["alloc"]),
            "billing": sum(map(cpus, run["alloc"])),
        },
        sum(len(held["gpus"]) for held in run["alloc"]),
        next((held["gpu_type"] for held in run["alloc"] if held["gpus"]), ""),
    )


def requested_tres(run: RunRow) -> dict[str, int]:
    """Return what was asked for."""
    asked = run["request"]
    count = asked["nodes"] * asked["cores"] + asked["more"]
    return _with_gpus(
        {"cpu": count, "mem": 1000 * count, "node": asked["nodes"], "billing": count},
        asked["nodes"] * asked["gpus"],
        asked["gpu_type"],
    )


def _with_gpus(tres: dict[str, int], gpus: int, gpu_type: str) -> dict[str, int]:
    if gpus:
        tres["gres/gpu"] = gpus
        if gpu_type:
            tres["gres/gpu:" + gpu_type] = gpus
    return tres


def tres_text(tres: dict[str, int], *, by_name: bool = False) -> str:
    """Write TRES as slurmctld does (``cpu=2,mem=2000M,…``), or sorted as sacct does."""
    names = sorted(tres) if by_name else list(tres)
    return ",".join(f"{name}={tres[name]}{'M' * (name == 'mem')}" for name in names)


def gres(held: HeldResources) -> str:
    """Write the GPUs a run holds on a node: ``gpu:a100:2(IDX:0-1)``, empty without any."""
    if not held["gpus"]:
        return ""
    kind = ":" + held["gpu_type"] if held["gpu_type"] else ""
    return f"gpu{kind}:{len(held['gpus'])}(IDX:{ranges(held['gpus'])})"


def db_index(run: RunRow, release: str) -> int:
    """Return slurmdbd's index: a counter in 22.05, later 64 bits, in 26.05 above 2^63."""
    first = {"22.05": 0, "24.11": 5095409501505009664, "26.05": 10148448283414712320}[release]
    return first + run["id"] * (1 if first == 0 else 4096)


def sluid(run: RunRow, release: str) -> str:
    """Write the index as 26.05 does: base 32 after an ``s``."""
    number = db_index(run, release)
    digits = (_CROCKFORD[(number >> shift) & 31] for shift in range(60, -1, -5))
    return "s" + "".join(digits)


def task_text(run: RunRow) -> str:
    """Write the tasks that still wait: ``3-4%3``."""
    limit = f"%{run['array_limit']}" if run["array_limit"] else ""
    return ranges(run["array_tasks"]) + limit if run["array_tasks"] else ""


def shown_id(run: RunRow) -> str:
    """Write the job id as users see it: ``4_1``, ``4_[3-4%3]``, ``5+1``."""
    if run["array_tasks"]:
        return f"{run['array_job_id']}_[{task_text(run)}]"
    if run["array_task_id"] is not None:
        return f"{run['array_job_id']}_{run['array_task_id']}"
    if run["het_job_id"]:
        return f"{run['het_job_id']}+{run['het_offset']}"
    return str(run["job_id"])


def matches(run: RunRow, word: str) -> bool:
    """Return whether an id as users write it means this run: ``4`` is all of array or het job 4."""
    return word in {
        str(run["job_id"]),
        str(run["array_job_id"]),
        str(run["het_job_id"]),
        shown_id(run),
    }


def span(seconds: int) -> str:
    """Write a duration as ``[days-]hh:mm:ss``."""
    days, rest = divmod(max(0, seconds), 86400)
    clock = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{days}-{clock}" if days else clock


def short_span(seconds: int) -> str:
    """Write a duration as squeue does: without leading zeros."""
    text = span(seconds)
    if "-" in text:
        return text
    return text[3:].removeprefix("0") if text.startswith("00:") else text.removeprefix("0")


def instant(at: float, form: str, release: str) -> str:
    """
    Write an instant in the zone of the environment.

    ``form`` is SLURM_TIME_FORMAT; 22.05 knows ``%s`` but no format of one's own (measured).
    """
    if form == "%s":
        return str(int(at))
    local = time.localtime(at)
    if form.startswith("%") and release != "22.05":
        return time.strftime(form, local)
    if form == "relative" and local[:3] == time.localtime()[:3]:
        return time.strftime("%H:%M:%S", local)
    return time.strftime("%Y-%m-%dT%H:%M:%S", local)
