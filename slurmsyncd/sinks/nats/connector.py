"""The way to a connection that works: made when it is first needed, and made anew when it was lost."""

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
    The way to a link that works.

    Args:
        config: The sink's.
        greet: Looks around on a new link before anybody uses it; raises Trouble if that is of no use.

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
        Return a connection that works; makes one if there is none.

        Raises:
            Trouble: There is none to be had now.
        """
        tried = self._tried
        async with self._lock:
            if self._link is not None and self._link.alive:
                return self._link
            if tried != self._tried and self._trouble is not None:
                raise ConnectionFailed(self._trouble.outcome)  # somebody tried just now
            self._tried += 1
            try:
                self._link = await self._connected()
            except ConnectionFailed as err:
                self._trouble = err
                raise
            return self._link

    async def aclose(self) -> None:
        """Let go of the connection."""
        if self._link is not None:
            await self._link.close()

    async def _connected(self) -> NatsConnection:
        """Connect to the first server that takes us, beginning with the next one."""
        await self.aclose()
        servers, first = self._config.servers, self._tried % len(self._config.servers)
        failures: list[ConnectionFailed] = []
        for server in (*servers[first:], *servers[:first]):
            try:
                return await self._connect(server)
            except ConnectionFailed as err:
                failures.append(err)
        # What the operator has to act on says more than a server that is merely away.
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
