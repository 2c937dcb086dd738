"""What a handler gets and gives. Types only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Request:
    """
    One request, read whole. Its repr leaves out what may hold secrets.

    Attributes:
        method: As sent, e.g. ``GET``.
        path: Percent-decoded, without the query.
        query: Keys and values in the order sent, decoded; empty values are kept.
        headers: Lower-case name → value; of repeated headers the first.
        peer: IP address of the other side, or ``unix``.
    """

    method: str
    path: str
    query: Pairs = field(default=(), repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    peer: str = ""

    def first(self, name: str) -> str | None:
        """Give the first value of a query key, None if it is absent."""
        return next((value for key, value in self.query if key == name), None)


@dataclass(frozen=True, slots=True)
class Response:
    """
    One answer, given whole.

    Attributes:
        headers: Beyond content-length, date and connection, which the server sets.
    """

    status: int = 200
    body: bytes = b""
    headers: Pairs = ()


#: None closes the connection without an answer.
Handler = Callable[[Request], Awaitable["Response | None"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """
    What a client may ask of the server. Times in seconds, None for no limit.

    Attributes:
        head_bytes: Request line and headers.
        body_bytes: Body; more is answered with 413.
        connections: At the same time; one more is answered with 503 and closed.
        idle_s: Between two requests of a connection.
        head_s: For the head, from its first byte.
        body_s: For the body.
        send_s: For taking the answer.
    """

    head_bytes: int = 64 * 1024
    body_bytes: int = 1024 * 1024
    connections: int = 256
    idle_s: float | None = 120.0
    head_s: float | None = 20.0
    body_s: float | None = 60.0
    send_s: float | None = 60.0
