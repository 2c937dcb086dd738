"""SIGHUP: what the manager, the log and status say of a reload, accepted or refused."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.tools.oracle.world import EXCHANGE_S
from tests.unit.host.lives import ask, change, exchange_hangs, life, quiet_world, said, submit
from tests.unit.host.test_process import PATIENCE_S, managed, told

if TYPE_CHECKING:
    import socket
    from pathlib import Path


def heard_until(manager: socket.socket, what: bytes) -> list[bytes]:
    """Return all lines that the manager hears up to and with this one, signs of life and texts left out."""
    heard: list[bytes] = []
    while what not in heard:
        lines = manager.recv(4096).split(b"\n")
        heard += [line for line in lines if not line.startswith((b"WATCHDOG=", b"STATUS="))]
    return heard


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", ""),
        ("[slurm]", "[slurm]\nsurprise = 1"),
        ("/token", "/missing"),
        ('url = "http://127.0.0.1:9"', "= = ="),
    ],
    ids=["accepted", "wrong key", "missing secret", "not TOML"],
)
def test_p8_systemd_hears_of_a_reload_and_its_end_and_of_no_stop(tmp_path: Path, old: str, new: str) -> None:
    """A reload, also one that is refused at whatever stage, ends with READY=1; only a stop is called one."""
    with managed(tmp_path) as (process, manager):
        told(manager, b"READY=1")
        for change in ((old, new), (new, old)):
            path = tmp_path / "config.toml"
            path.write_text(path.read_text().replace(*change))
            before_us = time.monotonic_ns() // 1000
            process.send_signal(signal.SIGHUP)
            reloading, since, *rest = heard_until(manager, b"READY=1")
            assert (reloading, rest) == (b"RELOADING=1", [b"READY=1"])
            key, _, sent_us = since.partition(b"=")
            assert key == b"MONOTONIC_USEC"
            assert before_us <= int(sent_us) <= time.monotonic_ns() // 1000
        process.send_signal(signal.SIGTERM)
        assert heard_until(manager, b"STOPPING=1")[0] == b"STOPPING=1"
        assert process.wait(PATIENCE_S) == 0


@pytest.mark.anyio
async def test_p8_a_reload_that_is_asked_for_during_another_is_not_forgotten() -> None:
    """What an operator wrote while an exchange was finished for the reload before is in force in the end."""
    async with quiet_world() as world:
        change(world, f"\ntimeout = {EXCHANGE_S}\n", "\ntimeout = 6\n")
        async with life(world) as daemon:
            world.proxy.fault = "hang"
            submit(world, 3600.0)
            await exchange_hangs(world)
            daemon.signal(signal.SIGHUP)
            await said(daemon, "reloading")
            change(world, "poll_interval = 0.5", "poll_interval = 0.25")
            daemon.signal(signal.SIGHUP)
            world.proxy.fault = None
            await said(daemon, "reloading", 1)
            await said(daemon, "ready", 1)
            assert (await ask(world))["live"]["poll_s"] == 0.25


@pytest.mark.anyio
async def test_p8_a_refused_reload_is_a_problem_until_one_is_accepted() -> None:
    """`status` names the mistake, since the next start would end on it; once it is corrected all is well."""
    async with quiet_world() as world, life(world) as daemon:
        mistake = f'listen = ["tcp:127.0.0.1:1"]\nsecret_file = "{world.root}/missing"\n'
        change(world, "[hook]\n", f"[hook]\n{mistake}")
        daemon.signal(signal.SIGHUP)
        await said(daemon, "ready", 1)
        (problem,) = (await ask(world))["verdict"]["problems"]
        assert problem["subject"] == "configuration"
        assert f"secret_file = {world.root}/missing" in problem["text"]
        change(world, mistake, "")
        daemon.signal(signal.SIGHUP)
        await said(daemon, "ready", 2)
        assert (await ask(world))["verdict"]["problems"] == []
