"""Starts, stops and the commit tick, with the original's order of checks, locks and races."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING, Any

from slurmsyncd.sandbox.backend.clusters import Clusters, NoSubCluster, NoSuchCluster
from slurmsyncd.sandbox.backend.records import to_answer, to_values
from slurmsyncd.sandbox.backend.responses import ApiError, HandlerCrash
from slurmsyncd.sandbox.backend.schema import STATES

if TYPE_CHECKING:
    from collections.abc import Callable

    from slurmsyncd.sandbox.backend.archive import Archive
    from slurmsyncd.sandbox.backend.database import BackendDatabase, Row
    from slurmsyncd.sandbox.backend.fault_injection import InjectedFaults
    from slurmsyncd.sandbox.backend.tags import Tags
    from slurmsyncd.sandbox.backend.tokens import User


class Jobs:
    """
    The life of jobs.

    Attributes:
        clusters: May be replaced, as an admin's edit and restart would.
    """

    def __init__(
        self,
        *,
        database: BackendDatabase,
        clusters: Clusters,
        archive: Archive,
        tags: Tags,
        knobs: InjectedFaults,
        clock: Callable[[], float],
    ) -> None:
        self.clusters = clusters
        self._database = database
        self._archive = archive
        self._tags = tags
        self._knobs = knobs
        self._clock = clock
        self._starting = asyncio.Lock()  # M1: duplicate check and insert
        self._writing = asyncio.Lock()  # M2: inserts, the tick, the second half of a stop

    async def start(self, job: dict[str, Any], user: User | None) -> None:
        """
        Take a decoded start; without a user (NATS) its tags are dropped.

        Raises:
            ApiError: Refused.
            HandlerCrash: A null among the resources or tags.
        """
        values = to_values(job, self._checked(job))
        async with self._starting:
            self._refuse_repeat(job)
            async with self._writing:
                dbid = self._insert(job, values)
        if job.get("tags") and user is not None:
            self._tag(dbid, job["tags"], user)

    def _checked(self, job: dict[str, Any]) -> str:
        """Return the job's sub-cluster, if it may be stored."""
        resources = job.setdefault("resources", [])
        sub_cluster = self._assigned(job, resources)
        if None in resources:
            raise HandlerCrash("null among the resources")
        if not resources or not job.get("user"):
            raise ApiError(400, "the fields 'resources' and 'user' must not be empty")
        _check_counts(job, resources)
        if job.get("jobId", 0) in self._knobs.refuse_job_ids:
            raise ApiError(400, "invalid job: refused on demand")
        return sub_cluster

    def _assigned(self, job: dict[str, Any], resources: list[Any]) -> str:
        cluster, wanted = job.get("cluster", ""), job.get("subCluster", "")
        try:
            self.clusters.check(cluster)
            if not wanted and not resources:
                raise ApiError(400, "job without any resources/hosts")
            if not wanted and resources[0] is None:
                raise HandlerCrash("null as the first resource")
            host = "" if wanted else resources[0].get("hostname", "")
            return self.clusters.assign(cluster, wanted, host)
        except (NoSuchCluster, NoSubCluster) as err:
            raise ApiError(400, str(err)) from err

    def _refuse_repeat(self, job: dict[str, Any]) -> None:
        old = self._database.repeat_of(job.get("jobId", 0), job["cluster"], job.get("startTime", 0))
        if old is not None:
            message = f"a job with that jobId, cluster and startTime already exists: dbid: {old['id']}"
            raise ApiError(422, message)

    def _insert(self, job: dict[str, Any], values: tuple[Any, ...]) -> int:
        try:
            self._fail_if_locked()
            return self._database.insert("job" if job.get("tags") else "job_cache", values)
        except sqlite3.Error as err:
            raise ApiError(500, f"insert into database failed: {err}") from err

    def _tag(self, dbid: int, tags: list[Any], user: User) -> None:
        for tag in tags:
            if tag is None:
                raise HandlerCrash("null among the tags")
            try:
                self._tags.add(dbid, tag, user)
            except (sqlite3.Error, PermissionError) as err:
                raise ApiError(500, f"adding tag to new job {dbid} failed: {err}") from err

    async def stop(self, request: dict[str, Any]) -> dict[str, Any]:
        """
        Take a decoded stop; gives the job object.

        Raises:
            ApiError: Refused.
        """
        row, cached = self._to_stop(request)
        state, stop_time = request.get("jobState") or "completed", request.get("stopTime", 0)
        _check_stop(row, state, stop_time)
        if cached and self._knobs.take("race_stops"):
            await self.tick()
        duration = stop_time - row["start_time"]
        async with self._writing:
            dbid = self._finish(row, state, duration, cached=cached)
            if row["monitoring_status"] != 0:
                await self._archive.put(dbid)
        done = {**row, "id": dbid, "job_state": state, "duration": duration}
        return {**to_answer(done, now=self._clock(), meta=False), "duration": duration}

    def _to_stop(self, request: dict[str, Any]) -> tuple[Row, bool]:
        if "jobId" not in request:
            raise ApiError(400, "the field 'jobId' is required")
        if row := self._database.newest("job_cache", request):
            return row, True
        if row := self._database.newest("job", request):
            return row, False
        raise ApiError(404, "finding job failed: sql: no rows in result set")

    def _finish(self, row: Row, state: str, duration: int, *, cached: bool) -> int:
        dbid: int = row["id"]
        try:
            self._fail_if_locked()
            dbid = self._database.move(row) if cached else dbid
        except sqlite3.Error as err:
            raise ApiError(500, f"transferring cached job failed: {err}") from err
        try:
            self._database.finish(dbid, state, duration)
        except sqlite3.Error as err:
            raise ApiError(500, f"marking job as {state} failed: {err}") from err
        return dbid

    async def tick(self) -> int:
        """Move the cached jobs to the main table and return their number."""
        async with self._writing:
            return self._database.commit_cache()

    def _fail_if_locked(self) -> None:
        if self._knobs.take("locked"):
            raise sqlite3.OperationalError("database is locked")


def _check_counts(job: dict[str, Any], resources: list[Any]) -> None:
    nodes, hwthreads, acc = (job.get(key, 0) for key in ("numNodes", "numHwthreads", "numAcc"))
    if nodes < 1 or hwthreads < 0 or acc < 0:
        raise ApiError(400, "invalid value in 'numNodes', 'numAcc' or 'numHwthreads'")
    if len(resources) != nodes:
        raise ApiError(400, f"len(resources)={len(resources)} does not equal numNodes={nodes}")


def _check_stop(row: Row, state: str, stop_time: int) -> None:
    if row["job_state"] != "running":
        raise ApiError(422, f"job has already been stopped, state is: {row['job_state']}")
    if stop_time < row["start_time"]:
        raise ApiError(400, f"stopTime {stop_time} must be larger/equal than startTime {row['start_time']}")
    if state not in STATES:
        raise ApiError(400, f"invalid requested job state: {state}")
