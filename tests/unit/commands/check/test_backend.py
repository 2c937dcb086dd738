"""What `check` finds of a backend, on the embedded one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from slurmsyncd.commands.check.backend import check_sink
from slurmsyncd.commands.check.result import CheckLevel, CheckResult
from slurmsyncd.config import load_config
from slurmsyncd.sandbox.backend.clusters import make_cluster
from slurmsyncd.sandbox.backend.server import BackendConfig, EmbeddedBackend

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.fixture
async def backend() -> AsyncIterator[EmbeddedBackend]:
    clusters = [make_cluster("alpha", "cn[001-100]")]
    async with EmbeddedBackend.open(BackendConfig(clusters=clusters, test_api=True)) as running:
        yield running


async def examined(backend: EmbeddedBackend, directory: Path) -> dict[str, CheckResult]:
    """Return what is found of the sink, by name."""
    token = directory / "token"
    if not token.exists():
        token.touch(mode=0o600)
        token.write_text(backend.token())
    sections = {"cc": {"url": backend.url, "token_file": str(token)}}
    config = load_config({"sinks": sections, "daemon": {"state_dir": str(directory)}})
    return {each.name: each for each in await check_sink(config, config.sinks["cc"], ())}


async def test_a_sound_backend_is_asked_nothing_that_it_logs_as_an_error(
    backend: EmbeddedBackend, tmp_path: Path
) -> None:
    """Each answer is a success, or the 405 that cc-backend gives without a line in its log."""
    found = await examined(backend, tmp_path)
    assert {each.level for each in found.values()} == {CheckLevel.OK}
    assert {entry["status"] for entry in backend.requests} == {200, 405}


async def test_a_backend_that_takes_jobs_by_nats_is_named_with_the_way_to_tell_it(
    backend: EmbeddedBackend, tmp_path: Path
) -> None:
    """cc-backend with api-subjects mounts neither start nor stop: the setting and both remedies are said."""
    backend.knobs.nats_mode = True
    found = (await examined(backend, tmp_path))["jobs"]
    assert (found.level, "main.api-subjects" in found.said) == (CheckLevel.FAIL, True)
    assert 'type = "nats" and format = "cc" in sinks.cc' in found.remedy


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT RUN: needs root to give a file to somebody else")
async def test_root_looks_at_the_token_with_the_daemons_eyes(
    backend: EmbeddedBackend, tmp_path: Path
) -> None:
    """A token of the daemon's user is right; one that only root can read stops the daemon."""
    await examined(backend, tmp_path)
    os.chown(tmp_path, 65534, -1)
    found = (await examined(backend, tmp_path))["token"]
    assert (found.level, found.remedy) == (CheckLevel.FAIL, f"chown nobody {tmp_path / 'token'}")
    os.chown(tmp_path / "token", 65534, -1)
    assert (await examined(backend, tmp_path))["token"].level is CheckLevel.OK
