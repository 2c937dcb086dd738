"""
The demonstration's account: what the simulation owes against what arrived. Pure.

Each run that started is in exactly one of: delivered, refused, waiting, wrong, lost.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from slurmsyncd.sandbox.slurm.expected_runs import ExpectedRun

Key = tuple[int, int]  # job id, start
#: Reasons of runs that gave way to another one of their job id.
_GAVE_WAY = frozenset({"repeat_of_earlier_run", "later_run_is_there", "replaced_by_requeue"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """
    How many runs became of what.

    Attributes:
        refused: The backend's own rule kept them out: one run of a job id a day.
        waiting: Written down by the daemon, or running; not all told yet.
        wrong: In the backend, but not as they were.
        lost: Nowhere.
    """

    simulated: int
    delivered: int
    refused: int
    waiting: int
    wrong: tuple[str, ...]
    lost: tuple[str, ...]

    def lines(self) -> Iterable[str]:
        """Tell it, a line each."""
        yield f"{self.simulated:6} runs simulated"
        yield f"{self.delivered:6} delivered: in the backend as they were"
        yield f"{self.refused:6} refused by the backend's rule of one run of a job id a day (requeues)"
        yield f"{self.waiting:6} waiting"
        yield f"{len(self.wrong):6} wrong{_named(self.wrong)}"
        yield f"{len(self.lost):6} lost{_named(self.lost)}"


def reconcile(
    owed: Iterable[ExpectedRun], rows: Iterable[Mapping[str, Any]], states: Mapping[Key, tuple[str, str]]
) -> Reconciliation:
    """
    Compare.

    Args:
        owed: Every run that started.
        rows: The backend's, of both tables.
        states: What the daemon wrote down: (job id, start) → (state, reason) of the delivery.
    """
    there = {(row["job_id"], row["start_time"]): row for row in rows}
    fates: Counter[str] = Counter()
    wrong, lost = [], []
    for run in owed:
        key = (run.job_id, run.start_at)
        fate = _fate(run, there.get(key), *states.get(key, ("", "")))
        fates[fate] += 1
        name = f"job {run.job_id} started at {run.start_at} ({run.state.lower()})"
        if fate == "lost":
            lost.append(name)
        elif fate == "wrong":
            wrong.append(name)
    return Reconciliation(
        simulated=sum(fates.values()),
        delivered=fates["delivered"],
        refused=fates["refused"],
        waiting=fates["waiting"],
        wrong=tuple(wrong),
        lost=tuple(lost),
    )


def _fate(run: ExpectedRun, row: Mapping[str, Any] | None, state: str, reason: str) -> str:
    if reason in _GAVE_WAY:
        return "refused"
    if state == "dead":
        return "lost"
    if row is None:
        return "waiting" if state else "lost"
    if not _same_place(run, row):
        return "wrong"
    if run.end_at is None:
        return "waiting"
    if row["job_state"] == "running":
        return "waiting" if state else "lost"
    return "delivered" if row["duration"] == run.end_at - run.start_at else "wrong"


def _same_place(run: ExpectedRun, row: Mapping[str, Any]) -> bool:
    """Whether hosts, and as many hardware threads and GPUs as were held, are in the record."""
    hosts = tuple(item["hostname"] for item in json.loads(row["resources"]))
    return hosts == run.nodes and row["num_acc"] in (sum(map(len, run.gpus)), 0)


def _named(runs: tuple[str, ...]) -> str:
    return "".join(f"\n         {run}" for run in runs[:10])
