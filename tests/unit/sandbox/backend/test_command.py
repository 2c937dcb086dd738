"""``slurmsyncd backend`` as a process."""

from __future__ import annotations

import json
import signal
import socket
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

from slurmsyncd.sandbox.backend.clusters import make_cluster
from tests.unit.sandbox.backend.client import Client, J, http
from tests.unit.sandbox.backend.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
COMMAND = [sys.executable, "-m", "slurmsyncd", "backend"]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def command(*args: object) -> subprocess.CompletedProcess[bytes]:
    with anyio.fail_after(30):
        return await anyio.run_process([*COMMAND, *map(str, args)], check=False)


async def test_run_stop_and_run_again(tmp_path: Path) -> None:
    """A started job outlives the process, as does the key of the tokens; SIGTERM ends it cleanly."""
    clusters, state, port = tmp_path / "clusters.json", tmp_path / "state", free_port()
    clusters.write_text(json.dumps([make_cluster("demo", "cn[001-009]")]))
    token = (await command("--state", state, "token", "--days", 1)).stdout.decode().strip()
    args = ["--state", state, "--clusters", clusters, "--listen", f"127.0.0.1:{port}", "--test-api"]
    async with http(f"http://127.0.0.1:{port}") as connection:
        client = Client(connection, token)

        async def answers() -> bool:
            try:
                return (await client.get("/api/clusters/")).status_code == 200
            except httpx.TransportError:
                return False

        for status in (201, 500):  # the second time it is cached already
            async with await anyio.open_process(
                [*COMMAND, *map(str, args)], stderr=subprocess.PIPE
            ) as process:
                await until(answers)
                assert (await client.start(J(1))).status_code == status
                process.send_signal(signal.SIGTERM)
                with anyio.fail_after(10):
                    assert await process.wait() == 0


async def test_token_file(tmp_path: Path) -> None:
    """A token goes into a new file that only we can read; an existing one is spared."""
    out = tmp_path / "token"
    assert (await command("--state", tmp_path, "token", "--out", out)).returncode == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    before = out.read_text()
    again = await command("--state", tmp_path, "token", "--out", out)
    assert again.returncode == 1
    assert b"exists" in again.stderr
    assert out.read_text() == before


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--listen", "nonsense"], "use host:port"),
        (["--clusters", "/nonexistent"], "/nonexistent"),
        (["--listen", "192.0.2.1:1"], "assign"),
        (["--state", "/dev/null/x"], "/dev/null"),
        (["--listen", "0.0.0.0:0", "--test-api"], "127.0.0.1"),
    ],
)
async def test_mistakes(tmp_path: Path, args: list[str], said: str) -> None:
    """A mistake is one line that names it, without a traceback."""
    done = await command("--state", tmp_path, *args)
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 1
    assert len(lines) == 1
    assert said in lines[0]
