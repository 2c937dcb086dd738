"""What `slurmsyncd check` says of a NATS sink, on a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from slurmsyncd.commands.check.backend import check_sink
from slurmsyncd.commands.check.result import CheckLevel
from slurmsyncd.config import load_config
from slurmsyncd.sandbox.backend.server import BackendConfig, EmbeddedBackend

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.nats.server import NatsServer

pytestmark = pytest.mark.anyio


async def test_n1_n4_a_server_and_a_stream_that_are_not_there_are_named(server: NatsServer) -> None:
    """Connected is said; a missing stream and a server that is down fail with what to do."""
    sections = {
        mode: {"type": "nats", "servers": [server.url], "mode": mode, "audit_interval": 0}
        for mode in ("core", "jetstream")
    }
    config = load_config({"sinks": sections})
    core, stream = config.sinks["core"], config.sinks["jetstream"]
    (found,) = await check_sink(config, core, ())
    assert (found.level, "takes our events" in found.said) == (CheckLevel.OK, True)
    (found,) = await check_sink(config, stream, ())
    assert (found.level, "stream" in found.said) == (CheckLevel.FAIL, True)
    server.kill()
    (found,) = await check_sink(config, core, ())
    assert found.level is CheckLevel.FAIL
    assert found.remedy


async def test_the_backend_behind_nats_is_looked_at_too(server: NatsServer, tmp_path: Path) -> None:
    """With `url` and `token_file` the token, the topology and the way in which jobs are taken are judged."""
    token = tmp_path / "token"
    token.touch(mode=0o600)
    async with EmbeddedBackend.open(BackendConfig()) as backend:
        token.write_text(backend.token())
        section = {"type": "nats", "format": "cc", "servers": [server.url], "job_subject": "cc.jobs"}
        config = load_config({"sinks": {"cc": {**section, "url": backend.url, "token_file": str(token)}}})
        for nats_mode, level in ((True, CheckLevel.OK), (False, CheckLevel.WARN)):
            backend.knobs.nats_mode = nats_mode
            found = {each.name: each for each in await check_sink(config, config.sinks["cc"], ())}
            assert found["jobs"].level is level
            assert found["reached"].level is CheckLevel.OK
        token.write_text("wrong")
        found = {each.name: each for each in await check_sink(config, config.sinks["cc"], ())}
        assert (found["reached"].level, "token" in found["reached"].remedy) == (CheckLevel.FAIL, True)
