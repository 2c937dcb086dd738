"""A conversation with the HTTP server's side of one connection, without a network."""

from __future__ import annotations

import asyncio
from typing import Any

from slurmsyncd.control.server import REQUESTS, control_handler
from slurmsyncd.web.connection import Connection
from slurmsyncd.web.messages import Limits, Request, Response

LIMITS = Limits(head_bytes=2048, body_bytes=64)


class Written:
    """The other side's ears, in the place of a StreamWriter."""

    def __init__(self) -> None:
        self.data = b""

    def get_extra_info(self, _: str) -> Any:
        return ("192.0.2.1", 1)

    def write(self, data: bytes) -> None:
        self.data += data

    def write_eof(self) -> None:
        pass

    async def drain(self) -> None:
        pass


def check_conversation(said: bytes) -> None:
    """Whatever is said, the connection ends by itself, and what was answered is HTTP."""
    asked: list[Request] = []

    async def answer(request: Request) -> Response:
        asked.append(request)
        return Response(200, b"x" * 300)

    async def talk() -> bytes:
        reader, writer = asyncio.StreamReader(), Written()
        reader.feed_data(said)
        reader.feed_eof()
        await Connection(reader, writer, answer, LIMITS).run()  # type: ignore[arg-type]
        return writer.data

    answers = asyncio.run(talk())
    assert all(len(request.body) <= LIMITS.body_bytes for request in asked)
    check_http(answers, [request.method for request in asked])


def check_control(said: tuple[str, bytes]) -> None:
    """What comes in by the control socket is a request or refused, and what carries it out gets nothing else."""
    name, body = said
    asked: list[Any] = []

    async def in_store(request: Any) -> None:
        asked.append(request)

    async def ask() -> Response | None:
        return await control_handler(in_store, {})(Request("POST", f"/v1/{name}", body=body))

    response = asyncio.run(ask())
    assert response is not None
    assert response.status == (200 if asked else 404 if name not in REQUESTS else 400)
    assert all(isinstance(request, REQUESTS[name]) for request in asked)


def check_http(data: bytes, methods: list[str]) -> None:
    """Each request that was handled got its answer; at most one more was refused."""
    heads = [head for head in data.split(b"HTTP/1.1 ")[1:] if not head.startswith(b"100 ")]
    assert len(methods) <= len(heads) <= len(methods) + 1
    assert all(head[:3].isdigit() for head in heads)
