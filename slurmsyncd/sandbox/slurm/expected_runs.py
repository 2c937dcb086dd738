"""What has to arrive: the runs that started, as the books have them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slurmsyncd.sandbox.slurm.records import RunRow


@dataclass(frozen=True, slots=True)
class ExpectedRun:
    """
    A run that started, and so has to arrive somewhere.

    Attributes:
        end_at: Epoch seconds, None while it runs.
        cores: Per node, in the order of ``nodes``: (socket, core in the socket).
        gpus: Likewise: device indexes.
    """

    cluster: str
    job_id: int
    start_at: int
    end_at: int | None
    state: str
    restarts: int
    user: str
    nodes: tuple[str, ...]
    cores: tuple[tuple[tuple[int, int], ...], ...]
    gpus: tuple[tuple[int, ...], ...]


def expected_run(run: RunRow, cluster: str) -> ExpectedRun:
    """Return what a started run obliges to."""
    return ExpectedRun(
        cluster=cluster,
        job_id=run["job_id"],
        start_at=run["start_at"],
        end_at=run["end_at"] or None,
        state=run["state"],
        restarts=run["restarts"],
        user=run["request"]["user"],
        nodes=tuple(held["node"] for held in run["alloc"]),
        cores=tuple(tuple((s, c) for s, c in held["cores"]) for held in run["alloc"]),
        gpus=tuple(tuple(held["gpus"]) for held in run["alloc"]),
    )
