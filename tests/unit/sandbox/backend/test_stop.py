"""Group E: stops."""

# names carry the ids of the contract's cases
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.sandbox.backend.client import J, S, T, refused
from tests.unit.sandbox.backend.waiting import until

if TYPE_CHECKING:
    from tests.unit.sandbox.backend.client import Client

pytestmark = pytest.mark.anyio
TERMINAL = [
    "boot_fail",
    "cancelled",
    "completed",
    "deadline",
    "failed",
    "node_fail",
    "out_of_memory",
    "preempted",
    "timeout",
]


async def test_E1_committed_job(client: Client) -> None:
    """A stop ends a committed job, answers with it, and archives it later."""
    await client.committed(J(1, metaData={"a": "b"}))
    answer = await client.stop(S(1, jobState="failed"))
    assert answer.status_code == 200
    job = answer.json()
    assert (job["jobState"], job["duration"], job["monitoringStatus"]) == ("failed", 60, 1)
    assert job["metaData"] is None
    assert (await client.get(f"/api/jobs/{job['id']}")).json()["Meta"]["jobId"] == 1

    async def archived() -> bool:
        return bool((await client.stored(1))["monitoring_status"] == 3)

    await until(archived)


async def test_E2_cached_job(client: Client) -> None:
    """A stop of a cached job commits it."""
    await client.start(J(1))
    assert (await client.stop(S(1))).status_code == 200
    (job,) = await client.jobs()
    assert (job["jobState"], job["duration"]) == ("completed", 60)
    assert await client.tick() == 0


async def test_E3_E13_again(client: Client) -> None:
    """A second stop is refused as such, even with a wrong state."""
    await client.committed(J(1))
    await client.stop(S(1))
    refused(await client.stop(S(1)), 422, "already been stopped")
    refused(await client.stop(S(1, jobState="bogus", stopTime=0)), 422, "state is: completed")


@pytest.mark.parametrize(
    "stop", [pytest.param(S(99), id="E4"), pytest.param(S(1, startTime=T + 1), id="E5"), S(1, cluster="star")]
)
async def test_E4_E5_unknown_job(client: Client, stop: Any) -> None:
    """A stop that fits no job is 404 with the normal reason text."""
    await client.committed(J(1))
    answer = await client.stop(stop)
    refused(answer, 404, "no rows in result set")
    assert answer.json()["status"] == "Not Found"


@pytest.mark.parametrize(
    ("stop", "marker"),
    [
        pytest.param(S(1, jobId=...), "jobId", id="E6"),
        pytest.param(S(1, stopTime=T - 1), "larger/equal", id="E7"),
        pytest.param(S(1, stopTime=...), "larger/equal", id="E7-absent"),
        *(
            pytest.param(S(1, jobState=state), "invalid requested job state", id=f"E9-{state}")
            for state in ("COMPLETED", "canceled", "stopped", "requeued")
        ),
        pytest.param(S(1, partition="p"), "unknown field", id="E14-partition"),
        pytest.param(S(1, state="failed"), "unknown field", id="E14-state"),
    ],
)
async def test_E_refused_with_400(client: Client, stop: Any, marker: Any) -> None:
    """A stop that makes no sense changes nothing."""
    await client.committed(J(1))
    refused(await client.stop(stop), 400, marker)
    assert (await client.jobs())[0]["jobState"] == "running"


async def test_E8_no_duration(client: Client) -> None:
    """A job may end in the second it began."""
    await client.committed(J(1))
    assert (await client.stop(S(1, stopTime=T))).json()["duration"] == 0


@pytest.mark.parametrize("state", [..., "", *TERMINAL])
async def test_E10_E11_states(client: Client, state: Any) -> None:
    """Each terminal state is taken; none means completed."""
    await client.committed(J(1))
    assert (await client.stop(S(1, jobState=state))).status_code == 200
    (job,) = await client.jobs()
    assert job["jobState"] == (state if state in TERMINAL else "completed")


async def test_E12_running(client: Client) -> None:
    """A stop may say running, and the job stays so."""
    await client.committed(J(1))
    assert (await client.stop(S(1, jobState="running"))).status_code == 200
    assert (await client.jobs())[0]["jobState"] == "running"


async def test_E15_without_cluster(client: Client) -> None:
    """Without a cluster the newest row counts, a cached one before all committed ones."""
    for cluster in ("demo", "star"):
        await client.committed(J(1, cluster=cluster))
    assert (await client.stop(S(1, cluster=...))).json()["cluster"] == "star"
    await client.start(J(1, cluster="demo", startTime=T + 86400))
    cached = await client.stop({"jobId": 1, "stopTime": T + 86401})
    assert cached.json()["startTime"] == T + 86400


async def test_E16_two_committed_runs_without_start_time(client: Client) -> None:
    """Without a start time only the newest run is looked at; with it the older one can be stopped."""
    for start in (T, T + 10):
        await client.start(J(3, startTime=start))
    await client.tick()
    blind = {"jobId": 3, "cluster": "demo", "stopTime": T + 50}
    assert (await client.stop(blind)).json()["startTime"] == T + 10
    refused(await client.stop(blind), 422, "already been stopped")
    assert (await client.stop({**blind, "startTime": T})).status_code == 200


async def test_E16_two_cached_runs_without_start_time(client: Client) -> None:
    """Both cached runs can be stopped blindly, the newest first."""
    for start in (T, T + 10):
        await client.start(J(3, startTime=start))
    blind = {"jobId": 3, "cluster": "demo", "stopTime": T + 50}
    assert [(await client.stop(blind)).status_code for _ in range(3)] == [200, 200, 422]


async def test_E17_stop_by_id(client: Client) -> None:
    """There is no stop by database id any more."""
    answer = await client.ask("POST", "/api/jobs/stop_job/5", json=S(5))
    refused(answer, 404)
    assert answer.json()["status"] == "Resource not found"


async def test_E18_without_slash(client: Client) -> None:
    """Without its slash the path means a job by id."""
    refused(await client.ask("POST", "/api/jobs/stop_job", json=S(1)), 400, "integer expected")


async def test_E19_in_both_tables(client: Client) -> None:
    """A job that is cached and committed cannot be moved; after the tick it can be stopped."""
    await client.start(J(1))
    await client.start(J(1, tags=[{"type": "a", "name": "b"}]))
    refused(await client.stop(S(1)), 500, "transferring cached job")
    await client.tick()
    assert (await client.stop(S(1))).status_code == 200


async def test_E20_not_monitored(client: Client) -> None:
    """A job with monitoring status 0 is never archived."""
    for job_id, status in ((1, 0), (2, 1)):
        await client.committed(J(job_id, monitoringStatus=status))
        assert (await client.stop(S(job_id))).status_code == 200

    async def second_archived() -> bool:  # one worker, in order: the first would have been before it
        return bool((await client.stored(2))["monitoring_status"] == 3)

    await until(second_archived)
    assert (await client.stored(1))["monitoring_status"] == 0
