"""What a handler gets and gives. Types only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

Pairs = tuple[tuple[str, str], ...]


async def _nothing(_: int) -> bytes:
    return b""


class HttpBody:
    """
    What follows the head of a request. Nothing of it is read before a handler has judged the head.

    Attributes:
        content: What was read.
    """

    def __init__(self, read: Callable[[int], Awaitable[bytes]] = _nothing) -> None:
        self._read = read
        self.content = b""

    async def read(self, at_most: int) -> bytes:
        """Read all of it. A body of more bytes, or one that does not come, is answered by the server."""
        self.content = await self._read(at_most)
        return self.content


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """
    One request. Its repr leaves out what may hold secrets.

    Attributes:
        method: As sent, e.g. ``GET``.
        path: Percent-decoded, without the query.
        query: Keys and values in the order sent, decoded; empty values are kept.
        headers: Lower-case name → value; of repeated headers the first.
        body: Not read yet. A connection whose request was answered without its body is closed.
        peer: IP address of the other side, or ``unix``.
    """

    method: str
    path: str
    query: Pairs = field(default=(), repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: HttpBody = field(default_factory=HttpBody, repr=False)
    peer: str = ""

    def first(self, name: str) -> str | None:
        """Return the first value of a query key, None if it is absent."""
        return next((value for key, value in self.query if key == name), None)


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """
    One answer, given whole.

    Attributes:
        headers: Beyond content-length, date and connection, which the server sets.
    """

    status: int = 200
    body: bytes = b""
    headers: Pairs = ()


#: None closes the connection without an answer.
Handler = Callable[[HttpRequest], Awaitable["HttpResponse | None"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """
    What clients may ask of the server. Times in seconds, None for no limit.

    Attributes:
        head_bytes: Request line and headers.
        body_bytes: All bodies that are in memory at the same time; one more is answered with 503.
        connections: At the same time, and at most a quarter of RLIMIT_NOFILE.
        idle_s: Between two requests of a connection.
        head_s: For the first byte of a connection, and for the head, from its first byte.
        body_s: For the body.
        send_s: For taking the answer.
    """

    head_bytes: int = 16 * 1024
    body_bytes: int = 1024 * 1024
    connections: int = 32
    idle_s: float | None = 20.0
    head_s: float | None = 5.0
    body_s: float | None = 60.0
    send_s: float | None = 20.0
