"""The archiver: a bounded queue served by one worker. A full queue blocks requests that stop a job."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from slurmsyncd.sandbox.backend.database import BackendDatabase
    from slurmsyncd.sandbox.backend.fault_injection import InjectedFaults


class Archive:
    """The queue of jobs that wait to be archived."""

    def __init__(self, database: BackendDatabase, knobs: InjectedFaults, size: int) -> None:
        self._database = database
        self._knobs = knobs
        self._queue: asyncio.Queue[int] = asyncio.Queue(size)

    async def put(self, dbid: int) -> None:
        """Queue a job; waits while the queue is full."""
        await self._queue.put(dbid)

    async def work(self) -> NoReturn:
        """Archive one job after the other. Runs until cancelled."""
        while True:
            dbid = await self._queue.get()
            if self._knobs.archive_delay_s > 0:
                await asyncio.sleep(self._knobs.archive_delay_s)
            with contextlib.suppress(
                sqlite3.Error
            ):  # it stays waiting for ever: the original has no retry either
                self._database.archived(dbid)

    def drain(self) -> None:
        """Archive all waiting jobs immediately, as a clean shutdown does."""
        while not self._queue.empty():
            self._database.archived(self._queue.get_nowait())
