"""
A small HTTP/1.1 server on h11 and anyio; knows nothing of what it serves.

Usage::

    async def hello(request: Request) -> Response | None:
        return Response(200, b"hello", (("content-type", "text/plain"),))  # None: hang up

    async with listening("127.0.0.1:8080") as listener:  # or unix:/run/x.sock
        await serve([listener], hello)  # until cancelled
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
from anyio.abc import SocketAttribute

from slurmsyncd.web.connection import GONE, Connection
from slurmsyncd.web.listen import BadAddress, bound_port, listening, split_address
from slurmsyncd.web.messages import Handler, Limits, Request, Response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyio.abc import Listener, SocketStream

__all__ = [
    "BadAddress",
    "Handler",
    "Limits",
    "Request",
    "Response",
    "bound_port",
    "listening",
    "serve",
    "split_address",
]

_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
)


async def serve(
    listeners: Sequence[Listener[SocketStream]], handler: Handler, limits: Limits | None = None
) -> None:
    """
    Answer requests until cancelled.

    A handler that raises is answered with 500 and an empty body, and logged.
    """
    bounds = limits or Limits()
    slots = anyio.Semaphore(bounds.connections)

    async def connected(stream: SocketStream) -> None:
        async with stream:
            try:
                slots.acquire_nowait()
            except anyio.WouldBlock:
                await _refuse(stream)
                return
            try:
                await _converse(stream, handler, bounds)
            finally:
                slots.release()

    async with anyio.create_task_group() as group:
        for listener in listeners:
            group.start_soon(listener.serve, connected)


async def _converse(stream: SocketStream, handler: Handler, limits: Limits) -> None:
    try:
        await Connection(stream, handler, limits, _peer(stream)).run()
    except (*GONE, TimeoutError):
        return


async def _refuse(stream: SocketStream) -> None:
    try:
        await stream.send(_FULL)
    except GONE:
        return


def _peer(stream: SocketStream) -> str:
    address = stream.extra(SocketAttribute.remote_address)  # noqa: S610  # anyio's, not Django's
    return str(address[0]) if isinstance(address, tuple) else "unix"
