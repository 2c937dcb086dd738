"""
One connection to a NATS server, from login to loss.

The reconnection of nats-py is not used. It buffers up to 2 MB of messages that are published meanwhile. It
stops permanently on some errors of the server. It keeps the credentials that it read first. Here a lost
connection is an outcome (the sink is paused), and the delivery's backoff retries without a limit.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import ssl
from typing import TYPE_CHECKING, Any

import anyio
import nats.errors
import structlog
from nats.aio.client import Client

from slurmsyncd import __version__
from slurmsyncd.delivery import Outcome, OutcomeKind
from slurmsyncd.sinks.nats.credentials import redact
from slurmsyncd.sinks.text import printable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

log = structlog.get_logger(__name__)

_CONNECT_S = 5.0
_CLOSE_S = 2.0
_PING_S = 20
_DENIED = re.compile(r'permissions violation for (publish|subscription) to "([^"]*)"')
#: What nats-py raises on a broken connection. TypeError: writelines() of asyncio in Python 3.12 and 3.13
#: if the transport closed on its own.
_BROKEN = (nats.errors.Error, OSError, TypeError)
_LOGIN = ("authorization", "authentication", "account")


class ConnectionFailed(Exception):
    """A failed exchange with the server, and its outcome for the delivery."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


def sink_unavailable(reason: str, detail: str, *, alarm: bool = False) -> ConnectionFailed:
    """Return a sink-wide failure, which is not charged to any delivery."""
    return ConnectionFailed(
        Outcome(
            result=OutcomeKind.SINK_UNAVAILABLE,
            reason=reason,
            detail=printable(detail, 400),
            action_required=alarm,
        )
    )


class _Client(Client):
    """
    The client of nats-py with two corrections.

    nats-py sends its secrets to a server that offers no TLS, although TLS is required. When nats-py closes a
    broken connection, it writes its remaining data, fails in doing so, and leaves the socket open.
    """

    tls_wanted = False

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        self._pending, self._pending_data_size = [], 0
        await super()._close(status, do_cbs)

    def _connect_command(self) -> bytes:
        if self.tls_wanted and not self._server_info.get("tls_required"):
            raise nats.errors.SecureConnWantedError
        return super()._connect_command()


class NatsConnection:
    """
    A connection to one NATS server, which is not reused after a loss.

    Args:
        sink: Name of the sink, for logs.
        timeout_s: Time limit of one response, in seconds.
    """

    def __init__(self, sink: str, timeout_s: float) -> None:
        self._sink = sink
        self._timeout_s = timeout_s
        self._client = _Client()
        self._connecting: anyio.CancelScope | None = None
        self._asking: list[tuple[str, anyio.CancelScope]] = []
        self._denied: dict[str, str] = {}
        self._error = ""
        self._secrets: dict[str, Any] = {}
        self._lost = False
        self._heard: list[Subscription] = []

    @property
    def alive(self) -> bool:
        """Whether the connection is open, as far as is known."""
        return self._client.is_connected and not self._lost

    @property
    def max_payload(self) -> int:
        """Largest message that the server accepts, headers and payload, in bytes."""
        return self._client.max_payload

    async def open(
        self, server: str, tls: ssl.SSLContext, secrets: dict[str, Any], *, tls_wanted: bool
    ) -> None:
        """
        Connect to a server and log in.

        Raises:
            ConnectionFailed: The server is unreachable or rejects the login.
        """
        self._client.tls_wanted = tls_wanted
        self._secrets = secrets
        try:
            with anyio.move_on_after(_CONNECT_S) as self._connecting:
                await self._client.connect(
                    [server],
                    name=f"slurmsyncd/{__version__} {self._sink}",
                    error_cb=self._on_error,
                    closed_cb=self._on_close,
                    allow_reconnect=False,
                    max_reconnect_attempts=1,
                    connect_timeout=int(_CONNECT_S),
                    ping_interval=_PING_S,
                    tls=tls,
                    **secrets,
                )
        except Exception as err:  # nats-py may raise anything on the data of a hostile server
            await self.close()
            raise _not_connected(server, err, self._words(err) or self._error) from err
        if not self.alive or type(self._client.max_payload) is not int:
            await self.close()
            raise _not_connected(server, None, self._error)
        self._connecting = None

    async def publish(self, subject: str, payload: bytes, headers: dict[str, str]) -> None:
        """
        Publish a message and wait until the server has read it. Whether it has subscribers is unknown.

        Raises:
            ConnectionFailed: No confirmation. The server may still have read the message.
        """
        with self._bounded(subject, deniable=False):
            await self._client.publish(subject, payload, headers=headers or None)
            await self._written()
            # If the reading loop has died, flush() still reports success; a round trip does not.
            await self._client.rtt(self._timeout_s)  # type: ignore[arg-type]  # any number will do
        self._raise_if_denied(subject)

    async def request(self, subject: str, payload: bytes, headers: dict[str, str] | None = None) -> Msg:
        """
        Publish a request and wait for the response.

        Raises:
            ConnectionFailed: No response; reason ``timeout`` if the request may still have been read.
        """
        self._raise_if_denied("")
        with self._bounded(subject, deniable=True):
            return await self._client.request(subject, payload, timeout=self._timeout_s, headers=headers)
        raise AssertionError  # pragma: no cover - _bounded raises where the block was left early

    async def subscribe(self, hear: Callable[[Msg], Awaitable[None]], subject: str = "") -> str:
        """
        Subscribe to a subject; if it is empty, to a new inbox and the subjects below that.

        Returns:
            The subject, or the inbox.

        Raises:
            ConnectionFailed: The connection is lost.
        """
        inbox = subject or self._client.new_inbox()
        try:
            self._heard.append(await self._client.subscribe(subject or f"{inbox}.*", cb=hear))
        except _BROKEN as err:
            self._lost = True
            raise sink_unavailable("connection_lost", self._error or self._words(err)) from err
        return inbox

    async def publish_unconfirmed(self, subject: str, payload: bytes, reply: str = "") -> None:
        """
        Publish a message without waiting, for messages that are repeated or requested again when lost.

        Raises:
            ConnectionFailed: The connection is lost.
        """
        try:
            await self._client.publish(subject, payload, reply)
        except _BROKEN as err:
            self._lost = True
            raise sink_unavailable("connection_lost", self._error or self._words(err)) from err

    async def drain(self) -> None:
        """Stop receiving, wait for messages in transit and flush published messages."""
        with anyio.move_on_after(_CLOSE_S), contextlib.suppress(*_BROKEN):
            while self._heard:
                await self._heard.pop().drain()  # type: ignore[no-untyped-call]
            await self._written()
            await self._client.flush()

    async def _written(self) -> None:
        """Wait until nats-py has written its buffer. Otherwise pings overtake the buffered messages."""
        for wait_s in itertools.chain((0.0,) * 8, itertools.repeat(0.001)):
            if not self._client.pending_data_size or not self.alive:
                return
            await anyio.sleep(wait_s)

    async def close(self) -> None:
        """Close the connection without waiting for the server."""
        self._lost = True
        with anyio.move_on_after(_CLOSE_S, shield=True), contextlib.suppress(*_BROKEN):
            await self._client.close()

    @contextlib.contextmanager
    def _bounded(self, subject: str, *, deniable: bool) -> Iterator[None]:
        """Leave the block when the connection is lost or, if ``deniable``, when the subject is forbidden."""
        done = False
        try:
            with anyio.move_on_after(self._timeout_s + 1) as scope:
                asking = (subject if deniable else "", scope)
                self._asking.append(asking)
                try:
                    yield
                    done = True
                finally:
                    self._asking.remove(asking)
                    # A pong without a waiting task would end the reading loop of nats-py.
                    self._lost = self._lost or not (done or deniable)
        except nats.errors.NoRespondersError:
            raise
        except nats.errors.TimeoutError as err:
            raise self._timed_out(deniable=deniable) from err
        except _BROKEN as err:
            self._lost = True
            raise sink_unavailable("connection_lost", self._error or self._words(err)) from err
        # A round trip proves nothing on a connection that another task has meanwhile marked as lost.
        if done and (deniable or not self._lost):
            return
        self._raise_if_denied(subject)
        if deniable and not self.alive:
            raise sink_unavailable("connection_lost", self._error or "the server closed it")
        raise self._timed_out(deniable=deniable)

    def _timed_out(self, *, deniable: bool) -> ConnectionFailed:
        # The network path may be broken, so the next attempt uses a new connection.
        self._lost = True
        if deniable:
            return ConnectionFailed(
                Outcome(result=OutcomeKind.FAILED, reason="timeout", detail="no acknowledgement in time")
            )
        return sink_unavailable("connection_lost", self._error or "the server does not answer")

    def _raise_if_denied(self, subject: str) -> None:
        for name in (subject.lower(), ""):
            if detail := self._denied.get(name):
                self._lost = True  # whether it is still forbidden shows on a new connection
                raise sink_unavailable("not_permitted", f"{detail}; let this user publish there", alarm=True)

    async def _on_error(self, err: Exception) -> None:
        self._error = self._words(err)
        if self._connecting is not None:
            self._connecting.cancel()
            return
        if found := _DENIED.search(str(err).lower()):
            kind, subject = found.groups()
            # Without the subscription to the inbox, no response ever arrives.
            denied = subject if kind == "publish" else ""
            self._denied[denied] = self._error
            for name, scope in self._asking:
                if name and denied in ("", name.lower()):
                    scope.cancel()
        elif isinstance(err, (OSError, nats.errors.StaleConnectionError)):
            self._lose()  # nats-py closes the connection shortly; waiting tasks need not wait for that
        elif not self._lost:
            log.warning("nats_error", sink=self._sink, detail=self._error)

    async def _on_close(self) -> None:
        self._error = self._error or self._words(self._client.last_error)
        self._lose()

    def _words(self, err: BaseException | None) -> str:
        """Return an error as one line, without the prefix of nats-py and without secrets."""
        text = (str(err).removeprefix("nats: ") or type(err).__name__) if err else ""
        return printable(redact(text, self._secrets), 300)

    def _lose(self) -> None:
        self._lost = True
        for _, scope in self._asking:
            scope.cancel()


def _not_connected(server: str, err: BaseException | None, said: str) -> ConnectionFailed:
    text = said or "no connection in time"
    if isinstance(err, ssl.SSLCertVerificationError):
        return sink_unavailable("tls", f"{server}: certificate: {err.verify_message}", alarm=True)
    if isinstance(err, ssl.SSLError):
        return sink_unavailable("tls", f"{server}: {err.reason or 'the TLS handshake failed'}", alarm=True)
    if isinstance(err, nats.errors.SecureConnWantedError):
        return sink_unavailable("tls", f"{server}: offers no TLS; nothing was said to it", alarm=True)
    if any(word in text.lower() for word in _LOGIN):
        return sink_unavailable(
            "credentials", f"{server}: {text}; put what it takes into the file", alarm=True
        )
    return sink_unavailable("unreachable", f"{server}: {text}")
