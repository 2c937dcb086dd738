"""The daemon's side of the control socket: JSON by HTTP on a UNIX socket that only its user can open."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from slurmsyncd.control import delivery_requests as letters
from slurmsyncd.control import previews, status
from slurmsyncd.control import run_requests as runs
from slurmsyncd.control import store_requests as requests
from slurmsyncd.errors import ConfigError, SlurmsyncdError
from slurmsyncd.foreign import MalformedJson, decode_json
from slurmsyncd.host.directories import ensure_directory
from slurmsyncd.http_server.listen import listen
from slurmsyncd.http_server.messages import HttpResponse, ServerLimits

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from slurmsyncd.config import DaemonConfig, WebConfig
    from slurmsyncd.http_server.messages import Handler, HttpRequest

    Live = Mapping[str, Callable[[Any], Awaitable[Any]]]

PREFIX = "/v2/"
KEY = "daemon.control_socket"
NAME = "control.sock"
#: Name on the wire → request.
REQUESTS = {
    kind.__name__: kind
    for kind in (*requests.REQUESTS, *runs.REQUESTS, *letters.REQUESTS, *previews.REQUESTS, *status.REQUESTS)
}
#: A repair carries whole runs; its sender keeps to less.
BODY_BYTES = 16 * 2**20
LIMITS = ServerLimits(connections=16, body_bytes=2 * BODY_BYTES, idle_s=600.0)


def control_path(daemon: DaemonConfig) -> Path:
    """Return where the socket is: as configured, else beside the PID file."""
    return Path(daemon.control_socket) if daemon.control_socket else daemon.pid_file.with_name(NAME)


@contextmanager
def control_sockets(daemon: DaemonConfig) -> Iterator[Sequence[socket.socket]]:
    """
    Listen; only our user and root can connect.

    Raises:
        ConfigError: The place cannot be used.
    """
    path = control_path(daemon)
    ensure_directory(path.parent, key=KEY)
    try:
        with listen(f"unix:{path}", mode=0o600) as sockets:
            yield sockets
    except FileExistsError as err:
        raise ConfigError([f"{KEY} = {path}: {err}"]) from err


@contextmanager
def web_sockets(config: WebConfig) -> Iterator[Sequence[socket.socket]]:
    """
    Listen where metrics and page are wanted; only our user and root can connect to a UNIX socket.

    Raises:
        ConfigError: An address cannot be had.
    """
    with ExitStack() as stack:
        sockets: list[socket.socket] = []
        for address in config.listen:
            try:
                sockets += stack.enter_context(listen(address, mode=0o600))
            except OSError as err:
                raise ConfigError([f"web.listen = {address}: {err}; choose another address"]) from err
        yield sockets


def control_handler(in_store: Callable[[Any], Awaitable[Any]], live: Live) -> Handler:
    """
    Answer ``POST /v2/NAME`` with a request's fields as JSON.

    Args:
        in_store: Runs one request where the store may be called.
        live: Requests that only the running daemon can answer, by name.
    """

    async def answer(http: HttpRequest) -> HttpResponse:
        name = http.path.removeprefix(PREFIX)
        kind = REQUESTS.get(name)
        if kind is None or http.method != "POST" or not http.path.startswith(PREFIX):
            return _refusal(404, f"this daemon knows no {http.method} {http.path[:80]}")
        try:
            request = decode_json(await http.body.read(BODY_BYTES), msgspec.json.Decoder(kind))
            result = await live.get(name, in_store)(request)
        except (MalformedJson, OverflowError) as err:  # SQLite keeps 64 bits and a sign
            return _refusal(400, f"{name}: {err}")
        except SlurmsyncdError as err:
            return _refusal(503, str(err))
        return HttpResponse(200, msgspec.json.encode(result), (("content-type", "application/json"),))

    return answer


def _refusal(status: int, why: str) -> HttpResponse:
    return HttpResponse(status, msgspec.json.encode({"error": why}), (("content-type", "application/json"),))
