"""The daemon as a process: signals, its manager, and a package that is replaced under it."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from slurmsyncd.sandbox.slurm import faults
from tests.paths import ROOT
from tests.unit.host.lives import change, life, quiet_world, said, submit, there

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE_S = 60.0
#: Jobs of another cluster; no job, time or size of ours has such a number.
FOREIGN = (700_700_701, 700_700_702, 700_700_703)


@pytest.mark.anyio
async def test_p2_p14_sighup_and_sigpipe_do_not_end_it_and_sigint_does() -> None:
    """P2, P14: without systemd a terminal's signals do what is expected of them; Ctrl-C is a clean stop."""
    async with quiet_world() as world:
        async with life(world, end=signal.SIGINT) as daemon:
            assert '"systemd": false' in next(line for line in daemon.lines if '"ready"' in line)
            daemon.signal(signal.SIGPIPE)
            daemon.signal(signal.SIGHUP)
            await said(daemon, "ready", 1)
            job_id = submit(world, 0.5)
            await there(world, job_id, "completed")
        assert (daemon.lives, list(daemon.statuses)) == (1, [0])
        assert not (world.root / "run" / "pid").exists()


@pytest.mark.anyio
async def test_k8_a_hint_of_another_cluster_asks_nobody_anything() -> None:
    """It is named once and forgotten; the next hint of our own cluster is heard, long before the next poll."""
    async with quiet_world() as world:
        change(world, "poll_interval = 0.5", "poll_interval = 3600.0")
        async with life(world) as daemon:
            await there(world, submit(world, 3600.0), "running")
            for job_id in FOREIGN:
                ring(world.root / "run" / "hook.sock", f"context=prolog cluster=other job={job_id}")
            await said(daemon, "hint_of_other_cluster")
            ring(world.root / "run" / "hook.sock", f"context=prolog job={FOREIGN[0]} cluster=$(reboot)")
            await said(daemon, "hint_refused")
            await there(world, submit(world, 3600.0), "running")
            assert daemon.events["hint_of_other_cluster"] == 1
            # Not how many: our own jobs may be asked for again at any time.
            assert [line for line in world.words() if any(str(job_id) in line for job_id in FOREIGN)] == []


def ring(path: Path, words: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(f"slurmsyncd/1 {words}\n".encode(), str(path))


@pytest.mark.anyio
async def test_p8_a_reload_that_names_what_cannot_be_had_changes_nothing() -> None:
    """Its secret is missing, which shows only when it is read: what ran before goes on, with its store."""
    async with quiet_world() as world, life(world) as daemon:
        listen = f'listen = ["tcp:127.0.0.1:1"]\nsecret_file = "{world.root}/missing"'
        change(world, "[hook]\n", f"[hook]\n{listen}\n")
        daemon.signal(signal.SIGHUP)
        await said(daemon, "reload_refused")
        await said(daemon, "ready", 1)
        job_id = submit(world, 0.5)
        await there(world, job_id, "completed")
        assert daemon.lives == 1


@pytest.mark.anyio
async def test_p13_nothing_is_imported_once_it_is_ready() -> None:
    """P13: whatever happens later, an upgrade that replaces the files of a running daemon cannot break it."""
    async with quiet_world() as world:
        daemon, state = world.daemon, world.root / "slurm"
        daemon._argv = (sys.executable, "-X", "importtime", *daemon._argv[1:])
        async with life(world):
            for fault, event in (("401", "sink_unavailable"), ("garbage", "attempt_failed")):
                before = daemon.events[event]
                world.proxy.fault = fault
                submit(world, 0.5)
                await said(daemon, event, before)
                world.proxy.fault = None
                await there(world, submit(world, 0.5), "completed")
            faults.set_fault(state, "ctld", "down:0")
            await said(daemon, "look_failed")
            faults.clear_fault(state, "ctld")
            change(world, "poll_interval = 0.5", "poll_interval = -0.5")
            daemon.signal(signal.SIGHUP)
            await said(daemon, "reload_refused")
            change(world, "poll_interval = -0.5", "poll_interval = 0.5")
            daemon.signal(signal.SIGHUP)
            await said(daemon, "ready", 1)
            await there(world, submit(world, 0.5), "completed")
        daemon.bad.clear()  # the interpreter's own words, looked at here
        lines = list(daemon.lines)
        ready = next(at for at, line in enumerate(lines) if '"ready"' in line)
        assert [line for line in lines[:ready] if "slurmsyncd.daemon" in line], "imports are told"
        assert [line for line in lines[ready:] if line.startswith("import time")] == []


# Serves, and on SIGUSR1 holds up its own event loop until it reads a byte.
_STUCK = """
import asyncio, os, signal, sys
from pathlib import Path
import anyio
from slurmsyncd.config import read_config
from slurmsyncd.daemon import run_daemon
from slurmsyncd.logs import configure_logs

def stick():
    os.write(1, b"stuck\\n")
    os.read(0, 1)

async def main():
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, stick)
    configure_logs("info", "json")
    await run_daemon(reread(), reread)

def reread():
    return read_config(Path(sys.argv[1]), {})

anyio.run(main)
"""
_CONFIG = """
[daemon]
state_dir = "{root}/state"
lastrun_file = "{root}/state/lastrun"
pid_file = "{root}/run/pid"
[slurm]
bin_dir = "/nonexistent"
[clusters.alpha]
[hook]
socket = ""
[sinks.cc]
url = "http://127.0.0.1:9"
token_file = "{root}/token"
"""


@contextmanager
def managed(root: Path) -> Iterator[tuple[subprocess.Popen[bytes], socket.socket]]:
    """Run it under a manager that expects a sign of life every 0.4 s."""
    (root / "run").mkdir(mode=0o755)
    (root / "config.toml").write_text(_CONFIG.format(root=root))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(root / "notify"))
        manager.settimeout(PATIENCE_S)
        environment = {"NOTIFY_SOCKET": str(root / "notify"), "WATCHDOG_USEC": "400000"}
        with subprocess.Popen(
            [sys.executable, "-c", _STUCK, str(root / "config.toml")],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | environment,
        ) as process:
            try:
                yield process, manager
            finally:
                process.kill()


def told(manager: socket.socket, what: bytes, times: int = 1) -> list[bytes]:
    """Read what the manager is told until it was told this; gives the lines of that message."""
    while True:
        lines = manager.recv(4096).split(b"\n")
        times -= what in lines
        if not times:
            return lines


def test_p1_p6_a_stuck_loop_gives_no_sign_of_life_and_a_stop_asks_for_time(tmp_path: Path) -> None:
    """P6, P1, P11: ready without Slurm; systemd sees that the loop is held up, and is told how long a stop may take."""
    with managed(tmp_path) as (process, manager):
        assert process.stdin is not None
        assert process.stdout is not None
        told(manager, b"READY=1")
        told(manager, b"WATCHDOG=1", 3)
        process.send_signal(signal.SIGUSR1)
        assert process.stdout.readline() == b"stuck\n"
        while select.select([manager], [], [], 0)[0]:
            manager.recv(4096)
        manager.settimeout(1.2)  # six times as long as between two signs
        with pytest.raises(TimeoutError):
            manager.recv(4096)
        manager.settimeout(PATIENCE_S)
        process.stdin.write(b"\n")
        process.stdin.flush()
        told(manager, b"WATCHDOG=1", 2)
        process.send_signal(signal.SIGTERM)
        stopping = told(manager, b"STOPPING=1")
        assert b"EXTEND_TIMEOUT_USEC=30000000" in stopping
        assert process.wait(PATIENCE_S) == 0
