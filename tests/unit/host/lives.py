"""Lives of the real daemon, one after the other, in a world where nobody does anything by itself."""

from __future__ import annotations

import json
import signal
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from slurmsyncd.sandbox.slurm.workload import Submission, request
from tests.system.e2e.site import run_program
from tests.tools.oracle.world import STOP_HOLD_S, World, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.tools.oracle.world import Daemon

PATIENCE_S = 90.0


@asynccontextmanager
async def quiet_world() -> AsyncIterator[World]:
    """Have simulated Slurm and a backend, and a configuration for a daemon that is not running yet."""
    with tempfile.TemporaryDirectory(prefix="lives.") as root:
        world = World(Path(root), seed=1, release="24.11")
        try:
            await world.backend.start()
            await world.proxy.listen()
            world.hints_lost = 0.0
            world.daemon.configure(poll_s=0.5)
            change(world, f"stop_hold = {STOP_HOLD_S}", "stop_hold = 2.0")
            async with anyio.create_task_group() as group:
                group.start_soon(world.live, 0.0)
                yield world
                group.cancel_scope.cancel()
            assert not world.daemon.bad, "\n".join(world.daemon.bad)
        finally:
            world.close()
            with anyio.CancelScope(shield=True):
                await world.backend.aclose()
                await world.proxy.aclose()


@asynccontextmanager
async def life(world: World, *, end: int = signal.SIGTERM) -> AsyncIterator[Daemon]:
    """Have the daemon run from its being ready until the signal at the end has ended it."""
    daemon = world.daemon
    daemon.keep = True
    async with anyio.create_task_group() as group:
        group.start_soon(daemon.run)
        with anyio.fail_after(PATIENCE_S):
            await daemon.ready.wait()
        yield daemon
        daemon.keep, daemon.asked_to_end = False, True
        daemon.signal(end)


def change(world: World, old: str, new: str) -> None:
    """Change one thing in the configuration."""
    text = world.daemon.config.read_text()
    assert text.count(old) == 1
    world.daemon.config.write_text(text.replace(old, new))


def submit(world: World, duration_s: float) -> int:
    """Submit a job with a GPU; gives its id."""
    asked = request(gpus=1, gpu_type="a100", duration_s=duration_s)
    (job_id,) = world.slurm.submit(Submission((asked,)), time.time())
    return job_id


async def said(daemon: Daemon, event: str, before: int = 0) -> None:
    """Wait until the daemon has said something more often than before."""
    heard = await until(lambda: daemon.events[event] > before, PATIENCE_S)
    assert heard, f"{event}\n" + "\n".join(list(daemon.lines)[-20:])


async def there(world: World, job_id: int, state: str) -> None:
    """Wait until the backend has the job, once, in this state."""
    with anyio.move_on_after(PATIENCE_S):
        while await _states(world, job_id) != [state]:  # noqa: ASYNC110 - the backend rings no event
            await anyio.sleep(0.1)
    assert await _states(world, job_id) == [state]


async def _states(world: World, job_id: int) -> list[str]:
    return [row["job_state"] for row in await world.backend.rows() if row["job_id"] == job_id]


async def ask(world: World) -> dict[str, Any]:
    """Run `slurmsyncd status`; gives what it printed."""
    asked = ("status", "--json", "--config", str(world.daemon.config))
    done = await anyio.to_thread.run_sync(lambda: run_program(*asked))
    found: dict[str, Any] = json.loads(done.stdout)
    return found


async def exchange_hangs(world: World) -> None:
    """Wait until a start is under way; what else hangs (an audit, node states) is not waited for at a stop."""
    with anyio.fail_after(90):
        while not any(  # noqa: ASYNC110 - the daemon rings no event for us
            sink["in_hand"]["start"] for sink in (await ask(world))["live"]["sinks"]
        ):
            await anyio.sleep(0.1)
