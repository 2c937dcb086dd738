"""One connection: h11 between a stream of bytes and a handler."""

from __future__ import annotations

import time
import traceback
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

import anyio
import h11
import structlog

from slurmsyncd.http_server.compression import compress, http_date
from slurmsyncd.http_server.messages import HttpBody, HttpRequest, HttpResponse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from anyio.abc import ByteStream

    from slurmsyncd.http_server.capacity import ConnectionCapacity
    from slurmsyncd.http_server.messages import Handler

log = structlog.get_logger(__name__)

_REASONS = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}
_BODYLESS = frozenset({204, 304})


class _Refused(Exception):
    """The request cannot be taken: answer with this status and close."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class HttpConnection:
    """Requests of one client, one after the other."""

    def __init__(self, stream: ByteStream, peer: str, handler: Handler, capacity: ConnectionCapacity) -> None:
        self._stream = stream
        self._peer = peer
        self._handler = handler
        self._capacity = capacity
        self._limits = capacity.limits
        self._reserved = 0
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=self._limits.head_bytes)

    async def run(self) -> bool:
        """
        Answer requests until one side wants no more. Closes nothing.

        Returns:
            Whether the client may still be sending.

        Raises:
            anyio.BrokenResourceError: The connection is lost.
            TimeoutError: The client does not take the answer.
        """
        try:
            patience_s = self._limits.head_s
            while await self._exchange(patience_s):
                self._http.start_next_cycle()
                patience_s = self._limits.idle_s
        except _Refused as refused:
            await self._send(None, HttpResponse(refused.status), is_last=True)
            return True
        except h11.RemoteProtocolError as err:
            if self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                await self._send(None, HttpResponse(err.error_status_hint), is_last=True)
            return True
        return self._http.their_state is h11.SEND_BODY

    async def _exchange(self, patience_s: float | None) -> bool:
        """Answer one request; False if it was the connection's last."""
        head = await self._head(patience_s)
        if head is None:
            return False
        try:
            request = self._request(head)
            response = await self._answer(request)
            if response is None:
                return False
            is_last = not self._is_body_over() or self._capacity.is_contested
            await self._send(request, response, is_last=is_last)
        finally:
            self._capacity.release(self._reserved)
            self._reserved = 0
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    async def _head(self, patience_s: float | None) -> h11.Request | None:
        if not self._http.trailing_data[0]:
            try:
                with self._capacity.waiting(patience_s, self._peer):
                    await self._feed()
            except TimeoutError:
                return None
        with self._in_time(self._limits.head_s):
            event = await self._next()
        return event if isinstance(event, h11.Request) else None

    def _request(self, head: h11.Request) -> HttpRequest:
        headers: dict[str, str] = {}
        for name, value in head.headers:
            headers.setdefault(name.decode("ascii"), value.decode("latin-1"))
        path, _, query = head.target.decode("ascii").partition("?")
        return HttpRequest(
            method=head.method.decode("ascii"),
            path=unquote(path),
            query=tuple(parse_qsl(query, keep_blank_values=True)) if query else (),
            headers=headers,
            body=HttpBody(partial(self._read, headers)),
            peer=self._peer,
        )

    async def _read(self, headers: Mapping[str, str], at_most: int) -> bytes:
        declared = at_most if "transfer-encoding" in headers else int(headers.get("content-length", "0"))
        if declared > at_most:
            raise _Refused(413)
        if not self._capacity.reserve(declared):
            raise _Refused(503)
        self._reserved += declared
        with self._in_time(self._limits.body_s):
            return await self._parts(at_most)

    async def _parts(self, at_most: int) -> bytes:
        parts: list[bytes] = []
        while not isinstance(event := await self._next(), h11.EndOfMessage):
            if not isinstance(event, h11.Data):
                raise h11.RemoteProtocolError("the body ended early")
            parts.append(bytes(event.data))
            at_most -= len(event.data)
            if at_most < 0:
                raise _Refused(413)
        return b"".join(parts)

    def _is_body_over(self) -> bool:
        """Skip what has come of a body that the handler did not read; return whether nothing follows."""
        while self._http.their_state is h11.SEND_BODY:
            if self._http.next_event() is h11.NEED_DATA:
                return False
        return True

    @contextmanager
    def _in_time(self, seconds: float | None) -> Iterator[None]:
        try:
            with self._capacity.waiting(seconds, self._peer):
                yield
        except TimeoutError:
            raise _Refused(408) from None

    async def _next(self) -> Any:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                go_ahead = h11.InformationalResponse(status_code=100, headers=[])
                await self._stream.send(self._http.send(go_ahead) or b"")
            await self._feed()
        return event

    async def _feed(self) -> None:
        try:
            data = await self._stream.receive()
        except anyio.EndOfStream:
            data = b""
        except OSError as err:  # of TLS
            raise anyio.BrokenResourceError from err
        self._http.receive_data(data)

    async def _answer(self, request: HttpRequest) -> HttpResponse | None:
        try:
            return await self._handler(request)
        except (_Refused, h11.RemoteProtocolError, anyio.BrokenResourceError):  # of its body
            raise
        except Exception as err:  # noqa: BLE001  # a bug in one handler must not end the server
            report(err, request.path)
            return HttpResponse(500)

    async def _send(self, request: HttpRequest | None, response: HttpResponse, *, is_last: bool) -> None:
        headers, body = _framed(request, response)
        if is_last:
            headers.append(("connection", "close"))
        head = h11.Response(
            status_code=response.status, headers=headers, reason=_REASONS.get(response.status, b"")
        )
        data = self._http.send(head) or b""
        if body and (request is None or request.method != "HEAD"):
            data += self._http.send(h11.Data(data=body)) or b""
        data += self._http.send(h11.EndOfMessage()) or b""
        with self._capacity.waiting(self._limits.send_s, self._peer):
            await self._stream.send(data)


def report(err: Exception, path: str = "") -> None:
    """Log a bug that a request has met."""
    # No traceback: some formatters print locals, and those hold tokens.
    at = traceback.extract_tb(err.__traceback__)[-1]
    log.error("handler_crashed", path=path, error=repr(err)[:200], where=f"{at.filename}:{at.lineno}")


def _framed(request: HttpRequest | None, response: HttpResponse) -> tuple[list[tuple[str, str]], bytes]:
    headers = [("date", http_date(int(time.time()))), *response.headers]
    body = response.body
    if request is not None and (packed := compress(request, response)) is not None:
        body = packed
        headers += [("content-encoding", "gzip"), ("vary", "accept-encoding")]
    if response.status not in _BODYLESS:
        headers.append(("content-length", str(len(body))))
    return headers, body
