"""What is said of a daemon that is about to end, and to its manager: the same as `status` says."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest

from tests.system.e2e.site import run_program
from tests.tools.oracle.world import EXCHANGE_S
from tests.unit.host.lives import ask, change, exchange_hangs, life, quiet_world, said, submit
from tests.unit.host.test_process import managed

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.anyio
async def test_p4_a_daemon_that_stops_says_so_to_whoever_asks() -> None:
    """While an exchange with a backend that hangs is waited for, `status` answers, and says why nothing goes on."""
    async with quiet_world() as world:
        change(world, f"\ntimeout = {EXCHANGE_S}\n", "\ntimeout = 300\n")
        async with life(world) as daemon:
            assert not (await ask(world))["live"]["stopping"]
            world.proxy.fault = "hang"
            submit(world, 3600.0)
            await exchange_hangs(world)
            daemon.keep, daemon.asked_to_end = False, True
            daemon.signal(signal.SIGTERM)
            await said(daemon, "stopping")
            found = await ask(world)
            assert found["live"]["stopping"]
            assert found["verdict"]["level"] == "degraded"
            assert "is stopping" in found["verdict"]["problems"][0]["text"]


def test_the_manager_is_told_the_gravest_problem_and_what_to_do(tmp_path: Path) -> None:
    """`systemctl status` shows what `slurmsyncd status` says first."""
    with managed(tmp_path) as (process, manager):
        config = ("--config", str(tmp_path / "config.toml"))
        while not (line := status_of(manager.recv(4096))).startswith("cluster alpha: does not answer"):
            assert process.poll() is None
        problem = json.loads(run_program("status", "--json", *config).stdout)["verdict"]["problems"][0]
        assert line == f"{problem['subject']}: {problem['text']}; do: {problem['remedy']}"


def status_of(message: bytes) -> str:
    """Return the line for people out of what the manager is told; empty if there is none."""
    lines = (line for line in message.decode().split("\n") if line.startswith("STATUS="))
    return next(lines, "").removeprefix("STATUS=")
