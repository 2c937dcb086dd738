"""``slurmsyncd status`` as an operator sees it: the real daemon, and one thing broken at a time."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from slurmsyncd.control.client import connect
from slurmsyncd.sandbox.demo.environment import stop_daemon
from slurmsyncd.sandbox.slurm.faults import clear_faults, set_fault
from tests.system.daemon.test_audit import site, until
from tests.unit.store.builders import opened

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from slurmsyncd.config import Config
    from tests.system.daemon.test_audit import Site
    from tests.unit.commands.conftest import Command


class Seen(NamedTuple):
    """What a process printed."""

    status: int
    out: str
    err: str


async def typed(at: Site, *argv: str) -> Seen:
    """Run a command as a process."""
    command = [sys.executable, "-m", "slurmsyncd", *argv, "--config", str(at.stage.config)]
    done = await anyio.run_process(command, check=False)
    return Seen(done.returncode, done.stdout.decode(), done.stderr.decode())


async def shown(at: Site, condition: Callable[[Seen], bool], *argv: str) -> Seen:
    """Wait until a command (``status``) shows what has to come."""
    with anyio.fail_after(60):
        while not condition(seen := await typed(at, *(argv or ("status",)))):  # noqa: ASYNC110 - of others
            await anyio.sleep(0.2)
    return seen


@pytest.mark.anyio
async def test_the_verdict_names_what_is_broken_and_the_remedy_works(tmp_path: Path) -> None:
    """
    Slurm down, a token that is refused, a run that is rejected, a dead letter, no daemon: each is the first line, and the exit status.

    In between, once the remedy was applied, all is well again.
    """
    async with site(tmp_path) as at:
        daemon = at.stage.start_daemon()
        try:
            (first,) = at.submit(name="\x1b[2Jevil\u202e")
            await until(lambda: at.states(first) == [["running"]])
            well = await shown(at, lambda seen: seen.status == 0)
            assert well.out.startswith("slurmsyncd runs, and all is well\n")

            set_fault(at.stage.root / "slurm", "ctld", "down:0")
            down = await shown(at, lambda seen: seen.status == 1)
            # Accounting still answers, but not when nothing but a hint was looked at last.
            assert re.match("cluster demo: (does not answer|answers only in part) since ", down.out)
            assert "Unable to contact slurm controller" in down.out.splitlines()[0]
            clear_faults(at.stage.root / "slurm")
            await shown(at, lambda seen: seen.status == 0)

            at.backend.knobs.unauthorized = True
            # Nothing has to be told of any job; an audit may have been the first to notice.
            words = "sink demo: credentials refused (asked with node states): "
            await shown(at, lambda seen: seen.status == 1 and seen.out.startswith(words))
            at.submit()
            refused = await shown(at, lambda seen: " since " in seen.out.splitlines()[0])
            assert refused.out.startswith("sink demo: credentials refused since ")
            assert str(at.stage.root / "token") in refused.out.splitlines()[0]
            at.backend.knobs.unauthorized = False
            await shown(at, lambda seen: seen.status == 0)

            at.backend.knobs.refuse_job_ids = list(range(1, 100))
            (unwanted,) = at.submit()
            # Nothing else is accepted, so it is not known yet whose fault that is.
            parked = await shown(at, lambda seen: seen.status == 1)
            assert parked.out.startswith(
                "sink demo: refuses 1 run until somebody changes something there (http_400)"
            )
            at.backend.knobs.refuse_job_ids = [unwanted]
            at.submit()
            dead = await shown(at, lambda seen: "1 dead letter" in seen.out)
            assert dead.out.startswith("sink demo: 1 dead letter, ")
            at.backend.knobs.refuse_job_ids = []
            assert (await typed(at, "deadletters", "retry", "--job", str(unwanted))).status == 0
            await shown(at, lambda seen: seen.status == 0)
            await until(lambda: at.states(unwanted) == [["running"]])
        finally:
            assert await stop_daemon(daemon) == 0
        stopped = await typed(at, "status")
        assert stopped.status == 3
        assert stopped.out.startswith("slurmsyncd does not run; ")
        assert "demo" in stopped.out
        for seen in (well, down, refused, parked, dead, stopped):
            assert not seen.err
            assert "\x1b" not in seen.out
            assert "\u202e" not in seen.out


@pytest.mark.anyio
async def test_json_has_the_documented_keys(tmp_path: Path) -> None:
    """Scripts may rely on them; what happened lately is in it by the minute, and stays through a reload."""
    async with site(tmp_path) as at:
        daemon = at.stage.start_daemon()
        try:
            (job,) = at.submit(duration_s=3600.0)  # it has no end that could be told
            await until(lambda: at.states(job) == [["running"]])
            seen = await shown(at, lambda seen: '"start_told": 1' in seen.out, "status", "--json")
            daemon.send_signal(signal.SIGHUP)
            reloaded = await shown(at, lambda seen: '"starts": 0' in seen.out, "status", "--json")
        finally:
            assert await stop_daemon(daemon) == 0
    minutes = json.loads(reloaded.out)["live"]["minutes"]
    assert sum(minute["counts"].get("starts", 0) for minute in minutes) == 1
    said = json.loads(seen.out)
    assert seen.out.count("\n") == 1
    assert said["verdict"] == {"level": "well", "problems": []}
    assert set(said) == {"verdict", "now", "totals", "live"}
    assert set(said["totals"]) == {"sinks", "open_runs", "cursors", "incident", "gaps"}
    assert set(said["totals"]["sinks"]["demo"]) >= {"states", "reasons", "waiting_since", "oldest"}
    live = said["live"]
    assert live["pid"] == daemon.pid
    assert live["rss_bytes"] > 2**20
    (source,) = live["sources"]
    assert (source["cluster"], source["starts"], source["unavailable"]) == ("demo", 1, None)
    assert source["commands"]["squeue"]["calls"] >= 1
    assert source["commands"]["squeue"]["seconds"] > 0
    (sink,) = live["sinks"]
    assert (sink["name"], sink["told"], sink["trouble"]) == ("demo", {"start": 1}, None)
    counted = [minute["counts"] for minute in live["minutes"]]
    assert sum(counts.get("starts", 0) for counts in counted) == 1
    assert sum(counts.get("start_told", 0) for counts in counted) == 1


def test_without_a_daemon_the_store_is_shown(filled: Config, command: Command) -> None:
    """It says so first, and then what is written down."""
    done = command(filled, "status")
    assert done.status == 3
    lines = done.shown.splitlines()
    assert lines[0] == "slurmsyncd does not run; this is what it has written down"
    assert "systemctl start slurmsyncd" in lines[1]
    assert any(line.split()[:2] == ["rest", "parked"] for line in lines)


def test_an_incident_is_said_until_it_is_acknowledged(config: Config, command: Command) -> None:
    """A store that was lost is an incident; the operator's word ends it."""
    opened(config.daemon.state_dir).close()
    for part in config.daemon.state_dir.glob("*.sqlite*"):
        part.unlink()
    opened(config.daemon.state_dir).close()
    said = command(config, "status").shown
    assert "store: lost what was written down" in said
    assert "--acknowledge" in said
    assert "store: lost" not in command(config, "status", "--acknowledge").shown
    with connect(config) as desk:
        assert not desk.running


@pytest.mark.parametrize("interval", ["0", "-1", "x", "nan", "inf"])
def test_an_interval_that_is_none_is_refused(
    filled: Config, command: Command, capsys: pytest.CaptureFixture[str], interval: str
) -> None:
    """With what is one."""
    with pytest.raises(SystemExit) as ended:
        command(filled, "status", f"--watch={interval}")
    assert ended.value.code == 2
    assert "from 0.2 to 86400" in capsys.readouterr().err


@pytest.mark.anyio
async def test_watching_stands_a_restart(tmp_path: Path) -> None:
    """Whoever watches sees it go, and come back."""
    async with site(tmp_path) as at:
        daemon = at.stage.start_daemon()
        try:
            await shown(at, lambda seen: seen.status == 0)
            argv = [
                sys.executable,
                "-m",
                "slurmsyncd",
                "status",
                "--watch=0.2",
                "--config",
                str(at.stage.config),
            ]
            async with await anyio.open_process(argv, stderr=subprocess.STDOUT) as watching:
                assert watching.stdout is not None
                text = BufferedByteReceiveStream(watching.stdout)
                await text.receive_until(b"all is well", 2**20)
                assert await stop_daemon(daemon) == 0
                await text.receive_until(b"does not run", 2**20)
                daemon = at.stage.start_daemon()
                with anyio.fail_after(60):
                    await text.receive_until(b"all is well", 2**20)
                watching.send_signal(signal.SIGINT)
                assert await watching.wait() == 0
        finally:
            assert await stop_daemon(daemon) == 0


@pytest.mark.anyio
async def test_watching_draws_again_until_it_is_interrupted(tmp_path: Path) -> None:
    """On a terminal each drawing takes the place of the one before; Ctrl-C ends it, with the last status."""
    async with site(tmp_path) as at:
        daemon = at.stage.start_daemon()
        try:
            await shown(at, lambda seen: seen.status == 0)
            status, seen = await anyio.to_thread.run_sync(_watch, at.stage.config)
        finally:
            assert await stop_daemon(daemon) == 0
    assert status == 0
    assert seen.startswith(b"\x1b[H\x1b[32mslurmsyncd runs, and all is well\x1b[0m")
    assert seen.count(b"\x1b[J") >= 3
    assert b"Traceback" not in seen


def _watch(config: Path) -> tuple[int, bytes]:
    master, slave = pty.openpty()
    argv = [sys.executable, "-m", "slurmsyncd", "status", "--watch", "0.2", "--config", str(config)]
    environment: dict[str, Any] = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "80"}
    environment.pop("NO_COLOR", None)
    seen = b""
    with subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, env=environment) as process:
        os.close(slave)
        try:
            while seen.count(b"\x1b[J") < 3:
                seen += os.read(master, 65536)
            process.send_signal(signal.SIGINT)
            process.wait(60)
        finally:
            process.kill()
            os.close(master)
    return process.returncode, seen
