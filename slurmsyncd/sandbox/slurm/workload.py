"""A random mix of jobs, of every kind a site has. The dice are an argument. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from random import Random

    from slurmsyncd.sandbox.slurm.records import JobRequest, NodeRow

USERS = (("alice", 3001, "physics"), ("bob", 3002, "chem"), ("carol", 3003, "bio"), ("dave", 3004, "physics"))
NAMES = (
    "relax", "md_prod", "train-resnet", "assemble", "postproc", "cfd", "qmc", "bench",
    "sp ace |pipe ünï \"dq\" 'sq' \\bs", "new\nline\ttab", "us\x1fsep", "<b>html</b>", "$(id); `id`",
)  # fmt: skip
SCRIPT = '#!/bin/bash\n#SBATCH --output=/dev/null\n# "quotes", ünïcödé and a tab\there\nsrun ./a.out\n'


@dataclass(frozen=True, slots=True)
class Submission:
    """
    What one sbatch submits.

    Attributes:
        requests: One; several make a heterogeneous job.
        tasks: Of an array, 0 for none; ``limit`` of them at a time, 0 for no limit.
    """

    requests: tuple[JobRequest, ...]
    tasks: int = 0
    limit: int = 0


def request(**changes: Any) -> JobRequest:
    """Return a job of one core that runs for ten seconds, with changes."""
    plain: JobRequest = {
        "user": "alice",
        "uid": 3001,
        "account": "physics",
        "partition": "batch",
        "qos": "normal",
        "name": "job",
        "comment": "",
        "wckey": "",
        "reservation": "",
        "licenses": "",
        "features": "",
        "work_dir": "/home/alice",
        "script": SCRIPT,
        "batch": True,
        "nodes": 1,
        "cores": 1,
        "more": 0,
        "gpus": 0,
        "gpu_type": "",
        "exclusive": "",
        "limit_min": None,
        "held": False,
        "begin_in_s": 0,
        "duration_s": 10.0,
        "outcome": "COMPLETED",
        "exit_code": 0,
        "signal": 0,
        "cancel_after_s": None,
        "requeue_after_s": None,
        "suspend_after_s": None,
        "suspend_for_s": 0.0,
    }
    unknown = changes.keys() - plain.keys()
    if unknown:
        raise TypeError(f"a job has no {', '.join(sorted(unknown))}")
    return plain | changes  # type: ignore[return-value]


def nodes(count: int = 8, *, gpu_nodes: int = 4) -> list[NodeRow]:
    """Return nodes of 2 x 8 cores x 2 threads, the last ``gpu_nodes`` of them with four GPUs."""
    return [
        {
            "name": f"n{number}",
            "sockets": 2,
            "cores": 8,
            "threads": 2,
            "memory_mib": 64000,
            "gpu_type": "a100" if number > count - gpu_nodes else "",
            "gpus": 4 if number > count - gpu_nodes else 0,
            "features": "icelake,ib",
            "down": "",
        }
        for number in range(1, count + 1)
    ]


def draw(dice: Random, cluster: list[NodeRow], mean_s: float) -> Submission:
    """Draw the next submission; ``mean_s`` is the mean of the running time."""
    kind = dice.choices(tuple(_KINDS), tuple(_KINDS.values()))[0]
    base = _base(dice, cluster, mean_s)
    if kind == "array":
        return Submission((request(**base),), tasks=dice.randint(2, 6), limit=dice.choice((0, 1, 3)))
    if kind == "het":
        second = {**base, "nodes": min(2, len(cluster)), "cores": 1}
        return Submission((request(**base), request(**second)))
    return Submission((request(**(base | _special(kind, dice, cluster, base))),))


_KINDS = {
    "serial": 24, "wide": 10, "gpu": 12, "wide_gpu": 5, "whole": 5, "own": 3, "array": 10, "het": 4,
    "fails": 6, "killed": 4, "cancelled": 6, "cancelled_pending": 4, "held": 2, "later": 2, "short": 8,
    "timeout": 4, "requeued": 6, "suspended": 4, "node_fail": 2, "preempted": 2, "interactive": 4,
}  # fmt: skip


def _base(dice: Random, cluster: list[NodeRow], mean_s: float) -> dict[str, Any]:
    user, uid, account = dice.choice(USERS)
    most = min(node["sockets"] * node["cores"] for node in cluster)
    return {
        "user": user,
        "uid": uid,
        "account": account,
        "work_dir": f"/home/{user}",
        "name": dice.choice(NAMES),
        "comment": dice.choice(("", "", 'two lines |\nof "comment"')),
        "qos": dice.choice(("normal", "normal", "high")),
        "cores": dice.randint(1, max(1, most // 2)),
        "limit_min": dice.choice((None, 10, 60, 1440)),
        "duration_s": 1.0 + dice.expovariate(1.0 / mean_s),
    }


def _special(kind: str, dice: Random, cluster: list[NodeRow], base: dict[str, Any]) -> dict[str, Any]:
    few = dice.randint(2, 3) if len(cluster) > 2 else len(cluster)
    with_gpus = [node for node in cluster if node["gpus"]]
    took = base["duration_s"]
    if kind in ("gpu", "wide_gpu") and with_gpus:
        gpus = {"gpus": dice.randint(1, with_gpus[0]["gpus"]), "gpu_type": with_gpus[0]["gpu_type"]}
        wide = {"nodes": min(2, len(with_gpus)), "more": dice.randint(0, 2)} if kind == "wide_gpu" else {}
        return gpus | wide
    changes: dict[str, dict[str, Any]] = {
        "wide": {"nodes": few, "more": dice.randint(0, 3)},
        "whole": {"nodes": min(few, 2), "exclusive": "node"},
        "own": {"exclusive": "user"},
        "fails": {"outcome": "FAILED", "exit_code": dice.choice((1, 2, 127))},
        "killed": {"outcome": "OUT_OF_MEMORY", "signal": 9},
        "cancelled": {"outcome": "CANCELLED", "signal": 15},
        "cancelled_pending": {"cancel_after_s": 2.0, "begin_in_s": 3600},
        "held": {"held": True, "cancel_after_s": 1.0 + took},
        "later": {"begin_in_s": 15},
        "requeued": {"requeue_after_s": took / 2},
        "suspended": {"suspend_after_s": took / 2, "suspend_for_s": 1.0 + took / 3},
        "node_fail": {"outcome": "NODE_FAIL"},
        "preempted": {"outcome": "PREEMPTED"},
        "interactive": {"batch": False},
        "short": {"duration_s": dice.choice((0.0, 0.3, 1.0))},
        "timeout": {"outcome": "TIMEOUT", "limit_min": 1, "duration_s": 60.0},
    }
    return changes.get(kind, {})
