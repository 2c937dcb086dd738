"""Group G: node states, metadata, tags, deletion, users."""

# names carry the ids of the contract's cases
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.sandbox.backend.client import J, S, T, refused

if TYPE_CHECKING:
    from slurmsyncd.sandbox.backend.server import EmbeddedBackend
    from tests.unit.sandbox.backend.client import Client

pytestmark = pytest.mark.anyio


def node(host: str, states: Any, **changes: Any) -> dict[str, Any]:
    return {"hostname": host, "states": states, "cpusAllocated": 4, "memoryAllocated": 1024,
            "gpusAllocated": 0, "jobsRunning": 1, **changes}  # fmt: skip


async def stored_nodes(client: Client) -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = (await client.http.get("/-/nodes")).json()["nodes"]
    return nodes


@pytest.mark.parametrize(
    ("states", "word"),
    [
        (["IDLE"], "idle"),
        (["ALLOCATED", "DRAIN"], "allocated"),
        (["DOWN"], "down"),
        (["IDLE", "DOWN"], "down"),
        (["DRAIN"], "unknown"),
        (["RESERVED", "MIXED"], "reserved"),
        (["mixed"], "mixed"),
        (["IDLE", "DRAIN"], "idle"),
        ([], "unknown"),
    ],
)
async def test_G1_states(client: Client, states: Any, word: Any) -> None:
    """Slurm's words are reduced to one of six; the answer is empty."""
    answer = await client.ask(
        "POST", "/api/nodestate/", json={"cluster": "demo", "nodes": [node("cn001", states)]}
    )
    assert (answer.status_code, answer.content) == (200, b"")
    assert "content-type" not in answer.headers
    (stored,) = await stored_nodes(client)
    assert (stored["hostname"], stored["state"], stored["subcluster"], stored["cpus"]) == (
        "cn001",
        word,
        "main",
        4,
    )


@pytest.mark.parametrize(("cluster", "host"), [("nope", "cn001"), ("demo", "xx1"), ("star", "a1")])
async def test_G2_unknown_nodes(client: Client, cluster: Any, host: Any) -> None:
    """Nodes that are in no list are dropped without a word."""
    body = {"cluster": cluster, "nodes": [node(host, ["IDLE"])]}
    assert (await client.ask("POST", "/api/nodestate/", json=body)).status_code == 200
    assert await stored_nodes(client) == []


@pytest.mark.parametrize(
    "bad", [node("cn001", ["IDLE"], cpusTotal=8), node("cn001", "IDLE"), {"hostname": 7}], ids=str
)
async def test_G3_bad_upload(client: Client, bad: Any) -> None:
    """Unknown keys and wrong types are refused."""
    refused(await client.ask("POST", "/api/nodestate/", json={"cluster": "demo", "nodes": [bad]}), 400)
    refused(await client.ask("POST", "/api/nodestate/", content=b"{"), 400)


async def test_G4_methods_and_slash(client: Client) -> None:
    """PUT works, without the slash nothing does."""
    assert (
        await client.ask("PUT", "/api/nodestate/", json={"cluster": "demo", "nodes": []})
    ).status_code == 200
    refused(await client.ask("POST", "/api/nodestate", json={}), 404)


async def test_G5_edit_meta_by_request(client: Client) -> None:
    """Metadata of a committed job can be changed; a cached or unknown one is not found."""
    await client.committed(J(1, metaData={"a": "b"}))
    await client.start(J(2))
    change = {"jobId": 1, "cluster": "demo", "startTime": T, "payload": {"key": "k", "value": "v"}}
    answer = await client.ask("PATCH", "/api/jobs/edit_meta/", json=change)
    assert (answer.status_code, answer.json()["metaData"]) == (200, {"a": "b", "k": "v"})
    for job_id in (2, 3):
        refused(await client.ask("PATCH", "/api/jobs/edit_meta/", json={**change, "jobId": job_id}), 422)


async def test_G6_edit_meta_by_id(client: Client) -> None:
    """By id an unknown job is 404, and POST is no way."""
    await client.committed(J(1))
    (job,) = await client.jobs()
    change = {"key": "k", "value": "v"}
    answer = await client.ask("PATCH", f"/api/jobs/edit_meta/{job['id']}", json=change)
    assert answer.json()["metaData"] == {"k": "v"}
    refused(await client.ask("PATCH", "/api/jobs/edit_meta/999", json=change), 404)
    assert (await client.ask("POST", f"/api/jobs/edit_meta/{job['id']}", json=change)).status_code == 405


async def test_edit_meta_before_the_archive_is_written(backend: EmbeddedBackend, client: Client) -> None:
    """A finished job that is not archived yet is changed, and the answer is 500."""
    backend.knobs.archive_delay_s = 60.0
    await client.committed(J(1))
    await client.stop(S(1))
    change = {"jobId": 1, "payload": {"key": "k", "value": "v"}}
    refused(await client.ask("PATCH", "/api/jobs/edit_meta/", json=change), 500)
    assert (await client.stored(1))["meta_data"] == {"k": "v"}


async def test_G7_private_tag(client: Client) -> None:
    """A tag of somebody else's scope is refused when the job is stored already."""
    job = J(1, tags=[{"type": "a", "name": "b", "scope": "bob"}])
    refused(await client.start(job), 500, "adding tag to new job")
    refused(await client.start(job), 422, "already exists")


@pytest.mark.parametrize(
    "tags",
    [
        [{"type": "a", "name": "b", "scope": "admin"}],
        [{"type": "a", "name": "b"}, {"type": "a", "name": "b"}],
        [{"type": "a", "name": "b"}, {"type": "a", "name": "b", "scope": "slurmsyncd"}],
    ],
    ids=["admin-scope", "twice", "other-scope"],
)
async def test_G7_tags_that_cannot_be(client: Client, tags: Any) -> None:
    """Tags fail after the job has been stored."""
    refused(await client.start(J(1, tags=tags)), 500, "adding tag to new job")
    assert len(await client.jobs()) == 1


async def test_tag_and_untag(client: Client) -> None:
    """Tags can be put on a job, taken off and removed; twice is refused, unknown jobs are 404."""
    await client.committed(J(1))
    dbid = (await client.jobs())[0]["id"]
    tag = [{"type": "a", "name": "b"}]
    path = f"/api/jobs/tag_job/{dbid}"
    assert (await client.ask("POST", path, json=tag)).json()["tags"] == [
        {"id": 1, "type": "a", "name": "b", "scope": "global"}
    ]
    refused(await client.ask("POST", path, json=tag), 500)
    refused(await client.ask("POST", "/api/jobs/tag_job/999", json=tag), 404)
    assert "tags" not in (await client.ask("DELETE", path, json=tag)).json()
    assert (await client.ask("DELETE", "/api/tags/", json=tag)).status_code == 200
    refused(await client.ask("DELETE", "/api/tags/", json=tag), 500)


async def test_G8_delete(client: Client) -> None:
    """A job is deleted once by request; by id any id will do."""
    await client.committed(J(1))
    which = {"jobId": 1, "cluster": "demo"}
    assert (await client.ask("DELETE", "/api/jobs/delete_job/", json=which)).status_code == 200
    refused(await client.ask("DELETE", "/api/jobs/delete_job/", json=which), 422)
    assert (await client.ask("DELETE", "/api/jobs/delete_job/999")).status_code == 200


async def test_delete_cached_job(client: Client) -> None:
    """A cached job cannot be deleted."""
    await client.start(J(1))
    refused(await client.ask("DELETE", "/api/jobs/delete_job/", json={"jobId": 1}), 422)


async def test_delete_before(client: Client) -> None:
    """Jobs are deleted by their start, tagged ones spared on request."""
    await client.start(J(1))
    await client.start(J(2, startTime=T + 50))
    await client.tick()
    await client.start(J(3, tags=[{"type": "a", "name": "b"}]))
    path = f"/api/jobs/delete_job_before/{T + 10}"
    assert (await client.ask("DELETE", f"{path}?omit-tagged=all")).status_code == 200
    assert {job["jobId"] for job in await client.jobs()} == {2, 3}
    assert (await client.ask("DELETE", path)).status_code == 200
    assert {job["jobId"] for job in await client.jobs()} == {2}
    refused(await client.ask("DELETE", f"{path}?omit-tagged=x"), 400)


async def test_users_need_an_admin(backend: EmbeddedBackend, client: Client) -> None:
    """Users are an admin's business: 403, not 401."""
    refused(await client.get("/api/users/"), 403)
    refused(await client.ask("POST", "/api/user/bob"), 403)
    client.token = backend.token(roles=["admin", "api"])
    assert (await client.get("/api/users/")).status_code == 200
