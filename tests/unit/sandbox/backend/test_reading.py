"""Group F: reading back."""

# names carry the ids of the contract's cases
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.sandbox.backend.client import J, S, T, refused

if TYPE_CHECKING:
    from tests.unit.sandbox.backend.client import Client

pytestmark = pytest.mark.anyio


@pytest.fixture
async def three(client: Client) -> Client:
    """Jobs 1 (running), 2 (completed), 3 (running on star), 4 (cached)."""
    for job in (J(1), J(2, startTime=T + 1), J(3, cluster="star", startTime=T + 2)):
        await client.committed({**job, "metaData": {"jobName": "x"}})
    await client.stop(S(2, startTime=T + 1))
    await client.start(J(4))
    return client


def ids(jobs: list[dict[str, Any]]) -> list[int]:
    return [job["jobId"] for job in jobs]


async def test_F1_running_of_a_cluster(three: Client) -> None:
    """Only committed running jobs of the cluster are listed."""
    assert ids(await three.jobs(state="running", cluster="demo")) == [1]


@pytest.mark.parametrize(
    "query",
    [
        "state=RUNNING",
        "foo=1",
        "page=0",
        "page=x",
        "items-per-page=0",
        "items-per-page=-1",
        "items-per-page=x",
        "start-time=5",
        "start-time=5-",
        "start-time=-5-6",
        "start-time=1-2-3",
    ],
)
async def test_F2_bad_query(client: Client, query: Any) -> None:
    """Unknown keys and values are refused."""
    refused(await client.get(f"/api/jobs/?{query}"), 400, "invalid query parameter")


async def test_F3_several_states(three: Client) -> None:
    """States add up; the newest start comes first."""
    assert ids(await three.jobs(state=["running", "completed"])) == [3, 2, 1]


async def test_F4_unknown_cluster(three: Client) -> None:
    """An unknown cluster is an empty list."""
    assert await three.jobs(cluster="nope") == []


@pytest.mark.parametrize(
    ("query", "shown"), [({"with_metadata": "false"}, {"jobName": "x"}), ({}, None)], ids=["F5", "F6"]
)
async def test_F5_F6_metadata(three: Client, query: Any, shown: Any) -> None:
    """The key's mere presence shows metadata."""
    assert (await three.jobs(**query))[0]["metaData"] == shown


async def test_F7_paging(three: Client) -> None:
    """Pages are echoed, cut as asked, and empty beyond the end."""
    answer = (await three.get("/api/jobs/?items-per-page=2&page=2")).json()
    assert (ids(answer["jobs"]), answer["items"], answer["page"]) == ([1], 2, 2)
    beyond = (await three.get("/api/jobs/?items-per-page=2&page=9")).json()
    assert beyond == {"jobs": [], "items": 2, "page": 9}
    default = (await three.get("/api/jobs/")).json()
    assert (default["items"], default["page"]) == (25, 1)


async def test_F8_without_slash(client: Client) -> None:
    """The list needs its slash."""
    refused(await client.get("/api/jobs"), 404)


async def test_F9_by_id(three: Client) -> None:
    """One job by database id, with metadata."""
    (job,) = await three.jobs(cluster="star")
    answer = (await three.get(f"/api/jobs/{job['id']}")).json()
    assert (answer["Meta"]["jobId"], answer["Meta"]["metaData"], answer["Data"]) == (
        3,
        {"jobName": "x"},
        None,
    )
    refused(await three.get("/api/jobs/999"), 422, "no rows in result set")
    refused(await three.get("/api/jobs/abc"), 400, "integer expected")


async def test_F10_clusters(client: Client) -> None:
    """cluster.json can be read, whole or by name."""
    assert [c["name"] for c in (await client.get("/api/clusters/")).json()["clusters"]] == ["demo", "star"]
    (demo,) = (await client.get("/api/clusters/?cluster=demo")).json()["clusters"]
    assert len(demo["subClusters"][1]["topology"]["accelerators"]) == 2
    refused(await client.get("/api/clusters/?cluster=nope"), 400, "unknown cluster")


async def test_F11_used_nodes(three: Client) -> None:
    """Nodes of running jobs that began before ts."""
    refused(await three.get("/api/jobs/used_nodes"), 400)
    assert (await three.get(f"/api/jobs/used_nodes?ts={T + 2}")).json() == {"usedNodes": {"demo": ["cn001"]}}


async def test_start_time_is_inclusive(three: Client) -> None:
    """One job is found by the second of its start."""
    assert ids(await three.jobs(start_time=f"{T + 1}-{T + 1}")) == [2]


async def test_duration_of_a_running_job_grows(three: Client) -> None:
    """A running job's duration ends now."""
    (job,) = await three.jobs(state="running", cluster="demo")
    assert job["duration"] >= 100


async def test_large_answers_are_compressed_on_request(three: Client) -> None:
    """gzip is used if the client takes it."""
    plain = await three.get("/api/clusters/", headers={"Accept-Encoding": "identity"})
    packed = await three.get("/api/clusters/", headers={"Accept-Encoding": "gzip"})
    assert (plain.headers.get("content-encoding"), packed.headers["content-encoding"]) == (None, "gzip")
    assert plain.json() == packed.json()
