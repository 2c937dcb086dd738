"""The page: what people see, and what a hostile job name cannot do."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from slurmsyncd.http_server.server import HttpRequest
from slurmsyncd.sandbox.backend.page import is_loopback, page
from tests.unit.sandbox.backend.client import J, S, T

if TYPE_CHECKING:
    from pathlib import Path

    from slurmsyncd.sandbox.backend.server import EmbeddedBackend
    from tests.unit.sandbox.backend.client import Client

pytestmark = pytest.mark.anyio
HOSTILE = (
    "</td><script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\">\u202e\x07"
)


async def html(client: Client, query: str = "") -> str:
    answer = await client.http.get(f"/{query}")
    assert answer.status_code == 200
    return answer.text


def shown(text: str) -> list[int]:
    return [int(found) for found in re.findall(r'<tr id="j/[^/"]+/(\d+)/', text)]


@pytest.fixture
async def jobs(client: Client) -> Client:
    """Jobs 11 (alice, running), 12 (bob, failed, GPU), 13 (cached), newest last."""
    gpu = [{"hostname": "gpu01", "hwthreads": [0, 1, 2, 5], "accelerators": ["00000000:0E:00.0"]}]
    await client.start(J(11, project="chem", walltime=3600, metaData={"jobName": "relax", "note": "a\nb"}))
    await client.start(J(12, user="bob", startTime=T + 1, resources=gpu, numAcc=1, numHwthreads=4))
    await client.tick()
    await client.stop(S(12, startTime=T + 1, jobState="failed"))
    await client.start(J(13, user="100%", startTime=T + 2))
    return client


async def test_jobs_are_listed_without_a_script(jobs: Client) -> None:
    """The newest start comes first, cached jobs are shown and marked."""
    text = await html(jobs)
    assert shown(text) == [13, 12, 11]
    assert text.count('class="cached"') == 1
    assert ">failed<" in text
    assert "3 of 3 jobs" in text


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?q=alice", [11]),
        ("?q=ALICE+relax", [11]),
        ("?q=alice+bob", []),
        ("?q=gpu01", [12]),
        ("?q=12", [12]),
        ("?q=100%25", [13]),
        ("?q=%25", [13]),
        ("?q=_", []),
        ("?state=running", [13, 11]),
        ("?state=unsuccessful", [12]),
        ("?state=nonsense&limit=x", [13, 12, 11]),
        ("?cluster=star", []),
        ("?cluster=demo&limit=1", [13]),
    ],
)
async def test_search_and_filter(jobs: Client, query: str, found: list[int]) -> None:
    """Words narrow the search, whatever characters they hold; states and clusters filter."""
    assert shown(await html(jobs, query)) == found


async def test_detail(jobs: Client) -> None:
    """A job's threads and accelerators can be read, long metadata apart."""
    text = await html(jobs, f"?job=demo/12/{T + 1}")
    assert "<dialog open" in text
    assert "<td>gpu01</td><td>0-2,5</td><td>00000000:0E:00.0</td>" in text
    text = await html(jobs, f"?job=demo/11/{T}")
    assert "<pre>a\nb</pre>" in text
    assert "whole node" in text
    assert "<dialog open" not in await html(jobs, "?job=demo/99/1")


async def test_nodes_that_hold_the_same_share_a_line(client: Client) -> None:
    """Nodes are folded as far as threads and accelerators agree."""
    threads = {"cn001": [0, 1], "cn002": [0, 1], "cn003": [4]}
    nodes = [{"hostname": host, "hwthreads": ids} for host, ids in threads.items()]
    await client.start(J(1, numNodes=3, resources=nodes))
    text = await html(client, f"?job=demo/1/{T}")
    assert "<td>cn[001-002]</td><td>0-1</td>" in text
    assert "<td>cn003</td><td>4</td>" in text


async def test_node_states(client: Client) -> None:
    """Node states are summed up by cluster."""
    nodes = [{"hostname": f"cn00{i}", "states": ["IDLE" if i < 3 else "DOWN"]} for i in range(1, 6)]
    await client.ask("POST", "/api/nodestate/", json={"cluster": "demo", "nodes": nodes})
    text = await html(client)
    assert "2 idle" in text
    assert "3 down" in text


async def test_nothing_yet(client: Client) -> None:
    """An empty backend says so."""
    assert "No jobs yet" in await html(client)


async def test_hostile_names_are_shown_and_not_run(client: Client) -> None:
    """Whatever a user writes appears as text; control characters do not appear at all."""
    await client.start(J(1, user=HOSTILE, project=HOSTILE, metaData={"jobName": HOSTILE, HOSTILE: HOSTILE}))
    for query in ("", f"?job=demo/1/{T}", "?q=%3Cscript%3E%22%27"):
        text = await html(client, query)
        assert text.count("<script>") == 1  # our own
        assert "<img" not in text
        assert "\u202e" not in text
        assert "\x07" not in text


async def test_any_number_can_be_shown(client: Client) -> None:
    """Times and sizes that make no sense do not hurt the page."""
    big = 2**63 - 1
    for job in (J(1, startTime=-big), J(2, startTime=big), J(-big, walltime=big, startTime=0)):
        assert (await client.start(job)).status_code == 201
    assert len(await html(client)) > 0


async def test_policy(client: Client) -> None:
    """Only the page's own script and style may run, and nothing may frame it."""
    answer = await client.http.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "style=" not in answer.text.partition("</style>")[2]


async def test_fragment_leaves_out_the_frame(jobs: Client) -> None:
    """The refresh fetches only what moves."""
    text = await html(jobs, "?fragment=1")
    assert shown(text) == [13, 12, 11]
    assert "<style>" not in text


async def test_foreign_names_get_nothing(backend: EmbeddedBackend, client: Client) -> None:
    """A foreign name for this address, or another address to listen on, turns the page off."""
    answer = await client.http.get("/", headers={"Host": "evil.example"})
    assert (answer.status_code, "loopback" in answer.text) == (403, True)
    assert (await client.http.get("/", headers={"Host": "localhost:8080"})).status_code == 200
    assert (await client.http.post("/-/wipe", headers={"Host": "evil.example"})).status_code == 404
    local = HttpRequest("GET", "/", headers={"host": "localhost"})
    assert page(backend._core, local, "0.0.0.0:8080").status == 403
    assert page(backend._core, local, "[::1]:8080").status == 200


@pytest.mark.parametrize(
    ("address", "yes"),
    [
        ("127.0.0.1:80", True),
        ("127.9.9.9", True),
        ("[::1]:80", True),
        ("[::1]", True),
        ("localhost", True),
        ("unix:/x", True),
        ("0.0.0.0:80", False),
        ("10.0.0.1:80", False),
        ("localhost.evil.example:80", False),
        ("", False),
    ],
)
async def test_loopback(address: str, yes: bool) -> None:
    """Only names of this machine count."""
    assert is_loopback(address) is yes


async def test_methods(client: Client) -> None:
    """The page can only be read; HEAD has no body."""
    assert (await client.http.post("/")).status_code == 405
    answer = await client.http.head("/")
    assert (answer.status_code, answer.content) == (200, b"")


CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=3000",
    "--dump-dom",
]


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
async def test_in_a_browser(backend: EmbeddedBackend, client: Client, tmp_path: Path) -> None:
    """The page's script runs under its policy and refreshes; a hostile name runs nothing."""
    await client.start(J(1, metaData={"jobName": HOSTILE}))
    command: list[Any] = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path}", f"{backend.url}/?job=demo/1/{T}"]
    with anyio.fail_after(60):
        done = await anyio.run_process(command, stderr=subprocess.DEVNULL)
    dom = done.stdout.decode()
    assert re.search(r'<span id="live"[^>]*>live</span>', dom)
    assert "<title>Jobs" in dom
    assert shown(dom) == [1]
