"""
The embedded backend as a library: a look-alike of cc-backend's job API, in the running event loop.

Usage::

    from slurmsyncd.sandbox.backend.clusters import make_cluster
    from slurmsyncd.sandbox.backend.server import BackendConfig, EmbeddedBackend

    config = BackendConfig(clusters=[make_cluster("demo", "cn[001-100]")], commit_interval=None)
    async with EmbeddedBackend.open(config) as backend:
        backend.url            # http://127.0.0.1:<port>
        backend.token()        # a JWT with the role api
        await backend.tick()   # commit the cached jobs; timed as well unless commit_interval is None
        backend.knobs.unauthorized = True   # failures on demand, see knobs.py
        backend.requests       # what was asked of /api so far; backend.rows() gives both tables

From another process: ``slurmsyncd backend --test-api``, then ``/-/…`` (see control.py).
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import structlog

from slurmsyncd.http_server.server import HttpResponse, ServerLimits, listen, serve
from slurmsyncd.sandbox.backend.api import api
from slurmsyncd.sandbox.backend.archive import Archive
from slurmsyncd.sandbox.backend.clusters import Clusters
from slurmsyncd.sandbox.backend.control import RequestLog, TestApi
from slurmsyncd.sandbox.backend.database import BackendDatabase
from slurmsyncd.sandbox.backend.fault_injection import InjectedFaults
from slurmsyncd.sandbox.backend.jobs import Jobs
from slurmsyncd.sandbox.backend.page import is_loopback, page
from slurmsyncd.sandbox.backend.routing import BODY_BYTES, BackendCore
from slurmsyncd.sandbox.backend.tags import Tags
from slurmsyncd.sandbox.backend.tokens import Tokens

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from pathlib import Path

    from anyio.abc import TaskGroup

    from slurmsyncd.http_server.server import HttpRequest

log = structlog.get_logger(__name__)

_TEXT = (("content-type", "text/plain; charset=utf-8"),)
_NOT_FOUND = HttpResponse(404, b"not found\n", _TEXT)
# The original keeps idle connections for ever, and waits that long for a request's head.
_LIMITS = ServerLimits(body_bytes=2 * BODY_BYTES, connections=1024, idle_s=None, head_s=20.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendConfig:
    """
    How the backend runs.

    Attributes:
        clusters: Contents of cluster.json files.
        listen: ``host:port`` (0 takes a free port), ``[v6]:port`` or ``unix:/path``.
        state: Directory of the database and the key pair; None keeps both in memory.
        commit_interval: Seconds between commit ticks; None leaves them to ``tick()``.
        archive_queue: Jobs that may wait for the archiver.
        allowed_ips: Peers that may use the API; empty: all.
        test_api: Mount the control API and keep a log of requests.
        nats: Take jobs from this NATS server instead of by REST; empty: by REST.
        job_subject: There, for starts and stops.
        node_subject: There, for node states.
    """

    clusters: Sequence[Mapping[str, Any]] = ()
    listen: str = "127.0.0.1:0"
    state: Path | None = None
    commit_interval: float | None = 60.0
    archive_queue: int = 128
    allowed_ips: Sequence[str] = ()
    test_api: bool = False
    nats: str = ""
    job_subject: str = "cc.jobs"
    node_subject: str = "cc.nodes"
    clock: Callable[[], float] = time.time


class EmbeddedBackend:
    """A running backend; see ``open``."""

    def __init__(self, core: BackendCore, archive: Archive, config: BackendConfig) -> None:
        self._core = core
        self._archive = archive
        self._config = config
        self._log = RequestLog()
        self._control = TestApi(core, self._log) if config.test_api else None
        self.url = ""

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, config: BackendConfig) -> AsyncIterator[EmbeddedBackend]:
        """
        Run a backend while the block runs.

        Raises:
            SlurmsyncdError: It cannot start; the message says what to change.
            OSError: The address or the state directory cannot be used.
        """
        core, archive = _assemble(config)
        backend = cls(core, archive, config)
        failure: Exception | None = None
        with contextlib.closing(core.database):
            with listen(config.listen) as sockets:
                async with anyio.create_task_group() as group:
                    backend.url = _url(config.listen, sockets[0])
                    group.start_soon(serve, sockets, backend.answer, _LIMITS)
                    group.start_soon(archive.work)
                    group.start_soon(backend._commit)
                    if config.nats:
                        await backend._listen(group)
                    try:
                        yield backend
                    except Exception as err:  # noqa: BLE001  # raised below: the group would wrap it
                        failure = err
                    group.cancel_scope.cancel()
            archive.drain()
        if failure is not None:
            raise failure

    @property
    def knobs(self) -> InjectedFaults:
        """Failures on demand."""
        return self._core.knobs

    @property
    def requests(self) -> list[dict[str, Any]]:
        """What was asked of ``/api`` so far (only with ``test_api``)."""
        return list(self._log.entries)

    def token(
        self, user: str = "slurmsyncd", *, roles: Sequence[str] = ("api",), lifetime_s: float | None = None
    ) -> str:
        """Sign a token; without a lifetime it never expires."""
        return self._core.tokens.issue(user, roles, lifetime_s)

    def sign(self, claims: Mapping[str, Any]) -> str:
        """Sign any claims, also those that no backend should take."""
        return self._core.tokens.sign(claims)

    async def tick(self) -> int:
        """Commit the cached jobs; gives how many there were."""
        return await self._core.jobs.tick()

    def rows(self) -> list[dict[str, Any]]:
        """Return all jobs, committed and cached (those have ``cached`` 1), as rows of the tables."""
        return self._core.database.all(
            "SELECT *, 0 AS cached FROM job UNION ALL SELECT *, 1 AS cached FROM job_cache"
        )

    def set_clusters(self, clusters: Sequence[Mapping[str, Any]]) -> None:
        """Replace the clusters, as an admin's edit and restart would."""
        self._core.jobs.clusters = Clusters.parse(clusters)

    async def answer(self, request: HttpRequest) -> HttpResponse | None:
        """Answer any request."""
        if request.method != "GET" and request.headers.get("sec-fetch-site") == "cross-site":
            return HttpResponse(403, b"cross-origin request refused\n", _TEXT)
        if request.path.startswith("/api/"):
            return await self._api(request)
        if request.path == "/":
            return page(self._core, request, self._config.listen)
        # A foreign site that resolves to 127.0.0.1 must not reach the control API through a browser.
        if self._control is not None and is_loopback(request.headers.get("host", "")):
            return await self._control(request) or _NOT_FOUND
        return _NOT_FOUND

    async def _api(self, request: HttpRequest) -> HttpResponse | None:
        began = time.time()
        response = await api(self._core, request)
        if self._control is not None:
            self._log.add(request, response, began, time.time())
        return response

    async def _listen(self, group: TaskGroup) -> None:
        """Take jobs from NATS; the routes that take them by REST are then not mounted."""
        from slurmsyncd.sandbox.backend.nats_consumer import NatsConsumer  # noqa: PLC0415 - megabytes

        config, self._core.knobs.nats_mode = self._config, True
        intake = NatsConsumer(self._core, config.nats, config.job_subject, config.node_subject)
        await group.start(intake.run)

    async def _commit(self) -> None:
        while self._config.commit_interval is not None:
            await anyio.sleep(self._config.commit_interval)
            try:
                await self.tick()
            except sqlite3.Error as err:  # the jobs stay cached, and the next tick tries again
                log.warning("commit_failed", reason=str(err), next_s=self._config.commit_interval)


def _assemble(config: BackendConfig) -> tuple[BackendCore, Archive]:
    clusters = Clusters.parse(config.clusters)
    if config.state is not None:
        config.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    tokens = Tokens.open(config.state)
    database = BackendDatabase(config.state / "backend.sqlite" if config.state else None)
    knobs = InjectedFaults(allowed_ips=list(config.allowed_ips))
    archive = Archive(database, knobs, config.archive_queue)
    tags = Tags(database)
    jobs = Jobs(
        database=database, clusters=clusters, archive=archive, tags=tags, knobs=knobs, clock=config.clock
    )
    return BackendCore(database, jobs, tags, tokens, knobs, config.clock), archive


def _url(listen: str, sock: socket.socket) -> str:
    if listen.startswith("unix:"):
        return listen
    return f"http://{listen.rpartition(':')[0]}:{sock.getsockname()[1]}"
