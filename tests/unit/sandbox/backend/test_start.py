"""Groups C and D: what a start must be, and when it is a repeat."""

# names carry the ids of the contract's cases
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from tests.unit.sandbox.backend.client import NOW, J, S, T, refused

if TYPE_CHECKING:
    from tests.unit.sandbox.backend.client import Client

pytestmark = pytest.mark.anyio
TAG = {"type": "test", "name": "one"}


async def test_C1_start(client: Client) -> None:
    """A started job is invisible until the tick, then it runs."""
    answer = await client.start(J())
    assert (answer.status_code, answer.json()) == (201, {"msg": "success"})
    assert await client.jobs() == []
    assert await client.tick() == 1
    (job,) = await client.jobs()
    assert (job["jobState"], job["subCluster"], job["shared"], job["jobId"]) == ("running", "main", "none", 1)
    assert job["metaData"] is None
    assert not {"partition", "tags", "numAcc", "smt", "walltime"} & set(job)


@pytest.mark.parametrize(
    ("job", "marker"),
    [
        pytest.param(J(cluster="nope"), "no such cluster", id="C2"),
        pytest.param(J(cluster=...), "no such cluster", id="C2-missing"),
        pytest.param(J(resources=[{"hostname": "xx1"}]), "no subcluster found", id="C3"),
        pytest.param(J(resources=[{"hostname": "cn001.example.org"}]), "no subcluster found", id="C4"),
        pytest.param(J(resources=[{"hostname": "cn7"}]), "no subcluster found", id="C4-width"),
        pytest.param(J(subCluster="zz"), "subcluster", id="C6"),
        pytest.param(J(resources=[], numNodes=0), "without any resources", id="C7"),
        pytest.param(J(resources=[], subCluster="main"), "'resources' and 'user'", id="C7-subcluster"),
        pytest.param(J(user=""), "'resources' and 'user'", id="C8"),
        pytest.param(J(user=...), "'resources' and 'user'", id="C8-missing"),
        pytest.param(J(numNodes=2), "does not equal numNodes", id="C9"),
        pytest.param(J(numNodes=0), "invalid", id="C9-zero"),
        pytest.param(J(numAcc=-1), "invalid", id="C10-acc"),
        pytest.param(J(numHwthreads=-1), "invalid", id="C10-hwthreads"),
    ],
)
async def test_C_refused_with_400(client: Client, job: Any, marker: Any) -> None:
    """What cannot be stored is refused, with the marker of the first check that fails."""
    refused(await client.start(job), 400, marker)


@pytest.mark.parametrize(
    "job",
    [
        pytest.param(J(resources=[{"hostname": "cn001"}, {"hostname": "xx1"}], numNodes=2), id="C5"),
        pytest.param(J(subCluster="gpu", resources=[{"hostname": "xx1"}]), id="C6"),
        pytest.param(J(numHwthreads=0), id="C10"),
        pytest.param(J(smt=2, tags=[TAG]), id="C12-tag"),
        pytest.param(J(monitoringStatus=0), id="C13"),
        pytest.param(J(startTime=0), id="C15-zero"),
        pytest.param(J(startTime=...), id="C15-absent"),
        pytest.param(J(startTime=-5), id="C15-negative"),
        pytest.param(J(startTime=NOW + 9999), id="C15-future"),
        pytest.param(J(0), id="C16-zero"),
        pytest.param(J(-3), id="C16-negative"),
        pytest.param(J(jobId=...), id="C16-absent"),
        pytest.param(J(resources=[{"hostname": "cn001", "accelerators": ["nope"]}]), id="C18"),
    ],
)
async def test_C_accepted(client: Client, job: Any) -> None:
    """What the original takes without a check is taken."""
    assert (await client.start(job)).status_code == 201


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"shared": "yes"}, id="C11"),
        pytest.param({"shared": ""}, id="C11-empty"),
        pytest.param({"smt": 2}, id="C12"),
        pytest.param({"monitoringStatus": 7}, id="C13"),
    ],
)
async def test_C11_C12_C13_constraints(client: Client, changes: Any) -> None:
    """What only the database checks ends as 500."""
    answer = await client.start(J(**changes))
    refused(answer, 500, "insert into database failed:")
    assert "CHECK constraint failed" in answer.json()["error"]


@pytest.mark.parametrize("state", ["completed", "nonsense"])
async def test_C14_state_is_ignored(client: Client, state: Any) -> None:
    """A started job runs, whatever the request says."""
    await client.committed(J(jobState=state))
    (job,) = await client.jobs()
    assert job["jobState"] == "running"


async def test_C17_star(client: Client) -> None:
    """A cluster whose first sub-cluster lists ``*`` takes any host."""
    await client.committed(J(cluster="star", resources=[{"hostname": "any.where_1"}]))
    (job,) = await client.jobs()
    assert job["subCluster"] == "all"


async def test_C19_accepted_but_not_stored(client: Client) -> None:
    """Submit time and requested memory are taken and forgotten."""
    await client.committed(J(submitTime=T - 5, requestedMemory=1024))
    (job,) = await client.jobs()
    assert not {"submitTime", "requestedMemory"} & set(job)


async def test_C20_large_metadata(client: Client) -> None:
    """There is no limit on bodies."""
    script = "x" * 20_000_000
    await client.committed(J(metaData={"jobScript": script}))
    (job,) = await client.jobs(with_metadata="true")
    assert job["metaData"]["jobScript"] == script


async def test_every_field_comes_back(client: Client) -> None:
    """What a sender says of a job is what a reader gets."""
    resource = {
        "hostname": "gpu01",
        "configuration": "x",
        "hwthreads": [0, 3],
        "accelerators": ["00000000:0E:00.0"],
    }
    sent = J(
        partition="p", project="acc", arrayJobId=9, numHwthreads=2, numAcc=1, shared="multi_user", walltime=60,
        smt=1, resources=[resource], metaData={"jobName": "a<b'\"\\\n\u00e9"},
    )  # fmt: skip
    await client.committed(sent)
    (job,) = await client.jobs(with_metadata="1")
    assert {key: job[key] for key in sent} == sent


async def test_empty_lists_in_resources_are_dropped(client: Client) -> None:
    """An empty list of hwthreads means the whole node, as if it were absent."""
    await client.committed(J(resources=[{"hostname": "cn001", "hwthreads": [], "accelerators": []}]))
    (job,) = await client.jobs()
    assert job["resources"] == [{"hostname": "cn001"}]


async def test_D1_repeat_in_cache(client: Client) -> None:
    """The same start while the first is cached breaks the key: it is there already."""
    assert (await client.start(J(2))).status_code == 201
    refused(await client.start(J(2)), 500, "UNIQUE constraint failed: job_cache")


async def test_D2_D3_D4_repeat_of_a_committed_job(client: Client) -> None:
    """A committed job refuses its repeat, a start within a day after it, and any start before it."""
    await client.committed(J(2))
    (job,) = await client.jobs()
    refused(await client.start(J(2)), 422, f"already exists: dbid: {job['id']}")
    refused(await client.start(J(2, startTime=T + 86399)), 422, "already exists")
    refused(await client.start(J(2, startTime=T - 30 * 86400)), 422, "already exists")
    assert (await client.start(J(2, startTime=T + 86400))).status_code == 201


async def test_D5_other_cluster(client: Client) -> None:
    """The same id on another cluster is another job."""
    await client.committed(J(2))
    assert (await client.start(J(2, cluster="star"))).status_code == 201


async def test_D6_two_runs_in_cache(client: Client) -> None:
    """Two starts of one id both enter while neither is committed."""
    assert [(await client.start(J(3, startTime=start))).status_code for start in (T, T + 10)] == [201, 201]
    await client.tick()
    assert [job["jobState"] for job in await client.jobs()] == ["running", "running"]


async def test_D7_D8_requeue(client: Client) -> None:
    """A requeued job is refused within a day, until somebody deletes its first run."""
    await client.committed(J(4))
    assert (await client.stop(S(4))).status_code == 200
    again = J(4, startTime=T + 3600)
    refused(await client.start(again), 422, "already exists")
    first = {"jobId": 4, "cluster": "demo", "startTime": T}
    assert (await client.ask("DELETE", "/api/jobs/delete_job/", json=first)).status_code == 200
    assert (await client.start(again)).status_code == 201


async def test_D9_parallel_starts(client: Client) -> None:
    """Of many identical starts at once exactly one enters."""
    codes = []

    async def one() -> None:
        codes.append((await client.start(J(5))).status_code)

    async with anyio.create_task_group() as group:
        for _ in range(32):
            group.start_soon(one)
    assert sorted(codes) == [201] + [500] * 31


async def test_D10_state_does_not_matter(client: Client) -> None:
    """A job that is over refuses its repeat as well."""
    await client.committed(J(6))
    await client.stop(S(6))
    refused(await client.start(J(6)), 422, "already exists")


async def test_tick_drops_a_cached_job_whose_key_is_committed(client: Client) -> None:
    """A job that is in both tables stays once."""
    await client.start(J(7))
    await client.start(J(7, tags=[TAG]))
    assert await client.tick() == 1
    (job,) = await client.jobs()
    assert job["tags"] == [{"id": 1, **TAG, "scope": "global"}]
