"""``slurmsyncd relay`` as a process: from the stream to the backend, once and in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.nats.parts import until
from tests.relay.parts import (
    all_settled,
    assert_once_and_in_order,
    backend,
    ended,
    publish,
    relay,
    runs,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.nats.server import NatsServer

pytestmark = pytest.mark.anyio


async def test_starts_and_stops_reach_the_backend_and_are_settled(server: NatsServer, tmp_path: Path) -> None:
    """One relay, started before there is a stream; SIGTERM ends it cleanly, with nothing left in the stream."""
    jobs = runs(10)
    async with backend() as at:
        with relay(tmp_path, at, server.url) as (only,):
            await publish([server.url], jobs)
            await until(lambda: len(ended(at)) == len(jobs))
            await all_settled(server.url)
            assert only.stop() == 0
            assert "Traceback" not in only.log
            assert not (only.root / "run" / "relay.pid").exists()
        assert_once_and_in_order(at, jobs)
