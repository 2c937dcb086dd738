"""
A small HTTP/1.1 server on h11; knows nothing of what it serves.

Usage::

    async def hello(request: Request) -> Response | None:
        return Response(200, b"hello", (("content-type", "text/plain"),))  # None: hang up

    with listening("127.0.0.1:8080") as sockets:  # or unix:/run/x.sock
        await serve(sockets, hello)  # until cancelled
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import anyio

from slurmsyncd.http_server.accept import Acceptor
from slurmsyncd.http_server.capacity import ConnectionCapacity
from slurmsyncd.http_server.connection import HttpConnection, report
from slurmsyncd.http_server.listen import BadAddress, listen, split_address
from slurmsyncd.http_server.messages import Handler, HttpRequest, HttpResponse, ServerLimits
from slurmsyncd.http_server.stream import SocketStream

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Sequence

    from anyio.abc import ByteStream, TaskGroup

    #: The context for the next connection by TCP, None while there is none.
    Tls = Callable[[], ssl.SSLContext | None]

__all__ = [
    "BadAddress",
    "Handler",
    "HttpRequest",
    "HttpResponse",
    "ServerLimits",
    "listen",
    "serve",
    "split_address",
]

#: Seconds for which input is still read, and forgotten, after the last answer.
_LINGER_S = 1.0


async def serve(
    sockets: Sequence[socket.socket],
    handler: Handler,
    limits: ServerLimits | None = None,
    tls: Tls | None = None,
) -> None:
    """
    Answer requests on listening sockets until cancelled; they are closed then.

    A handler that raises is answered with 500 and an empty body, and logged.

    Args:
        sockets: Of TCP or UNIX.
        handler: Answers each request.
        limits: What clients may ask for.
        tls: Has connections by TCP encrypted. They are closed while it returns None.
    """
    with contextlib.ExitStack() as stack:
        for sock in sockets:
            stack.callback(sock.close)
        server = _Server(handler, limits or ServerLimits(), tls)
        # A task that is cancelled before it begins closes nothing.
        stack.callback(server.close)
        async with anyio.create_task_group() as group:
            for sock in sockets:
                group.start_soon(server.listen, sock, group)


class _Server:
    def __init__(self, handler: Handler, limits: ServerLimits, tls: Tls | None) -> None:
        self._handler = handler
        self._capacity = ConnectionCapacity(limits)
        self._tls = tls
        self._clients: set[socket.socket] = set()

    async def listen(self, sock: socket.socket, group: TaskGroup) -> None:
        acceptor = Acceptor(sock)
        while True:
            await anyio.wait_readable(sock)
            await self._capacity.enter()  # not accepting is the limit; and no place is emptied for nobody
            client, address = await acceptor.accept()
            self._clients.add(client)
            peer = str(address[0]) if isinstance(address, tuple) else "unix"
            group.start_soon(self._converse, client, peer)

    def close(self) -> None:
        for client in self._clients:
            client.close()

    async def _converse(self, client: socket.socket, peer: str) -> None:
        raw = SocketStream(client)
        try:
            stream = raw if self._tls is None or peer == "unix" else await self._encrypted(raw, peer)
            if await HttpConnection(stream, peer, self._handler, self._capacity).run():
                await self._linger(raw, peer)
        except (OSError, anyio.BrokenResourceError, anyio.EndOfStream):  # ssl.SSLError is an OSError
            pass  # the other side is gone, or does not listen
        except Exception as err:  # noqa: BLE001  # whatever one client sends must not end the server
            report(err)
        finally:
            client.close()
            self._clients.discard(client)
            self._capacity.leave()

    async def _encrypted(self, raw: SocketStream, peer: str) -> ByteStream:
        from anyio.streams.tls import TLSStream  # noqa: PLC0415  # only where it is configured

        assert self._tls is not None
        context = self._tls()
        if context is None:
            raise anyio.BrokenResourceError
        with self._capacity.waiting(self._capacity.limits.head_s, peer):
            return await TLSStream.wrap(raw, server_side=True, ssl_context=context, standard_compatible=False)

    async def _linger(self, raw: SocketStream, peer: str) -> None:
        # Closing with unread input resets the connection, and the answer may be lost on the way.
        await raw.send_eof()
        with self._capacity.waiting(_LINGER_S, peer):
            while True:
                await raw.receive()
