"""
One exchange with the backend: bounded in time and size, and never a raised error for what goes wrong.

httpx alone would wait for ever for an answer that drips, read a bomb whole and unpack it (measured).
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import httpx

from slurmsyncd import __version__
from slurmsyncd.sinks.answers import Answer, Failure, date_at, retry_after_s

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Bytes of an answer that are read, unless a call asks for more.
ANSWER_LIMIT = 16384
#: Callers of one client: with more, httpx's pool costs more than it gives.
CALLERS = 4

_CONNECT_S = 10.0
# Before 1.5.3 the backend closes an idle connection after 20 s; ours go first.
_IDLE_S = 15.0


@dataclass(frozen=True, slots=True)
class Call:
    """
    One request.

    Attributes:
        path: From the base address on, with its query.
        limit: Bytes of the answer that are read.
    """

    method: str
    path: str
    content: bytes = b""
    limit: int = ANSWER_LIMIT


@dataclass(frozen=True, slots=True)
class Broken:
    """An exchange that got no answer."""

    failure: Failure
    detail: str


class Transport:
    """
    One client for a few callers.

    Args:
        url: Base address.
        context: Shared by all clients: making one takes 17 ms.
        timeout_s: For one whole exchange.
        now: Epoch seconds, for dates in ``Retry-After``.
        callers: How many there are; one more would wait, within its deadline, for a connection.
    """

    def __init__(
        self,
        url: str,
        context: ssl.SSLContext,
        timeout_s: float,
        now: Callable[[], float],
        callers: int = CALLERS,
    ) -> None:
        self._timeout_s = timeout_s
        self._now = now
        self._client = httpx.AsyncClient(
            base_url=url.rstrip("/"),
            verify=context,
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(None, connect=min(_CONNECT_S, timeout_s / 2)),
            limits=httpx.Limits(max_connections=callers, keepalive_expiry=_IDLE_S),
            headers={"Accept-Encoding": "identity", "User-Agent": f"slurmsyncd/{__version__}"},
        )

    async def exchange(self, call: Call, token: str) -> Answer | Broken:
        """Send a request and read its answer, within the deadline."""
        try:
            with anyio.fail_after(self._timeout_s):
                result, reused = await self._send(call, token)
                if isinstance(result, Broken) and result.failure is Failure.BROKEN_OFF and reused:
                    # The idle connection died just as it was taken up again; requests can be repeated.
                    result, _ = await self._send(call, token)
                return result
        except TimeoutError:
            return Broken(Failure.TIMEOUT, f"no whole answer within {self._timeout_s:g} s")

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _send(self, call: Call, token: str) -> tuple[Answer | Broken, bool]:
        reused = True

        async def trace(event: str, _: Any) -> None:
            nonlocal reused
            reused = reused and not event.startswith("connection.")

        try:
            async with self._client.stream(
                call.method,
                call.path,
                content=call.content or None,
                headers={"X-Auth-Token": token, "Content-Type": "application/json"},
                extensions={"trace": trace},
            ) as response:
                return await self._read(response, call.limit, token), reused
        except (httpx.TransportError, httpx.InvalidURL) as err:
            return broken(err), reused
        finally:
            # A cookie jar is memory that the other side fills.
            self._client.cookies.clear()

    async def _read(self, response: httpx.Response, limit: int, token: str) -> Answer:
        body = bytearray()
        async for piece in response.aiter_raw(min(limit, 65536)):  # raw: nothing is unpacked
            body += piece
            if len(body) > limit:
                break
        return Answer(
            status=response.status_code,
            # An answer may quote the request; its text ends up in logs and in the store.
            body=bytes(body[:limit]).replace(token.encode(), b"[token]"),
            cut=len(body) > limit,
            retry_after_s=retry_after_s(response.headers.get("Retry-After"), self._now()),
            location=response.headers.get("Location", "").replace(token, "[token]"),
            said_at=date_at(response.headers.get("Date")),
        )


def broken(err: Exception) -> Broken:
    """Say how an exchange failed; httpx's error, and what caused it, in words without secrets."""
    if isinstance(err, httpx.ConnectTimeout):
        return Broken(Failure.CONNECT_TIMEOUT, "no connection in time")
    if isinstance(err, httpx.ConnectError):
        return _not_connected(list(_chain(err)))
    if isinstance(err, (httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.ProxyError)):
        return Broken(Failure.UNREACHABLE, "not an address that can be connected to")
    if isinstance(err, httpx.LocalProtocolError):
        return Broken(Failure.NO_HTTP, "the request cannot be written")  # its text quotes the headers
    if isinstance(err, httpx.RemoteProtocolError) and "disconnected" not in str(err):
        # What follows the colon quotes the answer, and an answer may quote the token.
        return Broken(Failure.NO_HTTP, str(err).partition(":")[0])
    return Broken(Failure.BROKEN_OFF, str(err) or type(err).__name__)


def _chain(err: BaseException | None) -> Iterator[BaseException]:
    while err is not None:
        yield err
        err = err.__cause__ or err.__context__


def _not_connected(causes: list[BaseException]) -> Broken:
    # Of an established connection an ssl.SSLError says no more than that it broke off, and "want read"
    # is how ssl waits: neither is a matter of certificates.
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Broken(Failure.TLS, f"certificate: {cause.verify_message}")
        if isinstance(cause, ssl.SSLError) and not isinstance(
            cause, (ssl.SSLWantReadError, ssl.SSLWantWriteError)
        ):
            return Broken(Failure.TLS, str(cause.reason or "the TLS handshake failed"))
        if isinstance(cause, socket.gaierror):
            return Broken(Failure.UNREACHABLE, f"name not resolved: {cause.strerror}")
    texts = [str(cause) for cause in causes if isinstance(cause, OSError)]
    return Broken(Failure.UNREACHABLE, texts[0] if texts else str(causes[0]))
