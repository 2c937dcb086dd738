"""A small server that answers as it is told: each behaviour is a coroutine over one connection."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as the server read it."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    connection: int


Behaviour = "Callable[[asyncio.StreamWriter, Seen], Awaitable[bool]]"


def answer(
    status: int, body: bytes | str = b"", content_type: str = "application/json", **headers: str
) -> Callable[[asyncio.StreamWriter, Seen], Awaitable[bool]]:
    """Return a whole, polite answer and keep the connection."""
    data = body.encode() if isinstance(body, str) else body

    async def behave(writer: asyncio.StreamWriter, _: Seen) -> bool:
        extra = "".join(f"{key.replace('_', '-')}: {value}\r\n" for key, value in headers.items())
        writer.write(
            f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {len(data)}\r\n{extra}\r\n".encode()
            + data
        )
        await writer.drain()
        return True

    return behave


def raw(data: bytes, *, reset: bool = False) -> Callable[[asyncio.StreamWriter, Seen], Awaitable[bool]]:
    """Return these bytes and close the connection."""

    async def behave(writer: asyncio.StreamWriter, _: Seen) -> bool:
        writer.write(data)
        await writer.drain()
        if reset:
            writer.transport.abort()
        return False

    return behave


def drip(head: bytes, drop: bytes) -> Callable[[asyncio.StreamWriter, Seen], Awaitable[bool]]:
    """Return ``head``, then one drop after the other for ever."""

    async def behave(writer: asyncio.StreamWriter, _: Seen) -> bool:
        writer.write(head)
        while True:
            writer.write(drop)
            await writer.drain()
            await asyncio.sleep(0.02)

    return behave


def bomb(
    head: bytes, piece: bytes, count: int, sent: list[int]
) -> Callable[[asyncio.StreamWriter, Seen], Awaitable[bool]]:
    """Return ``head`` and many pieces; ``sent`` counts the bytes that the client took."""

    async def behave(writer: asyncio.StreamWriter, _: Seen) -> bool:
        writer.write(head)
        for _number in range(count):
            writer.write(piece)
            await writer.drain()
            sent.append(len(piece))
        return False

    return behave


async def silence(_: asyncio.StreamWriter, __: Seen) -> bool:
    """Never answer."""
    await asyncio.Event().wait()
    return False


@dataclass(slots=True)
class Rude:
    """
    The server.

    Attributes:
        plans: Path prefix → behaviours, one for each request; the last one stays.
        seen: All requests.
        between: Called after an answer; False lets the idle connection die.
    """

    plans: dict[str, list[Callable[[asyncio.StreamWriter, Seen], Awaitable[bool]]]] = field(
        default_factory=dict
    )
    seen: list[Seen] = field(default_factory=list)
    port: int = 0
    connections: int = 0
    tls: bool = False

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def paths(self) -> list[str]:
        return [request.path for request in self.seen]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                request = await _read(reader, number)
                self.seen.append(request)
                if not await self._plan(request.path)(writer, request):
                    break
        writer.close()

    def _plan(self, path: str) -> Callable[[asyncio.StreamWriter, Seen], Awaitable[bool]]:
        for prefix, plan in self.plans.items():
            if path.startswith(prefix):
                return plan.pop(0) if len(plan) > 1 else plan[0]
        return answer(404, '{"status":"Resource not found","error":"nothing here"}')


async def _read(reader: asyncio.StreamReader, connection: int) -> Seen:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ", 2)
    headers = {
        key.strip().lower(): value.strip() for key, value in (line.split(":", 1) for line in head[1:] if line)
    }
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Seen(method, path, headers, body, connection)


@contextlib.asynccontextmanager
async def rude_server(context: ssl.SSLContext | None = None) -> AsyncIterator[Rude]:
    """Run one on a free port of this host."""
    rude = Rude(tls=context is not None)
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(rude.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    rude.port = server.sockets[0].getsockname()[1]
    try:
        yield rude
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
