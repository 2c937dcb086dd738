"""Requests without a token, and more of them than there is memory for, against the backend as a process."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import httpx
import pytest

from slurmsyncd.sandbox.backend.clusters import make_cluster
from slurmsyncd.sandbox.backend.routing import BODY_BYTES
from tests.tools.bench.processes import forget_peak, peak_mb
from tests.unit.sandbox.backend.client import Client, J, http
from tests.unit.sandbox.backend.test_command import COMMAND, command, free_port
from tests.unit.sandbox.backend.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

STRANGERS = 6
PART, PARTS = b"x" * 1_000_000, 30
HEAD = b"POST /api/jobs/start_job/ HTTP/1.1\r\nHost: x\r\nContent-Length: 30000000\r\n"


@asynccontextmanager
async def backend(path: Path) -> AsyncIterator[tuple[Client, int, int]]:
    """Have one; gives a client with a token, its port and its pid."""
    clusters, state, port = path / "clusters.json", path / "state", free_port()
    clusters.write_text(json.dumps([make_cluster("demo", "cn[001-009]")]))
    token = (await command("--state", state, "token")).stdout.decode().strip()
    args = ["--state", state, "--clusters", clusters, "--listen", f"127.0.0.1:{port}"]
    async with (
        http(f"http://127.0.0.1:{port}") as connection,
        await anyio.open_process([*COMMAND, *map(str, args)], stderr=subprocess.DEVNULL) as process,
    ):
        client = Client(connection, token)

        async def answers() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return (await client.get("/api/clusters/")).status_code == 200
            return False

        try:
            await until(answers, 60.0)
            yield client, port, process.pid
        finally:
            process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0


async def test_strangers_are_refused_before_their_bodies_are_read(tmp_path: Path) -> None:
    """Bodies of 30 MB without a good token cost no memory, and a client with a token is served beside them."""
    async with backend(tmp_path) as (client, port, pid):
        before_mb = forget_peak(pid)
        answers: list[bytes] = []

        async def intrude(token: bytes) -> None:
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                with contextlib.suppress(anyio.BrokenResourceError):  # it hangs up
                    await stream.send(HEAD + token + b"\r\n")
                    for _ in range(PARTS):
                        await stream.send(PART)
                with contextlib.suppress(anyio.BrokenResourceError, anyio.EndOfStream):
                    answers.append(await stream.receive())

        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                for number in range(STRANGERS):
                    group.start_soon(intrude, b"X-Auth-Token: no\r\n" if number % 2 else b"")
                assert (await client.start(J(1))).status_code == 201
        assert all(answer.startswith(b"HTTP/1.1 401 ") for answer in answers)
        assert peak_mb(pid) - before_mb < 16


async def test_bodies_are_bounded_each_and_together(tmp_path: Path) -> None:
    """With a token, too, a body beyond the limit is 413, and one that does not fit beside others is 503."""
    async with backend(tmp_path) as (client, port, _):
        head = f"POST /api/jobs/start_job/ HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {client.token}\r\n"

        async def announced(stack: contextlib.AsyncExitStack, size: int) -> anyio.abc.SocketStream:
            stream = await stack.enter_async_context(await anyio.connect_tcp("127.0.0.1", port))
            await stream.send(f"{head}Expect: 100-continue\r\nContent-Length: {size}\r\n\r\n".encode())
            return stream

        async with contextlib.AsyncExitStack() as stack:
            said = [
                await (await announced(stack, size)).receive() for size in (BODY_BYTES + 1, *[BODY_BYTES] * 3)
            ]
            assert [line[9:12] for line in said] == [b"413", b"100", b"100", b"503"]
            assert (await client.start(J(1))).status_code == 503
        await until(lambda: _started(client), 10.0)


async def _started(client: Client) -> bool:
    return (await client.start(J(2))).status_code == 201
