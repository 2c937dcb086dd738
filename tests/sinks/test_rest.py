"""The REST sink against a server that misbehaves: faults H1-H24 as they apply to a sink."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from slurmsyncd.delivery import Result
from tests.sinks.parts import CLUSTERS, entry, sink_on, token_file
from tests.sinks.rude import Rude, answer, rude_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

OK = answer(201, '{"msg":"success"}')


@pytest.fixture
async def server() -> AsyncIterator[Rude]:
    async with rude_server() as rude:
        rude.plans = {
            "/api/clusters/": [answer(200, json.dumps(CLUSTERS))],
            "/api/nodestate/": [answer(200)],
            "/api/jobs/start_job/": [OK],
        }
        yield rude


@pytest.fixture
def token(tmp_path: Path) -> Path:
    return token_file(tmp_path / "token")


async def test_a_start_is_accepted_with_the_backends_threads(server: Rude, token: Path) -> None:
    """The first start finds out dialect and topology, and carries hardware threads of the topology."""
    sink = sink_on(server.url, token)
    outcome = await sink.deliver(entry())
    assert outcome.result is Result.ACCEPTED
    assert server.paths() == ["/api/nodestate/", "/api/clusters/", "/api/jobs/start_job/"]
    body = json.loads(server.seen[-1].body)
    assert body["resources"] == [{"hostname": "cn001", "hwthreads": [2, 6]}]
    assert server.seen[-1].headers["x-auth-token"] == "a.b.c"
    assert server.seen[-1].headers["accept-encoding"] == "identity"
    await sink.aclose()
