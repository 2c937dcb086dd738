"""D9 on the daemon as a process: an older store is caught up with, and nothing is lost or doubled."""

from __future__ import annotations

import shutil
import signal
import time
from contextlib import closing

import pytest

from slurmsyncd.store import open_store
from tests.unit.host.lives import life, quiet_world, submit, there

pytestmark = pytest.mark.anyio


async def test_d9_j8_an_older_store_is_caught_up_with_and_nothing_is_doubled() -> None:
    """
    D9, J8: killed, its log is deleted; later yesterday's store is put back. The backend has each run once.

    What was told and is told again settles as "already there"; what began before is ended as it did.
    """
    async with quiet_world() as world:
        state = world.disk.path / "state"
        path, log = state / "store.sqlite", state / "store.sqlite-wal"
        async with life(world, end=signal.SIGKILL):
            through, first = submit(world, 3600.0), submit(world, 0.5)
            await there(world, through, "running")
            await there(world, first, "completed")
        log.unlink()
        async with life(world):
            second = submit(world, 0.5)
            await there(world, second, "completed")
        backup = shutil.copy(path, world.root / "backup")
        async with life(world):
            third = submit(world, 0.5)
            await there(world, third, "completed")
        shutil.copy(backup, path)
        async with life(world) as daemon:
            fourth = submit(world, 0.5)
            world.slurm.cancel(through, time.time())
            await there(world, fourth, "completed")
            await there(world, through, "cancelled")
            for job_id in (first, second, third):
                await there(world, job_id, "completed")
            assert (daemon.events["store_older_than_checkpoint"], dict(daemon.exits)) == (1, {})
        with closing(open_store(state, ["cc"]).store) as store:
            assert store.list_deliveries() == ()
            assert store.counts("cc").states == {}
