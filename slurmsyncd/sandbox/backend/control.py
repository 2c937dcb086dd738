"""
The control API for tests and demos, below ``/-/`` and only with ``test_api``.

=======  =================  ==============================================================
POST     ``/-/tick``        commit the cache now → ``{"moved": n}``
GET      ``/-/rows``        both tables → ``{"cache": [...], "main": [...]}``
GET      ``/-/nodes``       stored node states → ``{"nodes": [...]}``
GET      ``/-/requests``    what was asked of ``/api`` → ``{"requests": [...]}``; DELETE forgets
GET      ``/-/knobs``       failures on demand; PATCH with some of them turns those
POST     ``/-/wipe``        remove all jobs
PUT      ``/-/clusters``    replace cluster.json: one, or a list
=======  =================  ==============================================================
"""

from __future__ import annotations

import dataclasses
import json
from collections import deque
from typing import TYPE_CHECKING, Any

from slurmsyncd.sandbox.backend.clusters import BadClusters, Clusters
from slurmsyncd.sandbox.backend.responses import answer
from slurmsyncd.sandbox.backend.routing import BODY_BYTES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from slurmsyncd.http_server.server import HttpRequest, HttpResponse
    from slurmsyncd.sandbox.backend.database import Row
    from slurmsyncd.sandbox.backend.routing import BackendCore

_KEPT_REQUESTS = 20_000
_KEPT_BODY = 65536


class RequestLog:
    """What was asked of ``/api`` lately, and how it went."""

    def __init__(self) -> None:
        self.entries: deque[dict[str, Any]] = deque(maxlen=_KEPT_REQUESTS)

    def add(self, request: HttpRequest, response: HttpResponse | None, began: float, ended: float) -> None:
        """Note an exchange (epoch seconds); without a response the connection was closed instead."""
        self.entries.append(
            {
                "method": request.method,
                "path": request.path,
                "query": [list(pair) for pair in request.query],
                "body": request.body.content[:_KEPT_BODY].decode("utf-8", "replace"),
                "status": response.status if response else None,
                "began": began,
                "ended": ended,
            }
        )


class TestApi:
    """Answers requests below ``/-/``."""

    def __init__(self, core: BackendCore, log: RequestLog) -> None:
        self._core = core
        self._log = log
        self._routes: dict[tuple[str, str], Callable[[HttpRequest], Awaitable[Any]]] = {
            ("POST", "/-/tick"): self._tick,
            ("GET", "/-/rows"): self._rows,
            ("GET", "/-/nodes"): self._nodes,
            ("GET", "/-/requests"): self._requests,
            ("DELETE", "/-/requests"): self._forget,
            ("GET", "/-/knobs"): self._knobs,
            ("PATCH", "/-/knobs"): self._turn,
            ("POST", "/-/wipe"): self._wipe,
            ("PUT", "/-/clusters"): self._set_clusters,
        }

    async def __call__(self, request: HttpRequest) -> HttpResponse | None:
        """Return the response, or None if the path does not belong to the control API."""
        endpoint = self._routes.get((request.method, request.path))
        if endpoint is None:
            return None
        try:
            return answer(await endpoint(request))
        except (ValueError, BadClusters) as err:
            return answer({"error": str(err)}, 400)

    async def _tick(self, request: HttpRequest) -> Any:  # noqa: ARG002
        return {"moved": await self._core.jobs.tick()}

    async def _rows(self, request: HttpRequest) -> Any:  # noqa: ARG002
        read = self._core.database.all
        cache, main = read("SELECT * FROM job_cache ORDER BY id"), read("SELECT * FROM job ORDER BY id")
        return {"cache": [_readable(row) for row in cache], "main": [_readable(row) for row in main]}

    async def _nodes(self, request: HttpRequest) -> Any:  # noqa: ARG002
        return {"nodes": self._core.database.all("SELECT * FROM node_state ORDER BY cluster, hostname")}

    async def _requests(self, request: HttpRequest) -> Any:  # noqa: ARG002
        return {"requests": list(self._log.entries)}

    async def _forget(self, request: HttpRequest) -> Any:  # noqa: ARG002
        self._log.entries.clear()
        return {}

    async def _knobs(self, request: HttpRequest) -> Any:  # noqa: ARG002
        return dataclasses.asdict(self._core.knobs)

    async def _turn(self, request: HttpRequest) -> Any:
        values = json.loads(await request.body.read(BODY_BYTES))
        if not isinstance(values, dict):
            raise ValueError("an object of knobs expected")  # noqa: TRY004  # the client's mistake
        self._core.knobs.update(values)
        return dataclasses.asdict(self._core.knobs)

    async def _wipe(self, request: HttpRequest) -> Any:  # noqa: ARG002
        self._core.database.wipe()
        return {}

    async def _set_clusters(self, request: HttpRequest) -> Any:
        content = json.loads(await request.body.read(BODY_BYTES))
        self._core.jobs.clusters = Clusters.parse(content if isinstance(content, list) else [content])
        return {}


def _readable(row: Row) -> Row:
    meta = row["meta_data"]
    return {**row, "resources": json.loads(row["resources"]), "meta_data": json.loads(meta) if meta else None}
