"""A proxy before the backend that can also answer with what it was sent, as a careless or hostile one does."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from tests.tools.oracle.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

TOKEN_HEADER = b"x-auth-token:"


def _page(status: str) -> Callable[[bytes, bytes], bytes]:
    """Answer with a page that shows the whole request."""

    def answer(request: bytes, _: bytes) -> bytes:
        body = b"<html><pre>" + request + b"</pre></html>"
        head = f"HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    return answer


def _headers(status: str) -> Callable[[bytes, bytes], bytes]:
    """Answer with the token in every header that somebody may look at."""

    def answer(_: bytes, token: bytes) -> bytes:
        names = (b"Location: /login?token=", b"Retry-After: ", b"Set-Cookie: session=", b"WWW-Authenticate: ")
        lines = (f"HTTP/1.1 {status}".encode(), *(name + token for name in names), b"Content-Length: 0")
        return b"\r\n".join(lines) + b"\r\n\r\n"

    return answer


#: What it answers, of the request and the token in it.
ECHOES: dict[str, Callable[[bytes, bytes], bytes]] = {
    "page_200": _page("200 OK"),
    "page_400": _page("400 Bad Request"),
    "page_401": _page("401 Unauthorized"),
    "page_404": _page("404 Not Found"),
    "page_422": _page("422 Unprocessable Entity"),
    "page_500": _page("500 Internal Server Error"),
    "redirect": _headers("302 Found"),
    "busy": _headers("503 Service Unavailable"),
    "json": lambda _, token: (
        b"HTTP/1.1 400 X\r\nContent-Length: %d\r\n\r\n" % (len(token) + 12) + b'{"error":"' + token + b'"}'
    ),
    "reason": lambda _, token: b"HTTP/1.1 500 " + token + b"\r\nContent-Length: 0\r\n\r\n",
    "status_line": lambda _, token: b"HTTP/1.1 " + token + b"\r\n\r\n",
    "header_line": lambda _, token: b"HTTP/1.1 200 OK\r\n" + token + b"\r\n\r\n",
    "header_length": lambda _, token: b"HTTP/1.1 200 OK\r\nContent-Length: " + token + b"\r\n\r\n",
    "no_http": lambda request, _: request,
}


class Echo(Proxy):
    """As the proxy it is, with ``ECHOES`` among its faults."""

    async def _exchange(self, request: bytes, writer: asyncio.StreamWriter) -> None:
        if self.fault not in ECHOES:
            await super()._exchange(request, writer)
            return
        self.met[self.fault] += 1
        writer.write(ECHOES[self.fault](request, _token(request)))
        await writer.drain()
        raise EOFError  # much of it leaves a connection that is of no use


@asynccontextmanager
async def nats_echo() -> AsyncIterator[int]:
    """Play a NATS server that refuses everybody with the very words that he logged in with; gives its port."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError):
            writer.write(b'INFO {"server_id":"x","max_payload":1048576,"headers":true,"nonce":"abc"}\r\n')
            said = (await reader.readline()).strip().replace(b"'", b"")
            writer.write(b"-ERR 'Authorization Violation: " + said + b"'\r\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1")
    async with server:
        yield server.sockets[0].getsockname()[1]


def _token(request: bytes) -> bytes:
    for line in request.split(b"\r\n"):
        if line.lower().startswith(TOKEN_HEADER):
            return line.partition(b":")[2].strip()
    return b""
