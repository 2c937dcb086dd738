"""What `slurmsyncd check` says of a NATS sink, on a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from slurmsyncd.config import load_config
from slurmsyncd.doctor.backend import examine_sink
from slurmsyncd.doctor.finding import Level

if TYPE_CHECKING:
    from tests.nats.server import NatsServer

pytestmark = pytest.mark.anyio


async def test_n1_n4_a_server_and_a_stream_that_are_not_there_are_named(server: NatsServer) -> None:
    """Connected is said; a missing stream and a server that is down fail with what to do."""
    sections = {
        mode: {"type": "nats", "servers": [server.url], "mode": mode, "audit_interval": 0}
        for mode in ("core", "jetstream")
    }
    config = load_config({"sinks": sections})
    core, stream = config.sinks["core"], config.sinks["jetstream"]
    (found,) = await examine_sink(config, core, ())
    assert (found.level, "takes our events" in found.said) == (Level.OK, True)
    (found,) = await examine_sink(config, stream, ())
    assert (found.level, "stream" in found.said) == (Level.FAIL, True)
    server.kill()
    (found,) = await examine_sink(config, core, ())
    assert found.level is Level.FAIL
    assert found.remedy
