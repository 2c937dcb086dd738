"""More clients than places: whoever asks is served, and whoever keeps the server waiting makes room."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from slurmsyncd.http_server.messages import HttpRequest, HttpResponse
from tests.unit.http_server.test_server import exchange, read_all, running

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.anyio

GET = b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
HALF = b"GET / HTTP/1.1\r\nHost:"


@contextlib.contextmanager
def half(port: int, source: str = "127.0.0.1") -> Iterator[socket.socket]:
    """A client that never finishes its request."""
    with socket.create_connection(("127.0.0.1", port), 10, (source, 0)) as client:
        client.sendall(HALF)
        yield client


def is_open(client: socket.socket) -> bool:
    """Whether the server still waits for this client."""
    client.setblocking(False)
    try:
        return client.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False


async def noticed() -> None:
    """Let the server's tasks run until they wait for more than what the kernel has for them."""
    for _ in range(20):
        await anyio.lowlevel.checkpoint()


async def test_a_new_client_gets_the_place_of_who_waits_longest() -> None:
    """With all places held by unfinished requests a client is answered, and the oldest of them is closed."""
    async with running(connections=2, head_s=60.0) as port:
        with half(port) as first, half(port) as second:
            await noticed()
            assert (await exchange(port, GET)).startswith(b"HTTP/1.1 200 ")
            assert not is_open(first)
            assert is_open(second)


async def test_an_idle_connection_makes_room() -> None:
    """A connection that waits for its next request is one of those that make room."""
    async with (
        running(connections=1, idle_s=60.0) as port,
        await anyio.connect_tcp("127.0.0.1", port) as idle,
    ):
        await idle.send(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await idle.receive()).startswith(b"HTTP/1.1 200 ")
        assert (await exchange(port, GET)).startswith(b"HTTP/1.1 200 ")
        assert await read_all(idle) == b""


async def test_the_peer_with_the_most_connections_makes_room() -> None:
    """One address that fills all places closes its own connections, not the older one of another address."""
    async with running(connections=3, head_s=60.0) as port:
        with half(port, "127.0.0.2") as other:
            await noticed()
            with half(port) as first, half(port) as second:
                await noticed()
                assert (await exchange(port, GET)).startswith(b"HTTP/1.1 200 ")
                assert [is_open(client) for client in (other, first, second)] == [True, False, True]


async def test_a_request_in_work_keeps_its_place() -> None:
    """Nobody makes room who is owed an answer: the next client waits, and is served after it."""
    working, done = anyio.Event(), anyio.Event()
    seen: list[str] = []

    async def slow(request: HttpRequest) -> HttpResponse:
        seen.append(request.path)
        if request.path == "/slow":
            working.set()
            await done.wait()
            seen.append("done")
        return HttpResponse(200)

    async with running(slow, connections=1) as port, anyio.create_task_group() as group:
        group.start_soon(exchange, port, GET.replace(b"/a", b"/slow"))
        await working.wait()
        group.start_soon(exchange, port, GET)
        await noticed()
        done.set()
    assert seen == ["/slow", "done", "/a"]


async def test_who_sends_one_request_after_the_other_makes_room() -> None:
    """A client that never lets the server wait is closed after an answer, once another one wants its place."""
    async with running(connections=1) as port, await anyio.connect_tcp("127.0.0.1", port) as rude:
        requests = GET.replace(b"Connection: close\r\n", b"") * 3000

        async def flood() -> None:
            with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                while True:
                    await rude.send(requests)

        async def listen() -> None:
            with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                while True:
                    await rude.receive()

        async with anyio.create_task_group() as group:
            group.start_soon(flood)
            group.start_soon(listen)
            assert (await exchange(port, GET)).startswith(b"HTTP/1.1 200 ")
            group.cancel_scope.cancel()


async def test_places_are_a_part_of_the_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server holds a quarter of the file descriptors that the process may have, whatever it was set to."""
    monkeypatch.setattr("resource.getrlimit", lambda _: (8, 8))
    async with running(connections=100, head_s=60.0) as port:
        with half(port) as first, half(port):
            await noticed()
            with half(port):
                await noticed()
                assert not is_open(first)
