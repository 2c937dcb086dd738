"""The connector: opens a connection on first use, and a new one after a loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import structlog

from slurmsyncd.errors import ConfigError
from slurmsyncd.sinks.nats.connection import ConnectionFailed, NatsConnection, sink_unavailable
from slurmsyncd.sinks.nats.credentials import Credentials
from slurmsyncd.sinks.tls import tls_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

    from slurmsyncd.config import SinkConfig

log = structlog.get_logger(__name__)

_ANSWER_S = 10.0


class Connector:
    """
    Provider of a working connection to one of the sink's servers.

    Args:
        config: Section of the sink.
        greet: Checks a new connection before its first use; raises ConnectionFailed if it is unusable.

    Raises:
        ConfigError: A certificate or key cannot be used.
    """

    def __init__(self, config: SinkConfig, greet: Callable[[NatsConnection], Awaitable[None]]) -> None:
        self._config = config
        self._greet = greet
        self._tls = _context(config)
        self._login = Credentials(config)
        self._link: NatsConnection | None = None
        self._lock = anyio.Lock()
        self._tried = 0
        self._trouble: ConnectionFailed | None = None

    async def link(self) -> NatsConnection:
        """
        Return a working connection. Open one if there is none.

        Raises:
            ConnectionFailed: No server can be used now.
        """
        tried = self._tried
        async with self._lock:
            if self._link is not None and self._link.alive:
                return self._link
            if tried != self._tried and self._trouble is not None:
                raise ConnectionFailed(self._trouble.outcome)  # another task has just tried
            self._tried += 1
            try:
                self._link = await self._connected()
            except ConnectionFailed as err:
                self._trouble = err
                raise
            return self._link

    async def aclose(self) -> None:
        """Close the current connection."""
        if self._link is not None:
            await self._link.close()

    async def _connected(self) -> NatsConnection:
        """Connect to the first server that accepts the sink, beginning after the last one used."""
        await self.aclose()
        servers, first = self._config.servers, self._tried % len(self._config.servers)
        failures: list[ConnectionFailed] = []
        for server in (*servers[first:], *servers[:first]):
            try:
                return await self._connect(server)
            except ConnectionFailed as err:
                failures.append(err)
        # An error that requires an operator is more useful than an unreachable server.
        raise max(failures, key=lambda each: each.outcome.action_required)

    async def _connect(self, server: str) -> NatsConnection:
        config = self._config
        link = NatsConnection(config.name, min(config.timeout, _ANSWER_S))
        try:
            secrets = self._login.read()
            if config.cert_file:
                self._tls = _context(config)
        except ConfigError as err:
            raise sink_unavailable("credentials_file", str(err), alarm=True) from err
        wanted = bool(server.startswith("tls:") or config.ca_file or config.cert_file)
        await link.open(server, self._tls, secrets, tls_wanted=wanted)
        try:
            await self._greet(link)
        except BaseException:
            await link.close()
            raise
        log.info("nats_connected", sink=config.name, server=server)
        return link


def _context(config: SinkConfig) -> ssl.SSLContext:
    try:
        return tls_context(config.ca_file, config.cert_file, config.key_file)
    except OSError as err:
        where = f"sinks.{config.name}"
        raise ConfigError(
            [f"{where}.ca_file, cert_file or key_file: {err}; name PEM files that the daemon can read"]
        ) from err
