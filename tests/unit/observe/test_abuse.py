"""Rude clients of ``web.listen`` against the real daemon: it stays small, reachable and quiet."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from tests.tools.bench.processes import forget_peak, peak_mb
from tests.unit.observe.conftest import Watched, watched

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.anyio

BODY = b"x" * 1_000_000
#: What rude clients begin with, and never finish.
BODIES = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000001\r\n\r\n" + BODY
CHUNKS = (
    b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nf4240\r\n"
    + BODY
    + b"\r\n"
)
HEADS = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
DESCRIPTORS, CLIENTS = 256, 300
#: Each of 32 clients may cost the daemon 16 KiB of a head and the state of its connection.
GROWTH_MB = 8
#: What the daemon logs of connections that it could not serve.
COMPLAINTS = {"connection_not_accepted", "handler_crashed", "library"}


@contextlib.contextmanager
def rude_clients(address: tuple[str, int], begin: bytes) -> Iterator[None]:
    """Hold connections that have sent as much as the kernel took, and never send the rest."""
    with contextlib.ExitStack() as stack:
        for _ in range(CLIENTS):
            client = stack.enter_context(socket.create_connection(address, 10))
            client.setblocking(False)
            with contextlib.suppress(OSError):  # full, or closed by the daemon
                client.send(begin)
        yield


def descriptors(pid: int) -> int:
    """Return how many files a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def status(watch: Watched) -> dict[str, object]:
    """Ask as an operator does."""
    command = [sys.executable, "-m", "slurmsyncd", "status", "--json", "--config", watch.site.stage.config]
    done = await anyio.run_process(list(map(str, command)), check=False, stderr=subprocess.STDOUT)
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


async def test_unfinished_requests_cost_little_and_lock_nobody_out(tmp_path: Path) -> None:
    """Hundreds of unfinished heads and bodies: little memory, no complaint, and all others are answered meanwhile."""
    async with watched(tmp_path, descriptors=DESCRIPTORS) as watch:
        pid = int((tmp_path / "run" / "slurmsyncd.pid").read_text())
        host, port = watch.url.removeprefix("http://").split(":")
        before_mb = forget_peak(pid)
        for begin in (BODIES, CHUNKS, HEADS):
            with rude_clients((host, int(port)), begin):
                assert (await watch.get("/metrics")).status_code == 200
                assert (await status(watch))["live"] is not None
                assert descriptors(pid) < DESCRIPTORS // 2
            assert peak_mb(pid) - before_mb < GROWTH_MB
        events = {json.loads(line)["event"] for line in watch.site.stage.log.read_text().splitlines()}
        assert not events & COMPLAINTS
