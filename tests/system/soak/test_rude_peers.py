"""T7 and T8 on the daemon as a process: one rudeness at a time, and what must not come of it."""

from __future__ import annotations

import signal
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from slurmsyncd.sandbox.slurm import faults
from slurmsyncd.sandbox.slurm.workload import Submission, request
from tests.tools.oracle.world import World, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

POLL_S = 0.5
PATIENCE_S = 60.0
STOP_S = 30.0  # systemd's patience

#: Of faults.md 4.1, S27 among them; JOB stands for the run that goes on all the while.
RUDE_SLURM = (
    ("ctld", "down:0", ""), ("ctld", "frozen:9", ""), ("dbd", "down:0", ""), ("db", "down:0", ""),
    ("empty", "", "squeue"), ("empty", "", "sacct"), ("empty", "", ""),
    ("garbage", "", "squeue"), ("garbage", "", "sacct"),
    ("truncated", "0", "squeue"), ("truncated", "60", "squeue"), ("truncated", "300", "sacct"),
    ("vanish", "JOB", ""), ("vanish", "JOB", "squeue"), ("vanish", "JOB", "sacct"),
    ("poison", "types:JOB", ""), ("poison", "state:JOB", ""), ("poison", "utf8:JOB", ""),
    ("banner", "", ""), ("stderr", "warning", ""), ("grandchild", "20", ""), ("endless", "", ""),
)  # fmt: skip
RUDE_WIRE = ("429", "503_retry_after", "hang", "drip", "bomb", "401", "lost_answer", "garbage")


@asynccontextmanager
async def calm() -> AsyncIterator[World]:
    """Have a world in which nothing goes wrong and nobody submits; its daemon and hooks run."""
    with tempfile.TemporaryDirectory(prefix="oracle.") as root:
        world = World(Path(root), seed=1, release="24.11")
        try:
            await world.open()
            world.hints_lost = 0.0
            world.daemon.configure(poll_s=POLL_S)
            async with anyio.create_task_group() as group:
                group.start_soon(world.live, 0.0)
                group.start_soon(world.daemon.run)
                await world.daemon.ready.wait()
                yield world
                world.daemon.keep = False
                group.cancel_scope.cancel()
            assert not world.daemon.bad, "\n".join(world.daemon.bad)
        finally:
            await world.aclose()


async def states(world: World, job_id: int) -> list[str]:
    """Return the states of a job's records in the backend."""
    return [row["job_state"] for row in await world.backend.rows() if row["job_id"] == job_id]


async def wait_for(world: World, job_id: int, state: str) -> None:
    """Wait until the backend has the job, once, in this state."""
    with anyio.move_on_after(PATIENCE_S):
        while await states(world, job_id) != [state]:  # noqa: ASYNC110 - the backend rings no event
            await anyio.sleep(0.1)
    assert await states(world, job_id) == [state]


def submit(world: World, duration_s: float) -> int:
    """Submit a job with a GPU; gives its id."""
    asked = request(gpus=1, gpu_type="a100", duration_s=duration_s)
    (job_id,) = world.slurm.submit(Submission((asked,)), time.time())
    return job_id


async def test_s1_s2_s3_s5_s7_s8_s9_s11_s13_s14_s16_s27_no_rude_answer_ends_a_run_that_goes_on() -> None:
    """Whatever Slurm's commands print, or do not: nothing is stopped because of it, and the daemon lives on."""
    async with calm() as world:
        state = world.root / "slurm"
        job_id = submit(world, 3600.0)
        await wait_for(world, job_id, "running")
        for name, value, command in RUDE_SLURM:
            before = world.calls()
            faults.set_fault(state, name, value.replace("JOB", str(job_id)), command)
            met = await until(lambda: world.calls() >= before + 4, PATIENCE_S)  # noqa: B023 - awaited at once
            faults.clear_fault(state, name, command)
            assert met, f"{name}: commands go on"
            assert await states(world, job_id) == ["running"], (name, value, command)
        assert not [one for one in world.proxy.passed if one.step == "stop"]
        fresh = submit(world, 1.0)
        world.slurm.cancel(job_id, time.time())
        await wait_for(world, job_id, "cancelled")
        await wait_for(world, fresh, "completed")
        assert (world.daemon.lives, dict(world.daemon.exits)) == (1, {})


async def test_p1_h9_h13_h15_h16_sigterm_amid_any_rude_answer_ends_it_in_time_and_loses_nothing() -> None:
    """Asked to end while the backend stalls, refuses or babbles, it exits with 0; the run is there once afterwards."""
    jobs = []
    async with calm() as world:
        for fault in RUDE_WIRE:
            world.proxy.fault = fault
            jobs.append(submit(world, 2.0))
            assert await until(lambda: world.proxy.met[fault] > 0, PATIENCE_S), fault  # noqa: B023
            lives, world.daemon.asked_to_end = world.daemon.lives, True
            world.daemon.signal(signal.SIGTERM)
            assert await until(lambda: world.daemon.lives > lives, STOP_S), fault  # noqa: B023
            assert world.daemon.statuses[-1] == 0, fault
        world.proxy.fault = None
        for job_id in jobs:
            await wait_for(world, job_id, "completed")


async def test_p2_a_second_sigterm_ends_it_at_once_and_loses_nothing() -> None:
    """An operator who does not want to wait for an exchange that hangs asks again; it ends before that is over."""
    async with calm() as world:
        world.proxy.fault = "hang"
        job_id = submit(world, 2.0)
        assert await until(lambda: world.proxy.met["hang"] > 0, PATIENCE_S)
        lives, world.daemon.asked_to_end = world.daemon.lives, True
        for _ in range(2):
            world.daemon.signal(signal.SIGTERM)
            await anyio.sleep(0.1)
        assert await until(lambda: world.daemon.lives > lives, STOP_S)
        world.proxy.fault = None
        await wait_for(world, job_id, "completed")


async def test_p1_p2_sigterm_amid_a_reload_is_obeyed() -> None:
    """Asked to end while it finishes an exchange for a reload, it ends, and does not go on with what it reread."""
    async with calm() as world:
        world.proxy.fault = "hang"
        job_id = submit(world, 2.0)
        assert await until(lambda: world.proxy.met["hang"] > 0, PATIENCE_S)
        lives, world.daemon.asked_to_end = world.daemon.lives, True
        world.daemon.signal(signal.SIGHUP)
        assert await until(lambda: world.daemon.events["reloading"] > 0, PATIENCE_S)
        world.daemon.signal(signal.SIGTERM)
        assert await until(lambda: world.daemon.lives > lives, STOP_S)
        assert world.daemon.statuses[-1] == 0
        world.proxy.fault = None
        await wait_for(world, job_id, "completed")
