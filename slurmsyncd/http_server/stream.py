"""A connected socket as a stream of bytes that buffers nothing: what is not read stays in the kernel."""

from __future__ import annotations

import asyncio
import socket
from typing import Final

import anyio
from anyio.abc import ByteStream

#: Bytes that one read takes from the kernel at most.
CHUNK: Final = 16384


class SocketStream(ByteStream):
    """
    A socket that does not block. A failure of the connection is a BrokenResourceError.

    asyncio's transports read 256 KiB ahead for each connection, whoever sends them.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()

    async def receive(self, max_bytes: int = CHUNK) -> bytes:
        """Receive what has come, at least one byte."""
        try:
            data = await self._loop.sock_recv(self._sock, min(max_bytes, CHUNK))
        except OSError as err:
            raise anyio.BrokenResourceError from err
        if not data:
            raise anyio.EndOfStream
        return data

    async def send(self, item: bytes) -> None:
        """Send all of it."""
        try:
            await self._loop.sock_sendall(self._sock, item)
        except OSError as err:
            raise anyio.BrokenResourceError from err

    async def send_eof(self) -> None:
        """Announce that nothing more will be sent."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as err:
            raise anyio.BrokenResourceError from err

    async def aclose(self) -> None:
        """Close the socket."""
        self._sock.close()
