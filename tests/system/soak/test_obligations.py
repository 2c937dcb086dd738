"""T1: whatever breaks, every run that Slurm shows ends up in the backend exactly once, as it was."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import anyio
import pytest

from tests.tools.oracle.storm import Outcome, storm

#: Seed → release that the simulated Slurm speaks as; they run at the same time, each in a world of its own.
FIXED = {1: "22.05", 2: "26.05"}
#: The seed of the world with a second backend.
FAR = 2
STORM_S = 20.0


@pytest.mark.anyio
async def test_t1_d5_h3_h4_h13_h23_h26_s2_s4_z1_z2_j2_j8_i10_no_storm_loses_doubles_or_bends_a_run() -> None:
    """Daemon, backend, wire, Slurm and disk fail at random, every kind at least once: the account is even."""
    seeds = {**FIXED, random.randrange(2**32): "24.11"}
    print("seeds", seeds)  # noqa: T201 - to be able to repeat a failure
    outcomes: list[Outcome] = []

    async def run(seed: int, release: str) -> None:
        with tempfile.TemporaryDirectory(prefix="oracle.") as root:
            outcomes.append(await storm(Path(root), seed, STORM_S, release=release, far=seed == FAR))

    async with anyio.create_task_group() as group:
        for seed, release in seeds.items():
            group.start_soon(run, seed, release)
    for outcome in outcomes:
        print(outcome.report())  # noqa: T201
    assert not [problem for outcome in outcomes for problem in outcome.problems]
    assert all(account.delivered for outcome in outcomes for account in outcome.accounts.values())
