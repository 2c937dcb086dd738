"""What one exchange says of itself: its line in the log, and the cause if there was no connection."""

from __future__ import annotations

import errno
import socket
import ssl
import time

import anyio.abc
import httpx
import pytest
from structlog.testing import capture_logs

from slurmsyncd.sinks.rest.client import BackendClient, BackendRequest, ExchangeFailure, describe_failure
from slurmsyncd.sinks.rest.responses import BackendResponse, FailureKind

pytestmark = pytest.mark.anyio


def transport(url: str) -> BackendClient:
    return BackendClient(url, ssl.create_default_context(), 20.0, time.time)


@pytest.fixture
def closed_port() -> int:
    """Return a port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_refused_connection_is_called_that(closed_port: int, host: str) -> None:
    """The operating system's reason is reported, and not that of the library, which names none."""
    found = await transport(f"http://{host}:{closed_port}").exchange(BackendRequest("GET", "/"), "a.b.c")
    assert found == ExchangeFailure(FailureKind.UNREACHABLE, "Connection refused")


class SeveralError(Exception):
    """A group of errors, which Python has from 3.11 on."""

    def __init__(self, *exceptions: OSError) -> None:
        super().__init__("multiple connection attempts failed")
        self.exceptions = exceptions


def test_each_cause_of_several_addresses_is_named_once() -> None:
    """A host with addresses of both kinds, of which one has no route, is reported with both reasons."""
    refused, unreachable = (OSError(each, "x") for each in (errno.ECONNREFUSED, errno.EHOSTUNREACH))
    err, cause = httpx.ConnectError("no"), OSError("All connection attempts failed")
    err.__cause__, cause.__cause__ = cause, SeveralError(refused, unreachable, refused)
    found = describe_failure(err)
    assert found == ExchangeFailure(FailureKind.UNREACHABLE, "Connection refused; No route to host")


async def test_each_request_is_a_debug_line_without_token_and_body(closed_port: int) -> None:
    """Method, address, status or cause, and duration: enough to see what is slow, nothing that is secret."""

    async def answer(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")

    call = BackendRequest("POST", "/api/jobs/start_job/", b"body")
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as group,
    ):
        group.start_soon(listener.serve, answer)
        url = f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
        with capture_logs() as lines:
            assert isinstance(await transport(url).exchange(call, "a.b.c"), BackendResponse)
            await transport(f"http://127.0.0.1:{closed_port}").exchange(call, "a.b.c")
        group.cancel_scope.cancel()
    assert all(line.pop("seconds") >= 0 for line in lines)
    common = {"event": "http_request", "log_level": "debug", "method": "POST"}
    assert lines == [
        {**common, "url": f"{url}/api/jobs/start_job/", "status": 201},
        {
            **common,
            "url": f"http://127.0.0.1:{closed_port}/api/jobs/start_job/",
            "detail": "Connection refused",
        },
    ]
