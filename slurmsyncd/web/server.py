"""
A small HTTP/1.1 server on h11; knows nothing of what it serves.

Usage::

    async def hello(request: Request) -> Response | None:
        return Response(200, b"hello", (("content-type", "text/plain"),))  # None: hang up

    with listening("127.0.0.1:8080") as sockets:  # or unix:/run/x.sock
        await serve(sockets, hello)  # until cancelled
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import anyio

from slurmsyncd.web.connection import Connection
from slurmsyncd.web.listen import BadAddress, listening, split_address
from slurmsyncd.web.messages import Handler, Limits, Request, Response

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

__all__ = [
    "BadAddress",
    "Handler",
    "Limits",
    "Request",
    "Response",
    "listening",
    "serve",
    "split_address",
]

_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
)
_CLOSE_S = 1.0
_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def serve(sockets: Sequence[socket.socket], handler: Handler, limits: Limits | None = None) -> None:
    """
    Answer requests on listening sockets until cancelled; they are closed then.

    A handler that raises is answered with 500 and an empty body, and logged.
    """
    bounds = limits or Limits()
    slots = anyio.Semaphore(bounds.connections)
    arrived: asyncio.Queue[_Streams] = asyncio.Queue()
    # A task that is cancelled before it begins closes nothing, and neither does one that was never begun.
    open_: set[asyncio.StreamWriter] = set()

    ended = False

    def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if ended:  # asyncio had accepted it already
            writer.transport.abort()
        open_.add(writer)
        arrived.put_nowait((reader, writer))

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _converse(reader, writer, handler, bounds, slots)
        open_.discard(writer)

    def abandon() -> None:
        nonlocal ended
        ended = True
        for writer in open_:
            writer.transport.abort()

    async with contextlib.AsyncExitStack() as stack:
        stack.callback(abandon)
        group = await stack.enter_async_context(anyio.create_task_group())
        for sock in sockets:
            # asyncio's streams and not anyio's: cancelling anyio's UNIX streams can fail the event loop.
            server = await asyncio.start_server(take, sock=sock)
            stack.callback(server.close)
        while True:
            group.start_soon(converse, *await arrived.get())


async def _converse(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    handler: Handler,
    limits: Limits,
    slots: anyio.Semaphore,
) -> None:
    try:
        slots.acquire_nowait()
    except anyio.WouldBlock:
        writer.write(_FULL)
        await _close(writer)
        return
    try:
        with contextlib.suppress(OSError, TimeoutError):  # the other side is gone, or does not listen
            await Connection(reader, writer, handler, limits).run()
    finally:
        slots.release()
        await _close(writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with anyio.CancelScope(shield=True, deadline=anyio.current_time() + _CLOSE_S) as scope:
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    if scope.cancelled_caught:
        writer.transport.abort()
