"""A command's side: asks the running daemon, or works on the store itself where no daemon runs."""

from __future__ import annotations

import http.client
import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec

from slurmsyncd.control.server import KEY, PREFIX, control_path
from slurmsyncd.errors import AlreadyRunning, SlurmsyncdError, StoreError
from slurmsyncd.foreign import MalformedJson, decode_json
from slurmsyncd.store import open_store
from slurmsyncd.store.opening import STORE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from slurmsyncd.config import Config, DaemonConfig
    from slurmsyncd.control.store_requests import ControlRequest
    from slurmsyncd.store.sqlite_store import SqliteStore

T = TypeVar("T")

#: A request may have to wait for a slow disk.
TIMEOUT_S = 60.0


class ControlClient(Protocol):
    """
    Whoever answers.

    Attributes:
        running: It is the daemon.
    """

    running: bool

    def ask(self, request: ControlRequest[T]) -> T:
        """
        Have a request carried out.

        Raises:
            SlurmsyncdError: It was refused, or nobody answers any more.
        """


@contextmanager
def connect(config: Config) -> Iterator[ControlClient]:
    """
    Find who answers.

    Raises:
        AlreadyRunning: A daemon has the store but does not answer.
        StoreError: None runs and there is no store, or it cannot be used.
    """
    connection = _connect(control_path(config.daemon))
    if connection is not None:
        try:
            yield _DaemonClient(connection)
        finally:
            connection.close()
        return
    store = _own_store(config)
    try:
        yield _StoreClient(store)
    finally:
        store.close()


class _Connection(http.client.HTTPConnection):
    """HTTP over a UNIX socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        """Connect."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(TIMEOUT_S)
            sock.connect(str(self._path))
        except BaseException:
            sock.close()
            raise
        self.sock = sock


class _DaemonClient:
    """The running daemon."""

    running = True

    def __init__(self, connection: _Connection) -> None:
        self._http = connection

    def ask(self, request: ControlRequest[T]) -> T:
        """Send a request."""
        name = type(request).__name__
        try:
            self._http.request("POST", PREFIX + name, msgspec.json.encode(request))
            answer = self._http.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as err:
            raise SlurmsyncdError(
                f"the daemon does not answer on its control socket: {err or type(err).__name__}; "
                "see its log, and try again"
            ) from err
        if answer.status != http.client.OK:
            raise SlurmsyncdError(_reason(name, answer.status, body))
        try:
            result: T = decode_json(body, msgspec.json.Decoder(request.response_type))
        except MalformedJson as err:
            raise SlurmsyncdError(
                f"the running daemon's answer to {name} is not understood: {err}; "
                "it is of another release; restart it"
            ) from err
        return result


def _reason(name: str, status: int, body: bytes) -> str:
    if status == http.client.NOT_FOUND:
        return f"the running daemon does not know {name}: it is of another release; restart it"
    try:
        return str(decode_json(body, msgspec.json.Decoder())["error"])
    except (MalformedJson, KeyError, TypeError):
        return f"the daemon answered {name} with status {status}; see its log"


class _StoreClient:
    """Our own hands: no daemon runs."""

    running = False

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    def ask(self, request: ControlRequest[T]) -> T:
        """Carry a request out."""
        return request.run(self._store)


def _connect(path: Path) -> _Connection | None:
    connection = _Connection(path)
    try:
        connection.connect()
    except PermissionError as err:
        raise SlurmsyncdError(f"{path}: only root and the daemon's own user may ask it; use sudo") from err
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        return None
    except OSError as err:
        raise SlurmsyncdError(f"{KEY} = {path}: {err.strerror}; correct it") from err
    return connection


def _own_store(config: Config) -> SqliteStore:
    daemon = config.daemon
    try:
        (daemon.state_dir / STORE).stat()
    except PermissionError as err:
        raise StoreError(
            f"{daemon.state_dir}: only root and the daemon's own user may look there; use sudo"
        ) from err
    except OSError as err:
        raise StoreError(
            f"no daemon runs, and none has run: there is no store in daemon.state_dir = {daemon.state_dir}; "
            "start slurmsyncd, or name its configuration with --config"
        ) from err
    _become_owner(daemon)
    try:
        return open_store(daemon.state_dir, tuple(config.sinks)).store
    except AlreadyRunning as err:
        raise AlreadyRunning(
            f"a daemon runs, but nobody listens on {control_path(daemon)} ({KEY}); "
            f"is this its configuration? {err}"
        ) from err


def _become_owner(daemon: DaemonConfig) -> None:
    """Leave root for the owner of the state: what we write must stay readable for the daemon."""
    owner = daemon.state_dir.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)
