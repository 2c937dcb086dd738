"""Nothing is over-allocated, whatever jobs come."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slurmsyncd.sandbox.slurm.placement import NodePool
from slurmsyncd.sandbox.slurm.workload import nodes, request

if TYPE_CHECKING:
    from collections.abc import Callable

    from slurmsyncd.sandbox.slurm.records import HeldResources, JobRequest
    from tests.unit.sandbox.slurm.lab import Lab

JOBS = st.builds(
    request,
    user=st.sampled_from(("alice", "bob")),
    nodes=st.integers(1, 4),
    cores=st.integers(1, 16),
    more=st.integers(0, 3),
    gpus=st.integers(0, 4),
    exclusive=st.sampled_from(("", "", "", "node", "user")),
)
STEPS = st.lists(st.tuples(st.booleans(), JOBS, st.integers(0, 99)), max_size=60)


@given(STEPS)
def test_books(steps: list[tuple[bool, JobRequest, int]]) -> None:
    """Every core and GPU has one holder at most, a job gets what it asked for, and all comes back."""
    books = NodePool(nodes(6, gpu_nodes=3))
    held: list[tuple[list[HeldResources], JobRequest]] = []
    for leave, asked, which in steps:
        if leave and held:
            books.release(*held.pop(which % len(held)))
            continue
        alloc = books.place(asked)
        if alloc is None:
            continue
        held.append((alloc, asked))
        assert len(alloc) == asked["nodes"]
        for first, one in enumerate(alloc):
            wanted = asked["cores"] + (0 if first else asked["more"])
            assert len(one["cores"]) == (16 if asked["exclusive"] == "node" else wanted)
        check(held)
    for alloc, asked in held:
        books.release(alloc, asked)
    assert books.place(request(nodes=6, exclusive="node")) is not None


def check(held: list[tuple[list[HeldResources], JobRequest]]) -> None:
    cores = Counter((h["node"], *core) for alloc, _ in held for h in alloc for core in h["cores"])
    gpus = Counter((h["node"], gpu) for alloc, _ in held for h in alloc for gpu in h["gpus"])
    assert max([*cores.values(), *gpus.values(), 1]) == 1
    for users in users_by_node(held).values():
        if "node" in {kind for _, kind in users}:
            assert len(users) == 1
        if "user" in {kind for _, kind in users}:
            assert len({user for user, _ in users}) == 1


def users_by_node(held: list[tuple[list[HeldResources], JobRequest]]) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for alloc, asked in held:
        for one in alloc:
            found.setdefault(one["node"], []).append((asked["user"], asked["exclusive"]))
    return found


def test_taking_twice_is_refused() -> None:
    """What somebody holds cannot be booked again."""
    books = NodePool(nodes(1))
    asked = request(cores=2)
    alloc = books.place(asked)
    assert alloc is not None
    with pytest.raises(ValueError, match="not all free"):
        books.take(alloc, asked)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_random_mix(seed: int, make_lab: Callable[..., Lab]) -> None:
    """In a random mix every moment's ledger is free of doubles, and sacct's TRES agree with it."""
    lab = make_lab(seed=seed, requeue_delay_s=5, mean_s=8.0)
    dice = random.Random(seed)
    for _ in range(60):
        if dice.random() < 0.7:
            lab.sim.submit_random(lab.now)
        lab.pass_(1)
    runs = list(lab.sim.ledger())
    active = [run for run in runs if run.end_at is None]
    cores = Counter(
        (n, *c) for run in active for n, held in zip(run.nodes, run.cores, strict=True) for c in held
    )
    gpus = Counter(
        (n, g) for run in active for n, held in zip(run.nodes, run.gpus, strict=True) for g in held
    )
    assert max([*cores.values(), *gpus.values(), 1]) == 1
    ask = (
        "sacct",
        "-aXDnP",
        "--noconvert",
        "-S",
        "uts1799990000",
        "-oJobIDRaw,Start,AllocTRES",
        "--delimiter=|",
    )
    told = dict(line.rsplit("|", 1) for line in lab.text(*ask).splitlines())
    for run in runs:
        tres = dict(part.split("=") for part in told[f"{run.job_id}|{run.start_at}"].split(","))
        assert int(tres["cpu"]) == 2 * sum(map(len, run.cores))
        assert int(tres.get("gres/gpu", 0)) == sum(map(len, run.gpus))
        assert int(tres["node"]) == len(run.nodes)
