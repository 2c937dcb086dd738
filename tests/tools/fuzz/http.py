"""A conversation with the HTTP server's side of one connection, without a network."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
from anyio.abc import ByteStream

from slurmsyncd.control.server import REQUESTS, control_handler
from slurmsyncd.http_server.capacity import ConnectionCapacity
from slurmsyncd.http_server.connection import HttpConnection
from slurmsyncd.http_server.messages import HttpBody, HttpRequest, HttpResponse, ServerLimits

LIMITS = ServerLimits(head_bytes=2048, body_bytes=128)
BODY_BYTES = 64


class Line(ByteStream):
    """The other side: what it says, and what it hears."""

    def __init__(self, said: bytes) -> None:
        self._said = said
        self.heard = b""

    async def receive(self, max_bytes: int = 1000) -> bytes:
        part, self._said = self._said[:max_bytes], self._said[max_bytes:]
        if not part:
            raise anyio.EndOfStream
        return part

    async def send(self, item: bytes) -> None:
        self.heard += item

    async def send_eof(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


def check_conversation(said: bytes) -> None:
    """Whatever is said, the connection ends by itself, and what was answered is HTTP."""
    asked: list[HttpRequest] = []

    async def answer(request: HttpRequest) -> HttpResponse:
        await request.body.read(BODY_BYTES)
        asked.append(request)
        return HttpResponse(200, b"x" * 300)

    async def talk() -> bytes:
        line, capacity = Line(said), ConnectionCapacity(LIMITS)
        await HttpConnection(line, "192.0.2.1", answer, capacity).run()
        assert capacity.reserve(LIMITS.body_bytes), "what was reserved for bodies is released"
        return line.heard

    answers = asyncio.run(talk())
    assert all(len(request.body.content) <= BODY_BYTES for request in asked)
    check_http(answers, [request.method for request in asked])


def check_control(said: tuple[str, bytes]) -> None:
    """What comes in by the control socket is a request or refused, and what carries it out gets nothing else."""
    name, body = said
    asked: list[Any] = []

    async def in_store(request: Any) -> None:
        asked.append(request)

    async def sent(_: int) -> bytes:
        return body

    async def ask() -> HttpResponse | None:
        return await control_handler(in_store, {})(HttpRequest("POST", f"/v2/{name}", body=HttpBody(sent)))

    response = asyncio.run(ask())
    assert response is not None
    assert response.status == (200 if asked else 404 if name not in REQUESTS else 400)
    assert all(isinstance(request, REQUESTS[name]) for request in asked)


def check_http(data: bytes, methods: list[str]) -> None:
    """Each request that was handled got its answer; at most one more was refused."""
    heads = [head for head in data.split(b"HTTP/1.1 ")[1:] if not head.startswith(b"100 ")]
    assert len(methods) <= len(heads) <= len(methods) + 1
    assert all(head[:3].isdigit() for head in heads)
