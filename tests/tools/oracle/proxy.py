"""A proxy that stands between the daemon and the backend, understands a request, and breaks the exchange on demand."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from random import Random

#: What the proxy can do to an exchange; the daemon's exchange deadline has to be shorter than HANG_S.
FAULTS = (
    "cut_request", "lost_answer", "cut_answer", "reset", "drip", "delay", "hang", "late_request",
    "502_html", "503_retry_after", "429", "401", "200_html", "302", "404_html", "500_empty", "bomb", "garbage",
)  # fmt: skip
HANG_S = 30.0
LATE_S = (0.5, 5.0)  # a request that takes effect when the daemon has given it up

Broken = (OSError, EOFError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)


@dataclass(frozen=True, slots=True)
class Passed:
    """
    A start or stop that reached the backend.

    Attributes:
        began: Epoch seconds, when it was handed on.
        status: The backend's answer, whether or not the daemon got it; None if there was none.
    """

    began: float
    step: str
    body: dict[str, Any]
    status: int | None


class Proxy:
    """
    One listening address, one backend.

    Attributes:
        fault: In force for each exchange, None for none.
        met: How often each fault struck.
        passed: Starts and stops that reached the backend, in order of their answers.
    """

    def __init__(self, upstream_port: int, dice: Random) -> None:
        self.port = 0
        self.fault: str | None = None
        self.met: Counter[str] = Counter()
        self.passed: list[Passed] = []
        self._upstream_port = upstream_port
        self._dice = dice
        self._server: asyncio.Server | None = None
        self._hold: socket.socket | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def listen(self) -> None:
        """Accept connections, from the second time on at the same port."""
        if self._hold is None:
            self._hold = _bound()
            self.port = self._hold.getsockname()[1]
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", self.port, limit=2**20, reuse_port=True
        )

    async def refuse(self) -> None:
        """Close all connections and refuse new ones."""
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the loop may have accepted one more: ``_accept`` aborts it now

    async def aclose(self) -> None:
        """Refuse for good, and give the port back."""
        if self._server is not None:
            await self.refuse()
        if self._hold is not None:
            self._hold.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection by a task that is known before it runs, so that ``refuse`` finds it."""
        if self._server is None or not self._server.is_serving():
            writer.transport.abort()
            return
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # A task that is cancelled before its first step runs none of its code, and so closes nothing.
        task.add_done_callback(lambda _: writer.transport.abort())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async for request in _requests(reader):
                await self._exchange(request, writer)
                await writer.drain()
        except Broken:
            pass
        except asyncio.CancelledError:  # refused
            _reset(writer)
        finally:
            await _closed(writer)

    async def _exchange(self, request: bytes, writer: asyncio.StreamWriter) -> None:
        """Hand on a request and its answer, or do to it what is in force; EOFError ends the connection."""
        fault = self.fault
        if fault is None:
            writer.write(await self._forward(request))
            return
        self.met[fault] += 1
        if fault in _CANNED:
            writer.write(_CANNED[fault](self._dice))
            return
        await self._break(fault, request, writer)

    async def _break(self, fault: str, request: bytes, writer: asyncio.StreamWriter) -> None:
        match fault:
            case "cut_request":
                await self._forward(request[: self._dice.randrange(len(request))], whole=False)
            case "lost_answer":
                await self._forward(request)
            case "cut_answer":
                answer = await self._forward(request)
                writer.write(answer[: self._dice.randrange(len(answer))])
                await writer.drain()
            case "reset":
                await self._forward(request)
                _reset(writer)
            case "drip":
                for byte in await self._forward(request):
                    writer.write(bytes((byte,)))
                    await writer.drain()
                    await asyncio.sleep(0.2)
            case "delay":
                await asyncio.sleep(self._dice.uniform(0.1, 1.5))
                writer.write(await self._forward(request))
                return
            case "hang":
                await asyncio.sleep(HANG_S)
            case "late_request":
                self._later(request)
            case "bomb":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{")
                for _ in range(1000):
                    writer.write(b" " * 65536)
                    await writer.drain()
        raise EOFError

    def _later(self, request: bytes) -> None:
        async def send() -> None:
            with suppress(*Broken):
                await asyncio.sleep(self._dice.uniform(*LATE_S))
                await self._forward(request)

        task = asyncio.create_task(send())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _forward(self, request: bytes, *, whole: bool = True) -> bytes:
        """Return the backend's answer. Raises one of Broken if it has none."""
        began = time.time()
        reader, writer = await asyncio.open_connection("127.0.0.1", self._upstream_port, limit=2**20)
        answer = b""
        try:
            writer.write(request)
            await writer.drain()
            if whole:
                answer = await _message(reader)
        finally:
            await _closed(writer)
            if whole:
                self._note(request, answer, began)
        return answer

    def _note(self, request: bytes, answer: bytes, began: float) -> None:
        line, _, rest = request.partition(b"\r\n")
        for step in ("start", "stop"):
            content = rest.partition(b"\r\n\r\n")[2]
            if (
                content and f"/api/jobs/{step}_job/".encode() in line
            ):  # a question without a body starts nothing
                body = json.loads(content)
                status = int(answer.split(b" ", 2)[1]) if answer else None
                self.passed.append(Passed(began, step, body, status))


def _bound() -> socket.socket:
    """Bind a port without listening, so that nobody else is given it while connections are refused."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", 0))
    return sock


async def _requests(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while True:
        yield await _message(reader)


async def _message(reader: asyncio.StreamReader) -> bytes:
    """Read one request or answer, head and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    return head + await reader.readexactly(length)


async def _closed(writer: asyncio.StreamWriter) -> None:
    """Close a connection for good: one that is still closing at the end of the loop is an unclosed one."""
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _answer(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", "")
    return "\r\n".join(lines).encode() + body


def _retry_after(dice: Random) -> str:
    date = formatdate(time.time() + 1, usegmt=True)
    return "Retry-After: " + dice.choice(("0", "1", "-5", "soon", "1000000000000", date))


_HTML = b"<html><body><h1>UNIQUE constraint failed: job_cache, already been stopped</h1></body></html>"
_CANNED: dict[str, Callable[[Random], bytes]] = {
    "502_html": lambda _: _answer("502 Bad Gateway", _HTML, "Content-Type: text/html"),
    "503_retry_after": lambda dice: _answer("503 Service Unavailable", _HTML, _retry_after(dice)),
    "429": lambda dice: _answer("429 Too Many Requests", b"{}", _retry_after(dice)),
    "401": lambda _: _answer("401 Unauthorized", b'{"error":"token is expired"}'),
    "200_html": lambda _: _answer("200 OK", _HTML, "Content-Type: text/html"),
    "302": lambda _: _answer("302 Found", b"", "Location: http://127.0.0.1:9/login"),
    "404_html": lambda _: _answer("404 Not Found", _HTML, "Content-Type: text/html"),
    "500_empty": lambda _: _answer("500 Internal Server Error"),
    "garbage": lambda dice: dice.randbytes(200) + b"\r\n\r\n",
}
