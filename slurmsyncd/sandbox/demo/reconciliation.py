"""
The final account of the demo: simulated runs compared with delivered runs. Pure.

Each run that started is counted in exactly one field of ``Reconciliation``.
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
    The number of runs with each result.

    Attributes:
        refused: Rejected by the backend's rule of one run per job id and day.
        waiting: Running, or recorded by the daemon and not completely delivered yet.
        wrong: In the backend, but with values that differ from the simulation.
        lost: Neither in the backend nor in the store.
    """

    simulated: int
    delivered: int
    refused: int
    waiting: int
    wrong: tuple[str, ...]
    lost: tuple[str, ...]

    def lines(self) -> Iterable[str]:
        """Yield the account, one line per result."""
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
    Compare the simulated runs with the runs of the backend.

    Args:
        owed: Every run that started.
        rows: Rows of both tables of the backend.
        states: Deliveries in the store: (job id, start) → (state, reason).
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
    """Return whether the row has the hosts and the numbers of hardware threads and GPUs of the run."""
    hosts = tuple(item["hostname"] for item in json.loads(row["resources"]))
    return hosts == run.nodes and row["num_acc"] in (sum(map(len, run.gpus)), 0)


def _named(runs: tuple[str, ...]) -> str:
    return "".join(f"\n         {run}" for run in runs[:10])
