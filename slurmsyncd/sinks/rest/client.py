"""
The HTTP client of a backend: requests with limits of time and size, and failures returned as values.

httpx alone waits without a limit for a slow response. It reads and unpacks a response of any size (measured).
"""

from __future__ import annotations

import math
import os
import socket
import ssl
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import anyio
import httpx
import structlog

from slurmsyncd import __version__
from slurmsyncd.sinks.rest.responses import BackendResponse, FailureKind, parse_http_date, parse_retry_after

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = structlog.get_logger(__name__)

#: Maximum bytes of a response that are read, unless a request sets a higher limit.
ANSWER_LIMIT = 16384

_CONNECT_S = 10.0
# Before 1.5.3 the backend closes an idle connection after 20 s; the client closes its connections earlier.
_IDLE_S = 15.0
_HEADERS = {
    "Accept": "*/*",
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
    "User-Agent": f"slurmsyncd/{__version__}",
}


@dataclass(frozen=True, slots=True)
class BackendRequest:
    """
    One request to the backend.

    Attributes:
        path: Path below the base address, with the query.
        limit: Maximum bytes of the response that are read.
    """

    method: str
    path: str
    content: bytes = b""
    limit: int = ANSWER_LIMIT


@dataclass(frozen=True, slots=True)
class ExchangeFailure:
    """A request without a usable response."""

    failure: FailureKind
    detail: str


class BackendClient:
    """
    A client of one backend, with one connection per concurrent caller.

    Each connection is a separate httpx transport. A shared httpx client spends a third of each exchange on
    its pool, on merging addresses and headers, and on cookies (measured). The backend could also fill the
    memory of the cookie jar.

    Args:
        url: Base address.
        context: TLS context of all connections; building one takes 17 ms.
        timeout_s: Time limit of one complete exchange, in seconds.
        now: Returns seconds since the epoch, for dates in ``Retry-After``.
    """

    def __init__(self, url: str, context: ssl.SSLContext, timeout_s: float, now: Callable[[], float]) -> None:
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._now = now
        self._context = context
        self._idle = [self._connection()]  # the first loads what httpx needs, before READY

    async def exchange(self, call: BackendRequest, token: str) -> BackendResponse | ExchangeFailure:
        """Send a request and read its response within the time limit."""
        began = time.monotonic()
        answer = await self._in_time(call, token)
        log.debug(
            "http_request",
            method=call.method,
            url=self._url + call.path,
            seconds=round(time.monotonic() - began, 3),
            **(
                {"status": answer.status}
                if isinstance(answer, BackendResponse)
                else {"detail": answer.detail}
            ),
        )
        return answer

    async def _in_time(self, call: BackendRequest, token: str) -> BackendResponse | ExchangeFailure:
        try:
            with anyio.fail_after(self._timeout_s):
                return await self._exchange(call, token)
        except TimeoutError:
            return ExchangeFailure(FailureKind.TIMEOUT, f"no whole answer within {self._timeout_s:g} s")

    async def aclose(self) -> None:
        """Close all connections. No request may be in flight."""
        for connection in self._idle:
            await connection.aclose()

    async def _exchange(self, call: BackendRequest, token: str) -> BackendResponse | ExchangeFailure:
        connection = self._idle.pop() if self._idle else self._connection()
        try:
            await self._close_expired()
            response, body = await connection.send(self._url + call.path, call, token)
        except (httpx.TransportError, httpx.InvalidURL) as err:
            return describe_failure(err)
        finally:
            connection.released_at = time.monotonic()
            self._idle.append(connection)  # the next to be taken, so that those that a rush left over expire
        headers = response.headers
        return BackendResponse(
            status=response.status_code,
            # An answer may quote the request; its text ends up in logs and in the store.
            body=bytes(body[: call.limit]).replace(token.encode(), b"[token]"),
            truncated=len(body) > call.limit,
            retry_after_s=parse_retry_after(headers.get("Retry-After"), self._now()),
            location=headers.get("Location", "").replace(token, "[token]"),
            server_time=parse_http_date(headers.get("Date")),
        )

    async def _close_expired(self) -> None:
        while self._idle and self._idle[0].released_at < time.monotonic() - _IDLE_S:
            await self._idle.pop(0).aclose()

    def _connection(self) -> _Connection:
        return _Connection(self._context, min(_CONNECT_S, self._timeout_s / 2))


class _Connection:
    """A connection for one caller at a time, opened on first use."""

    def __init__(self, context: ssl.SSLContext, connect_s: float) -> None:
        limits = httpx.Limits(max_connections=1, keepalive_expiry=_IDLE_S)
        self._http = httpx.AsyncHTTPTransport(verify=context, trust_env=False, limits=limits)
        self._timeouts = httpx.Timeout(None, connect=connect_s).as_dict()
        self._used = False
        self.released_at = -math.inf

    async def send(self, url: str, call: BackendRequest, token: str) -> tuple[httpx.Response, bytearray]:
        """Send a request; return the response, and its body up to the block that exceeds the limit."""
        request = httpx.Request(
            call.method,
            _parsed(url),
            content=call.content or None,
            headers=_headers(token),
            extensions={"timeout": self._timeouts},
        )
        used, self._used = self._used, False
        try:
            answer = await self._once(request, call.limit)
        except httpx.TransportError as err:
            if not used or describe_failure(err).failure is not FailureKind.BROKEN_OFF:
                raise
            # The idle connection closed when it was about to be reused; requests can be repeated.
            answer = await self._once(request, call.limit)
        self._used = True
        return answer

    async def aclose(self) -> None:
        """Close the connection."""
        await self._http.aclose()

    async def _once(self, request: httpx.Request, limit: int) -> tuple[httpx.Response, bytearray]:
        response = await self._http.handle_async_request(request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        body = bytearray()
        try:
            async for piece in response.stream:  # raw: nothing is unpacked
                body += piece
                if len(body) > limit:
                    break
        finally:
            await response.aclose()
        return response, body


@lru_cache(maxsize=8)
def _headers(token: str) -> httpx.Headers:
    return httpx.Headers({**_HEADERS, "X-Auth-Token": token})


@lru_cache(maxsize=8)
def _parsed(url: str) -> httpx.URL:
    """Parse an address. The result is cached, because nearly all requests use one of a few."""
    return httpx.URL(url)


def describe_failure(err: Exception) -> ExchangeFailure:
    """Return the failure of an exchange: its kind, with the error and its causes as text without secrets."""
    if isinstance(err, httpx.ConnectTimeout):
        return ExchangeFailure(FailureKind.CONNECT_TIMEOUT, "no connection in time")
    if isinstance(err, httpx.ConnectError):
        return _not_connected(list(_chain(err)))
    if isinstance(err, (httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.ProxyError)):
        return ExchangeFailure(FailureKind.UNREACHABLE, "not an address that can be connected to")
    if isinstance(err, httpx.LocalProtocolError):
        return ExchangeFailure(
            FailureKind.NO_HTTP, "the request cannot be written"
        )  # its text quotes the headers
    if isinstance(err, httpx.RemoteProtocolError) and "disconnected" not in str(err):
        # What follows the colon quotes the answer, and an answer may quote the token.
        return ExchangeFailure(FailureKind.NO_HTTP, str(err).partition(":")[0])
    return ExchangeFailure(FailureKind.BROKEN_OFF, str(err) or type(err).__name__)


def _chain(err: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and all its causes: a group has one for each address that was tried."""
    while err is not None:
        yield err
        for each in getattr(err, "exceptions", ()):
            yield from _chain(each)
        err = err.__cause__ or err.__context__


def _not_connected(causes: list[BaseException]) -> ExchangeFailure:
    # Of an established connection an ssl.SSLError says no more than that it broke off, and "want read"
    # is how ssl waits: neither is a matter of certificates.
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return ExchangeFailure(FailureKind.TLS, f"certificate: {cause.verify_message}")
        if isinstance(cause, ssl.SSLError) and not isinstance(
            cause, (ssl.SSLWantReadError, ssl.SSLWantWriteError)
        ):
            return ExchangeFailure(FailureKind.TLS, str(cause.reason or "the TLS handshake failed"))
        if isinstance(cause, socket.gaierror):
            return ExchangeFailure(FailureKind.UNREACHABLE, f"name not resolved: {cause.strerror}")
    numbers = [
        each.errno for each in causes if isinstance(each, OSError) and not isinstance(each, ssl.SSLError)
    ]
    reasons = dict.fromkeys(os.strerror(number) for number in numbers if number)
    return ExchangeFailure(FailureKind.UNREACHABLE, "; ".join(reasons) or str(causes[0]))
