"""One connection: h11 between a byte stream and a handler."""

from __future__ import annotations

import time
import traceback
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

import anyio
import h11
import structlog

from slurmsyncd.web.encoding import compressed, http_date
from slurmsyncd.web.messages import Request, Response

if TYPE_CHECKING:
    import asyncio

    from slurmsyncd.web.messages import Handler, Limits

log = structlog.get_logger(__name__)

_CHUNK = 65536
_REASONS = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}
_BODYLESS = frozenset({204, 304})


class _Refused(Exception):
    """The request cannot be taken: answer with this status and close."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Connection:
    """Requests of one client, one after the other."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handler: Handler, limits: Limits
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._handler = handler
        self._limits = limits
        address = writer.get_extra_info("peername")
        self._peer = str(address[0]) if isinstance(address, tuple) else "unix"
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.head_bytes)

    async def run(self) -> None:
        """Answer requests until one side wants no more. Closes nothing."""
        try:
            while await self._exchange():
                self._http.start_next_cycle()
        except _Refused as refused:
            await self._send(None, Response(refused.status))
            await self._linger()
        except h11.RemoteProtocolError as err:
            if self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                await self._send(None, Response(err.error_status_hint))
                await self._linger()

    async def _exchange(self) -> bool:
        """Answer one request; False if it was the connection's last."""
        head = await self._head()
        if head is None:
            return False
        request = await self._request(head)
        response = await self._answer(request)
        if response is None:
            return False
        await self._send(request, response)
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    async def _head(self) -> h11.Request | None:
        if not self._http.trailing_data[0]:
            with anyio.move_on_after(self._limits.idle_s) as idle:
                await self._feed()
            if idle.cancelled_caught:
                return None
        with anyio.move_on_after(self._limits.head_s) as scope:
            event = await self._next()
        if scope.cancelled_caught:
            raise _Refused(408)
        return event if isinstance(event, h11.Request) else None

    async def _request(self, head: h11.Request) -> Request:
        headers: dict[str, str] = {}
        for name, value in head.headers:
            headers.setdefault(name.decode("ascii"), value.decode("latin-1"))
        with anyio.move_on_after(self._limits.body_s) as scope:
            body = await self._body(headers)
        if scope.cancelled_caught:
            raise _Refused(408)
        path, _, query = head.target.decode("ascii").partition("?")
        return Request(
            method=head.method.decode("ascii"),
            path=unquote(path),
            query=tuple(parse_qsl(query, keep_blank_values=True)) if query else (),
            headers=headers,
            body=body,
            peer=self._peer,
        )

    async def _body(self, headers: dict[str, str]) -> bytes:
        limit = self._limits.body_bytes
        if int(headers.get("content-length", "0")) > limit:
            raise _Refused(413)
        parts: list[bytes] = []
        size = 0
        while not isinstance(event := await self._next(), h11.EndOfMessage):
            if not isinstance(event, h11.Data):
                raise h11.RemoteProtocolError("the body ended early")
            parts.append(bytes(event.data))
            size += len(event.data)
            if size > limit:
                raise _Refused(413)
        return b"".join(parts)

    async def _next(self) -> Any:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                go_ahead = h11.InformationalResponse(status_code=100, headers=[])
                self._writer.write(self._http.send(go_ahead) or b"")
            await self._feed()
        return event

    async def _feed(self) -> None:
        self._http.receive_data(await self._reader.read(_CHUNK))

    async def _answer(self, request: Request) -> Response | None:
        try:
            return await self._handler(request)
        except Exception as err:  # noqa: BLE001  # a bug in one handler must not end the server
            # No traceback: some formatters print locals, and those hold tokens.
            at = traceback.extract_tb(err.__traceback__)[-1]
            log.error(  # noqa: TRY400
                "handler_crashed",
                path=request.path,
                error=repr(err)[:200],
                where=f"{at.filename}:{at.lineno}",
            )
            return Response(500)

    async def _send(self, request: Request | None, response: Response) -> None:
        headers, body = _framed(request, response)
        head = h11.Response(
            status_code=response.status, headers=headers, reason=_REASONS.get(response.status, b"")
        )
        data = self._http.send(head) or b""
        if body and (request is None or request.method != "HEAD"):
            data += self._http.send(h11.Data(data=body)) or b""
        data += self._http.send(h11.EndOfMessage()) or b""
        self._writer.write(data)
        with anyio.fail_after(self._limits.send_s):
            await self._writer.drain()

    async def _linger(self) -> None:
        # Closing with unread input resets the connection, and the answer may be lost on the way.
        with anyio.move_on_after(1.0):
            self._writer.write_eof()
            while await self._reader.read(_CHUNK):
                pass


def _framed(request: Request | None, response: Response) -> tuple[list[tuple[str, str]], bytes]:
    headers = [("date", http_date(int(time.time()))), *response.headers]
    body = response.body
    if request is None:
        headers.append(("connection", "close"))
    elif (packed := compressed(request, response)) is not None:
        body = packed
        headers += [("content-encoding", "gzip"), ("vary", "accept-encoding")]
    if response.status not in _BODYLESS:
        headers.append(("content-length", str(len(body))))
    return headers, body
