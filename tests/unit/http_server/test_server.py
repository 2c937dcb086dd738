"""The HTTP server, spoken to by raw bytes and by a real client."""

from __future__ import annotations

import contextlib
import gc
import gzip
import socket
import stat
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import h11
import httpx
import pytest

from slurmsyncd.http_server.server import (
    BadAddress,
    HttpRequest,
    HttpResponse,
    ServerLimits,
    listen,
    serve,
    split_address,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from anyio.abc import SocketStream

    from slurmsyncd.http_server.server import Handler

pytestmark = pytest.mark.anyio


async def echo(request: HttpRequest) -> HttpResponse | None:
    if request.path == "/crash":
        raise RuntimeError("a bug")
    if request.path == "/no-http":
        return HttpResponse(200, b"", (("x", "a\nb"),))
    if request.path == "/hang-up":
        return None
    if request.path == "/empty":
        return HttpResponse(204)
    body = await request.body.read(5000)
    return HttpResponse(200, body or request.path.encode(), (("content-type", "text/plain"),))


@contextlib.asynccontextmanager
async def running(handler: Handler = echo, **limits: Any) -> AsyncIterator[int]:
    with listen("127.0.0.1:0") as sockets:
        async with anyio.create_task_group() as group:
            group.start_soon(serve, sockets, handler, ServerLimits(**limits))
            yield sockets[0].getsockname()[1]
            group.cancel_scope.cancel()


async def exchange(port: int, data: bytes, *, eof: bool = False) -> bytes:
    """Send bytes and read until the server closes."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(data)
        if eof:
            await stream.send_eof()
        return await read_all(stream)


async def read_all(stream: SocketStream) -> bytes:
    parts = b""
    with anyio.fail_after(10), contextlib.suppress(anyio.EndOfStream):
        while True:
            parts += await stream.receive()
    return parts


async def test_keep_alive_and_pipelining() -> None:
    """Several requests on one connection are answered in order, the last one closes it."""
    data = (
        b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n" * 2 + b"GET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    async with running() as port:
        answer = await exchange(port, data)
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == 3
    assert answer.endswith(b"/b")


async def test_percent_decoding_and_query() -> None:
    """Path and query arrive decoded, empty and repeated keys are kept."""
    seen = []

    async def note(request: HttpRequest) -> HttpResponse:
        seen.append(request)
        return HttpResponse()

    async with running(note) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        await client.get("/a%20b/%C3%A9?x=1&x=2&y=&z=%26", headers={"X-Thing": "v"})
    (request,) = seen
    assert request.path == "/a b/é"
    assert request.query == (("x", "1"), ("x", "2"), ("y", ""), ("z", "&"))
    assert (request.first("x"), request.first("nope")) == ("1", None)
    assert (request.headers["x-thing"], request.peer) == ("v", "127.0.0.1")
    assert "v" not in repr(request).replace("v=", "")


async def test_chunked_body() -> None:
    """A body without a length is read to its end."""
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with running() as port:
        assert (await exchange(port, head + b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")).endswith(b"\r\n\r\nabc")


async def test_expect_100_continue() -> None:
    """A client that waits for the go-ahead gets it before it sends the body."""
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    async with running() as port, await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(head)
        assert (await stream.receive()).startswith(b"HTTP/1.1 100 ")
        await stream.send(b"ok")
        assert (await read_all(stream)).endswith(b"ok")


async def test_head_has_no_body() -> None:
    """HEAD gives the headers of GET, the length included, and nothing more."""
    async with running() as port:
        answer = await exchange(port, b"HEAD /abc HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b"content-length: 4" in answer
    assert answer.endswith(b"\r\n\r\n")


async def test_204_has_no_length() -> None:
    """An answer that has no body by definition says nothing of its length."""
    async with running() as port:
        answer = await exchange(port, b"GET /empty HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 204 No Content\r\n")
    assert b"content-length" not in answer


async def test_hang_up() -> None:
    """A handler may close the connection without an answer."""
    async with running() as port:
        assert await exchange(port, b"GET /hang-up HTTP/1.1\r\nHost: x\r\n\r\n") == b""


async def test_crash_is_500_and_no_end() -> None:
    """A handler that raises is answered with an empty 500, and the connection goes on."""
    data = b"GET /crash HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    async with running() as port:
        answer = await exchange(port, data)
    assert answer.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert answer.endswith(b"/b")


async def test_an_answer_that_is_no_http_ends_its_connection_alone() -> None:
    """A handler's answer that cannot be sent closes the connection, and the server goes on."""
    async with running() as port:
        assert await exchange(port, b"GET /no-http HTTP/1.1\r\nHost: x\r\n\r\n") == b""
        assert (await exchange(port, b"GET /a HTTP/1.0\r\n\r\n")).endswith(b"/a")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(b"garbage\r\n\r\n", b"400", id="garbage"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400", id="tls"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", b"400", id="no-host"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200_000 + b"\r\n\r\n", b"431", id="head"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n", b"413", id="length"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 20 + b"\r\n\r\n", b"413", id="20-digits"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 4400 + b"\r\n\r\n", b"400", id="digits"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nContent-Length: 8\r\n\r\n", b"400", id="two"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"10\r\n" + b"a" * 16 + b"\r\n" * 1
            + b"FFFF\r\n" + b"a" * 0xFFFF + b"\r\n0\r\n\r\n",
            b"413",
            id="chunks",
        ),
    ],
)  # fmt: skip
async def test_bad_requests(data: Any, status: Any) -> None:
    """What is no request, or too large, is refused and the connection closed."""
    async with running(head_bytes=5000) as port:
        answer = await exchange(port, data)
    assert answer.startswith(b"HTTP/1.1 " + status), answer
    assert b"connection: close" in answer.lower()


async def test_slow_head_and_slow_body() -> None:
    """A client that stalls within a request is told so."""
    async with running(head_s=0.05, body_s=0.05) as port:
        assert (await exchange(port, b"GET / HT")).startswith(b"HTTP/1.1 408 ")
        stalled = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab"
        assert (await exchange(port, stalled)).startswith(b"HTTP/1.1 408 ")


async def test_idle_connection_is_closed() -> None:
    """A connection without requests is closed silently."""
    async with running(idle_s=0.05) as port:
        assert await exchange(port, b"") == b""
    async with running(idle_s=0.5) as port:
        assert (await exchange(port, b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")).endswith(b"/a")


async def test_a_refusal_does_not_wait_for_the_body() -> None:
    """A handler that judges the head is answered for at once: the body is not read, nor asked for by 100 Continue."""
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n"

    async def refuse(_: HttpRequest) -> HttpResponse:
        return HttpResponse(401)

    async with running(refuse) as port:
        for expects in (b"", b"Expect: 100-continue\r\n"):
            answer = await exchange(port, head + expects + b"\r\n")
            assert answer.startswith(b"HTTP/1.1 401 ")
            assert answer.lower().count(b"connection: close") == 1


async def test_a_short_body_that_nobody_reads_does_not_end_the_connection() -> None:
    """A body that came with its head is skipped, and the next request is answered."""

    async def look(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, request.path.encode())

    data = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
    async with running(look) as port:
        answer = await exchange(port, data + b"GET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == 2
    assert answer.endswith(b"/b")


async def test_bodies_share_their_memory() -> None:
    """A body that does not fit beside the others is answered with 503, and is taken when they are done."""

    def post(body: bytes) -> bytes:
        return b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 600\r\n\r\n" + body

    async with running(body_bytes=1000) as port:
        async with await anyio.connect_tcp("127.0.0.1", port) as first:
            await first.send(post(b"a" * 599))
            with anyio.fail_after(10):
                while not (await exchange(port, post(b"b" * 600))).startswith(b"HTTP/1.1 503 "):
                    pass
            await first.send(b"a")
            assert (await read_all(first)).startswith(b"HTTP/1.1 200 ")
        assert (await exchange(port, post(b"b" * 600))).startswith(b"HTTP/1.1 200 ")


async def test_client_that_goes_away() -> None:
    """A client that leaves in the middle of a request disturbs nobody."""
    async with running() as port:
        assert (
            await exchange(port, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab", eof=True)
            != b"x"
        )
        assert (await exchange(port, b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).endswith(
            b"/a"
        )


@pytest.mark.parametrize(
    ("accept", "packed"),
    [("gzip", True), ("deflate, GZIP;q=0.5", True), ("gzip;q=0", False), ("identity", False), ("", False)],
)
async def test_gzip(accept: Any, packed: Any) -> None:
    """A large answer is compressed if the client takes it."""
    body = b"abc" * 1000
    async with running() as port, httpx.AsyncClient() as client:
        request = client.build_request(
            "POST", f"http://127.0.0.1:{port}/", content=body, headers={"Accept-Encoding": accept}
        )
        answer = await client.send(request, stream=True)
        raw = b"".join([part async for part in answer.aiter_raw()])
    assert ("content-encoding" in answer.headers) is packed
    assert (gzip.decompress(raw) if packed else raw) == body


async def test_unix_socket(tmp_path: Path) -> None:
    """A UNIX socket serves too, is private, replaces its dead predecessor and leaves nothing behind."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with listen(f"unix:{path}") as sockets:
        async with anyio.create_task_group() as group:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            group.start_soon(serve, sockets, echo)
            async with await anyio.connect_unix(path) as stream:
                await stream.send(b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert (await read_all(stream)).endswith(b"\r\n\r\n/a")
            group.cancel_scope.cancel()
    assert not path.exists()


async def test_unix_socket_of_a_live_server(tmp_path: Path) -> None:
    """Where somebody listens already, nothing is taken away."""
    path = tmp_path / "s"
    with listen(f"unix:{path}"):
        with pytest.raises(FileExistsError, match="listens"), listen(f"unix:{path}"):
            pass
        assert path.is_socket()


async def test_unix_socket_spares_foreign_files(tmp_path: Path) -> None:
    """What is no socket of ours is left alone."""
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(FileExistsError, match="in the way"), listen(f"unix:{path}"):
        pass
    assert path.read_text() == "precious"


async def test_unix_socket_of_a_successor_is_left(tmp_path: Path) -> None:
    """A socket that somebody else has put in our place is not removed."""
    path = tmp_path / "s"
    with listen(f"unix:{path}"):
        path.unlink()
        path.write_text("another's")
    assert path.read_text() == "another's"


@pytest.mark.parametrize(
    ("address", "parts"),
    [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:0", ("::1", 0)), ("a.b:65535", ("a.b", 65535))],
)
async def test_addresses(address: Any, parts: Any) -> None:
    """Hosts and ports are taken apart."""
    assert split_address(address) == parts


@pytest.mark.parametrize("address", ["", "8080", ":80", "host", "host:", "host:x", "host:65536", "host:-1"])
async def test_bad_addresses(address: Any) -> None:
    """What is no address is refused with what would be."""
    with pytest.raises(BadAddress, match="use host:port"):
        split_address(address)


async def test_real_client_state_machine() -> None:
    """What we send is HTTP as h11's client side understands it."""
    async with running() as port:
        raw = await exchange(port, b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    peer = h11.Connection(h11.CLIENT)
    peer.send(h11.Request(method="GET", target="/x", headers=[("Host", "x")]))
    peer.send(h11.EndOfMessage())
    peer.receive_data(raw)
    kinds = [type(peer.next_event()) for _ in range(3)]
    assert kinds == [h11.Response, h11.Data, h11.EndOfMessage]


@pytest.mark.parametrize("steps", [2, 3, 4, 5])  # one step earlier asyncio itself has it, and forgets it
async def test_a_connection_that_comes_at_the_very_end_is_closed(steps: int) -> None:
    """However far we got with it when we were stopped: it is handed over, or not begun yet."""
    with socket.socket() as client:
        async with running() as port:
            await anyio.wait_all_tasks_blocked()
            client.connect(("127.0.0.1", port))
            for _ in range(steps):
                await anyio.lowlevel.checkpoint()
        client.settimeout(30)
        with contextlib.suppress(ConnectionResetError):
            assert not client.recv(1)
    gc.collect()  # what was left open would be an error now
