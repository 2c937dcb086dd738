"""Group B: routing, and JSON as Go decodes it."""

# names carry the ids of the contract's cases
from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.sandbox.backend.client import J, refused

if TYPE_CHECKING:
    from tests.unit.sandbox.backend.client import Client

pytestmark = pytest.mark.anyio


async def test_B1_start_without_slash(client: Client) -> None:
    """Without its slash the path means a job by id."""
    refused(await client.ask("POST", "/api/jobs/start_job", json=J()), 400, "integer expected")


@pytest.mark.parametrize("method", ["GET", "PATCH"])
async def test_B2_wrong_method(client: Client, method: Any) -> None:
    """A wrong method on a known path is 405 without a body."""
    answer = await client.ask(method, "/api/jobs/start_job/")
    assert (answer.status_code, answer.content) == (405, b"")


async def test_B3_put(client: Client) -> None:
    """PUT starts too."""
    assert (await client.ask("PUT", "/api/jobs/start_job/", json=J())).status_code == 201


@pytest.mark.parametrize("path", ["/api/foo", "/api/jobs", "/api/nodestate", "/api/jobs/stop_job/5"])
async def test_B4_unknown_path(client: Client, path: Any) -> None:
    """An unknown endpoint is told apart from an unknown job by its status text."""
    answer = await client.ask("POST", path)
    refused(answer, 404)
    assert answer.json()["status"] == "Resource not found"


@pytest.mark.parametrize(
    ("body", "marker"),
    [
        (b"", "EOF"),
        (b"  \n", "EOF"),
        (b"{", "unexpected EOF"),
        (b'{"jobId": 1', "unexpected EOF"),
        (b"[]", "cannot unmarshal"),
    ],
)
async def test_B5_no_object(client: Client, body: Any, marker: Any) -> None:
    """An empty, cut or foreign body is refused with Go's words."""
    answer = await client.start_raw(body)
    refused(answer, 400, "parsing request body failed")
    assert marker in answer.json()["error"]


async def test_B5_null(client: Client) -> None:
    """A null is an empty object, and that is no job."""
    refused(await client.start_raw(b"null"), 400, "no such cluster")


@pytest.mark.parametrize(
    "job",
    [
        pytest.param(J(foo=1), id="B6-top"),
        pytest.param(J(resources=[{"hostname": "cn001", "foo": None}]), id="B6-resource"),
        pytest.param(J(exclusive=1), id="B15"),
    ],
)
async def test_B6_B15_unknown_key(client: Client, job: Any) -> None:
    """An unknown key is refused at any depth."""
    refused(await client.start(job), 400, "unknown field")


async def test_B7_keys_in_any_case(client: Client) -> None:
    """Keys match in any case, and of a repeated one the last wins."""
    body = json.dumps(J(jobId=...)).removesuffix("}") + ', "jobId": 6, "JOBID": 7}'
    assert (await client.start_raw(body.encode())).status_code == 201
    assert (await client.stored(7))["cluster"] == "demo"


async def test_B8_trailing_bytes(client: Client) -> None:
    """What follows the first value is not read."""
    assert (await client.start_raw(json.dumps(J()).encode() + b"}garbage")).status_code == 201


async def test_B9_content_type(client: Client) -> None:
    """The content type is not looked at."""
    body = json.dumps(J()).encode()
    assert (await client.start_raw(body, **{"Content-Type": "text/plain"})).status_code == 201


@pytest.mark.parametrize(
    ("key", "literal"),
    [
        ("jobId", '"11"'),
        ("jobId", "11.5"),
        ("jobId", "9223372036854775808"),
        ("jobId", "1" * 5000),
        ("numNodes", "1.0"),
        ("numNodes", "true"),
        ("numNodes", "2147483648"),
        ("walltime", "3.6e3"),
        ("walltime", "NaN"),
        ("user", "7"),
    ],
)
async def test_B10_numbers(client: Client, key: Any, literal: Any) -> None:
    """Integers have no fraction, exponent, quotes or overflow."""
    body = json.dumps({**J(), key: "@"}).replace('"@"', literal)
    refused(await client.start_raw(body.encode()), 400)


@pytest.mark.parametrize(
    "job",
    [
        pytest.param(J(metaData={"a": 1}), id="metaData"),
        pytest.param(J(resources=[{"hostname": "cn001", "hwthreads": ["1"]}]), id="hwthreads"),
        pytest.param(J(resources=[{"hostname": "cn001", "accelerators": [1]}]), id="accelerators"),
        pytest.param(J(footprint={"a": "1"}), id="footprint"),
        pytest.param(J(resources={"hostname": "cn001"}), id="resources"),
    ],
)
async def test_B11_types(client: Client, job: Any) -> None:
    """Values of a wrong type are refused."""
    refused(await client.start(job), 400, "cannot unmarshal")


@pytest.mark.parametrize("changes", [{"metaData": None}, {"tags": None}, {"shared": None}, {}])
async def test_B12_nulls(client: Client, changes: Any) -> None:
    """A null leaves the default."""
    assert (await client.start(J(**changes))).status_code == 201
    assert (await client.stored(1))["shared"] == "none"


async def test_B13_gzip_request(client: Client) -> None:
    """Compressed requests are not understood."""
    body = gzip.compress(json.dumps(J()).encode())
    refused(await client.start_raw(body, **{"Content-Encoding": "gzip"}), 400)


@pytest.mark.parametrize(
    "changes",
    [
        {"resources": [None]},
        {"resources": [None], "subCluster": "main"},
        {"resources": [{"hostname": "cn001"}, None], "numNodes": 2},
    ],
)
async def test_B14_null_resource(client: Client, changes: Any) -> None:
    """A null among the resources crashes the handler, not the server."""
    answer = await client.start(J(**changes))
    assert (answer.status_code, answer.content) == (500, b"")
    assert (await client.start(J())).status_code == 201


async def test_B14_null_tag(client: Client) -> None:
    """A null among the tags crashes the handler when the job is stored already."""
    answer = await client.start(J(tags=[None]))
    assert (answer.status_code, answer.content) == (500, b"")
    refused(await client.start(J()), 422, "already exists")


async def test_invalid_utf8_is_replaced(client: Client) -> None:
    """Invalid bytes and lone surrogates become U+FFFD."""
    body = json.dumps(J(project="\ud800", partition="@")).encode().replace(b"@", b"\xff")
    assert (await client.start_raw(body)).status_code == 201
    row = await client.stored(1)
    assert (row["project"], row["partition"]) == ("\ufffd", "\ufffd")


async def test_deep_nesting_is_refused(client: Client) -> None:
    """A body of brackets ends as a refusal, not as a crash."""
    refused(await client.start_raw(b"[" * 200_000), 400)


async def test_html_characters_are_escaped(client: Client) -> None:
    """Answers escape what HTML would read, as Go does."""
    await client.committed(J(project="<&>"))
    answer = await client.get("/api/jobs/")
    assert b'"project":"\\u003c\\u0026\\u003e"' in answer.content
    assert answer.content.endswith(b"\n")
