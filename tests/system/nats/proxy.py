"""Somebody between a client and the server who passes everything on, or loses what the server says."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
from anyio.abc import SocketAttribute, SocketStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@dataclass
class Proxy:
    """
    What it does.

    Attributes:
        mute: Lose what the server says from now on.
        cut: Lose what the server says next, and close both connections after it.
        lost: Bytes that were lost.
    """

    url: str = ""
    mute: bool = False
    cut: bool = False
    lost: bytes = field(default=b"")

    async def pass_on(self, source: SocketStream, to: SocketStream, *, answers: bool) -> None:
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            while True:
                data = await source.receive()
                if answers and (self.mute or self.cut):
                    self.lost += data
                    if self.cut and b"MSG" in self.lost:
                        self.cut = False
                        return
                else:
                    await to.send(data)


@contextlib.asynccontextmanager
async def between(port: int) -> AsyncIterator[Proxy]:
    """Stand before the server on this port while the block runs."""
    proxy = Proxy()

    async def serve(near: SocketStream) -> None:
        with contextlib.suppress(OSError):
            far = await anyio.connect_tcp("127.0.0.1", port)
            async with near, far, anyio.create_task_group() as group:

                async def one_way(source: SocketStream, to: SocketStream, *, answers: bool) -> None:
                    await proxy.pass_on(source, to, answers=answers)
                    group.cancel_scope.cancel()

                group.start_soon(lambda: one_way(near, far, answers=False))
                group.start_soon(lambda: one_way(far, near, answers=True))

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as group,
    ):
        group.start_soon(listener.serve, serve)
        proxy.url = f"nats://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        yield proxy
        group.cancel_scope.cancel()
