"""
Jobs and node states from NATS instead of REST (contract section 11).

Core NATS, no acknowledgement: what is published while nobody listens is lost, every error is only a line in
the log, and a pool of workers takes the messages, so two of them may overtake each other.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import anyio
import nats.errors
import structlog
from nats.aio.client import Client

from slurmsyncd.sandbox.backend.decode import BadJson, decode
from slurmsyncd.sandbox.backend.line_protocol import BadLine, Line, read_lines
from slurmsyncd.sandbox.backend.responses import ApiError, HandlerCrash
from slurmsyncd.sandbox.backend.schema import JOB, NODE_STATE, STOP
from slurmsyncd.sandbox.backend.site_routes import keep_node_states

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import TaskStatus
    from nats.aio.msg import Msg

    from slurmsyncd.sandbox.backend.routing import BackendCore

log = structlog.get_logger(__name__)

_JOB_WORKERS = 8
_NODE_WORKERS = 2
_CONNECT_S = 5.0
#: A message that is taken up late waits for another one to be dealt with, but no longer than this.
_LATE_S = 10.0


class NatsConsumer:
    """
    Both subscriptions and their workers.

    Args:
        core: Where jobs go.
        url: Of the server.
        job_subject: For starts and stops.
        node_subject: For node states.
    """

    def __init__(self, core: BackendCore, url: str, job_subject: str, node_subject: str) -> None:
        self._core = core
        self._url = url
        self._jobs: asyncio.Queue[bytes] = asyncio.Queue()
        self._nodes: asyncio.Queue[bytes] = asyncio.Queue()
        self._late = 0
        self._dealt_with = anyio.Event()
        self._queues = {job_subject: self._jobs, node_subject: self._nodes}

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Listen until cancelled. Report the start when the subscriptions exist or have failed."""
        client = await self._connected()
        task_status.started()
        if client is None:
            return
        try:
            async with anyio.create_task_group() as group:
                for queue, workers in ((self._jobs, _JOB_WORKERS), (self._nodes, _NODE_WORKERS)):
                    for _ in range(workers):
                        group.start_soon(self._work, queue)
        finally:
            with anyio.move_on_after(_CONNECT_S, shield=True):
                await client.close()

    async def _connected(self) -> Client | None:
        """Subscribe once. As in cc-backend, there is no retry if the server is unreachable at the start."""
        client = Client()
        try:
            with anyio.fail_after(_CONNECT_S):
                await client.connect(
                    self._url, error_cb=_log_error, max_reconnect_attempts=-1, reconnect_time_wait=1
                )
                for subject, queue in self._queues.items():
                    await client.subscribe(subject, cb=_into(queue))
                # nats-py's flush overtakes what is still to be written.
                while client.pending_data_size:  # noqa: ASYNC110 - the buffer is another's
                    await asyncio.sleep(0)
                await client.flush()
        except (TimeoutError, OSError, nats.errors.Error) as err:
            log.warning("nats_unavailable", detail=str(err), hint="no job is taken until a restart")
            await client.close()
            return None
        return client

    async def _work(self, queue: asyncio.Queue[bytes]) -> None:
        while True:
            payload = await queue.get()
            if queue is self._jobs:
                if self._core.knobs.take("nats_lost"):
                    continue
                await self._linger()
            try:
                for line in read_lines(payload):
                    await self._take(line)
            except BadLine as err:
                log.warning("nats_message_dropped", reason=str(err))
            self._dealt_with.set()
            self._dealt_with = anyio.Event()

    async def _linger(self) -> None:
        """Be overtaken by another message if that is wanted; one worker never is, so that there is one."""
        if self._late < _JOB_WORKERS - 1 and self._core.knobs.take("nats_late"):
            self._late += 1
            with anyio.move_on_after(_LATE_S):
                await self._dealt_with.wait()
            self._late -= 1

    async def _take(self, line: Line) -> None:
        body = line.texts.get("event")
        if body is None:
            log.warning("nats_event_dropped", reason="no event")
            return
        try:
            await self._keep(line, body.encode())
        except (ApiError, BadJson, HandlerCrash) as err:
            log.warning("nats_event_dropped", reason=str(err))

    async def _keep(self, line: Line, body: bytes) -> None:
        match line.measurement, line.tags.get("function"):
            case "job", "start_job":
                await self._core.jobs.start(decode(JOB, body), None)
            case "job", "stop_job":
                await self._core.jobs.stop(decode(STOP, body))
            case "nodestate", _:
                keep_node_states(self._core, decode(NODE_STATE, body))
            case _:
                log.warning("nats_event_dropped", reason="neither start, stop nor node state")


def _into(queue: asyncio.Queue[bytes]) -> Callable[[Msg], Awaitable[None]]:
    async def put(message: Msg) -> None:
        queue.put_nowait(message.data)

    return put


async def _log_error(err: Exception) -> None:
    log.warning("nats_error", detail=str(err))
