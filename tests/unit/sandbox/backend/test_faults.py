"""Group H: failures on demand. What a client should do about them is tested with the client."""

# names carry the ids of the contract's cases
from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

from tests.unit.sandbox.backend.client import J, S, T, refused
from tests.unit.sandbox.backend.conftest import CLUSTERS
from tests.unit.sandbox.backend.waiting import until

if TYPE_CHECKING:
    from slurmsyncd.sandbox.backend.server import EmbeddedBackend
    from tests.unit.sandbox.backend.client import Client

pytestmark = pytest.mark.anyio


async def test_H1_start_takes_effect_without_an_answer(backend: EmbeddedBackend, client: Client) -> None:
    """The connection closes after the insert; the retry finds the job there."""
    backend.knobs.hang_up_starts = 1
    with pytest.raises(httpx.RemoteProtocolError):
        await client.start(J(1))
    refused(await client.start(J(1)), 500, "UNIQUE constraint failed: job_cache")


async def test_H2_stop_takes_effect_without_an_answer(backend: EmbeddedBackend, client: Client) -> None:
    """The connection closes after the update; the retry finds the job stopped."""
    await client.committed(J(1))
    backend.knobs.hang_up_stops = 1
    with pytest.raises(httpx.RemoteProtocolError):
        await client.stop(S(1))
    refused(await client.stop(S(1)), 422, "already been stopped")


async def test_H3_full_archive_queue_blocks_stops_and_starts(
    backend: EmbeddedBackend, client: Client
) -> None:
    """With the queue full a stop waits, and with it every start and the tick; reading goes on."""
    backend.knobs.archive_delay_s = 600.0
    for job_id in range(1, 6):
        await client.start(J(job_id))
    await client.tick()
    for job_id in (1, 2, 3):  # one being archived, two in the queue
        assert (await client.stop(S(job_id))).status_code == 200
    async with anyio.create_task_group() as group:
        group.start_soon(client.stop, S(4))

        async def stored() -> bool:
            return bool((await client.stored(4))["job_state"] == "completed")

        await until(stored)  # done, but without an answer yet
        with pytest.raises(httpx.ReadTimeout):
            await client.ask("POST", "/api/jobs/start_job/", json=J(9), timeout=0.2)
        assert len(await client.jobs()) == 5
        group.cancel_scope.cancel()


async def test_H4_race_with_the_tick(backend: EmbeddedBackend, client: Client) -> None:
    """A stop that meets the tick is acknowledged and lost, and ends somebody else's job."""
    for job_id in (1, 2):
        await client.start(J(job_id))
    backend.knobs.race_stops = 1
    answer = await client.stop(S(1, jobState="failed"))
    assert (answer.status_code, answer.json()["jobId"]) == (200, 1)
    states = {job["jobId"]: job["jobState"] for job in await client.jobs()}
    assert states == {1: "running", 2: "failed"}
    other = (await client.get(f"/api/jobs/{answer.json()['id']}")).json()
    assert other["Meta"]["jobId"] == 2
    assert (await client.stop(S(1))).status_code == 200


async def test_H4_race_comes_about_by_itself(backend: EmbeddedBackend, client: Client) -> None:
    """A stop that read its row before a tick, and writes after it, loses it without any knob."""
    jobs = backend._core.jobs
    for job_id in (1, 2):
        await client.start(J(job_id))
    async with anyio.create_task_group() as group:  # noqa: SIM117  # the lock is let go first
        async with jobs._writing:  # somebody writes: the next two queue up behind
            group.start_soon(jobs.tick)
            await anyio.wait_all_tasks_blocked()
            group.start_soon(jobs.stop, S(1))
            await anyio.wait_all_tasks_blocked()
    states = {job["jobId"]: job["jobState"] for job in await client.jobs()}
    assert states == {1: "running", 2: "completed"}


async def test_H5_unauthorized_for_a_while(backend: EmbeddedBackend, client: Client) -> None:
    """Every token is refused until the knob is turned back."""
    backend.knobs.unauthorized = True
    refused(await client.start(J(1)), 401)
    backend.knobs.unauthorized = False
    assert (await client.start(J(1))).status_code == 201


async def test_H6_one_job_is_always_refused(backend: EmbeddedBackend, client: Client) -> None:
    """One job is refused for ever, all others are taken."""
    backend.knobs.refuse_job_ids = [7]
    refused(await client.start(J(7)), 400)
    assert (await client.start(J(8))).status_code == 201


async def test_H7_wiped(client: Client) -> None:
    """After a wipe a stop finds nothing, and the start is taken again."""
    await client.committed(J(1))
    await client.http.post("/-/wipe")
    refused(await client.stop(S(1)), 404)
    assert (await client.start(J(1))).status_code == 201


async def test_H8_nats_mode(backend: EmbeddedBackend, client: Client) -> None:
    """Start and stop are not mounted, reading and node states are."""
    backend.knobs.nats_mode = True
    for answer in (await client.start(J(1)), await client.stop(S(1))):
        refused(answer, 404)
        assert answer.json()["status"] == "Resource not found"
    assert await client.jobs() == []
    assert (await client.ask("PUT", "/api/nodestate/", json={})).status_code == 200


async def test_H9_bad_gateway(backend: EmbeddedBackend, client: Client) -> None:
    """A proxy's page comes instead of an answer, and nothing is stored."""
    backend.knobs.bad_gateways = 1
    answer = await client.start(J(1))
    assert (answer.status_code, answer.headers["content-type"]) == (502, "text/html")
    assert (await client.start(J(1))).status_code == 201


async def test_H10_locked(backend: EmbeddedBackend, client: Client) -> None:
    """A locked database stores nothing."""
    backend.knobs.locked = 1
    refused(await client.start(J(1)), 500, "database is locked")
    await client.committed(J(1))
    backend.knobs.locked = 1
    refused(await client.stop(S(1)), 500, "database is locked")
    assert (await client.stop(S(1))).status_code == 200


async def test_H11_node_added_later(client: Client) -> None:
    """A start that no sub-cluster takes is taken when cluster.json has been extended."""
    job = J(1, resources=[{"hostname": "new01"}])
    refused(await client.start(job), 400, "no subcluster found")
    demo = {**CLUSTERS[0], "subClusters": [{"name": "new", "nodes": "new[01-02]"}]}
    assert (await client.http.put("/-/clusters", json=[demo])).status_code == 200
    assert (await client.start(job)).status_code == 201


async def test_H12_slow_answers(backend: EmbeddedBackend, client: Client) -> None:
    """A slow answer comes, one slower than the write timeout is lost; both took effect."""
    backend.knobs.delay_s = 0.02
    assert (await client.start(J(1))).status_code == 201
    backend.knobs.write_timeout_s = 0.01
    with pytest.raises(httpx.RemoteProtocolError):
        await client.start(J(2))
    assert len((await client.rows())["cache"]) == 2


async def test_knobs_over_http(client: Client) -> None:
    """Knobs can be read and turned from another process; mistakes are named."""
    assert (await client.http.patch("/-/knobs", json={"delay_s": 0, "bad_gateways": 2})).json()[
        "bad_gateways"
    ] == 2
    assert (await client.http.get("/-/knobs")).json()["bad_gateways"] == 2
    for bad in ({"nope": 1}, {"unauthorized": "yes"}, [1]):
        answer = await client.http.patch("/-/knobs", json=bad)
        assert answer.status_code == 400
        assert answer.json()["error"]


async def test_request_log(client: Client) -> None:
    """What was asked is kept until it is forgotten, with the status that was sent."""
    await client.start(J(1))
    await client.start(J(1, user=""))
    log = (await client.http.get("/-/requests")).json()["requests"]
    assert [(entry["method"], entry["path"], entry["status"]) for entry in log] == [
        ("POST", "/api/jobs/start_job/", 201),
        ("POST", "/api/jobs/start_job/", 400),
    ]
    assert f'"startTime":{T}' in log[0]["body"].replace(" ", "")
    await client.http.delete("/-/requests")
    assert (await client.http.get("/-/requests")).json() == {"requests": []}


async def test_a_client_that_is_held_up_between_connecting_and_asking_is_answered(
    backend: EmbeddedBackend,
) -> None:
    """As by the original, which waits 20 s for a head; a client on a busy host may take seconds for it."""
    port = httpx.URL(backend.url).port
    assert port
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await anyio.sleep(6.0)  # longer than our own servers wait: what is being tested is that time passes
        await stream.send(b"GET /-/knobs HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert (await stream.receive()).startswith(b"HTTP/1.1 200")
