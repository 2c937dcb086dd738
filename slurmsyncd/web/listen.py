"""Addresses to listen on: ``host:port``, ``[v6]:port`` and ``unix:/path``."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from anyio.abc import Listener, SocketAttribute, SocketStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class BadAddress(ValueError):
    """An address is not in a form that can be listened on."""


def split_address(address: str) -> tuple[str, int]:
    """
    Split ``host:port`` or ``[v6]:port``.

    Raises:
        BadAddress: It is neither.
    """
    host, colon, port = address.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise BadAddress(f"{address!r} is no address: use host:port, [v6]:port or unix:/path")
    return host, int(port)


@contextlib.asynccontextmanager
async def listening(address: str, *, mode: int = 0o600) -> AsyncIterator[Listener[SocketStream]]:
    """
    Listen while the block runs; port 0 takes a free one.

    Args:
        address: ``host:port``, ``[v6]:port`` or ``unix:/path``.
        mode: Permissions of a UNIX socket.

    Raises:
        BadAddress: The address has no such form.
        OSError: It cannot be bound.
    """
    if address.startswith("unix:"):
        async with _unix(Path(address[5:]), mode) as unix_listener:
            yield unix_listener
        return
    host, port = split_address(address)
    async with await anyio.create_tcp_listener(local_host=host, local_port=port) as tcp_listener:
        yield tcp_listener


@contextlib.asynccontextmanager
async def _unix(path: Path, mode: int) -> AsyncIterator[Listener[SocketStream]]:
    _remove_stale_socket(path)
    async with await anyio.create_unix_listener(path, mode=mode) as listener:
        made = _inode(path)
        try:
            yield listener
        finally:
            if _inode(path) == made:  # not the one of a successor
                _remove(path)


def _inode(path: Path) -> int | None:
    try:
        return path.lstat().st_ino
    except FileNotFoundError:
        return None


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _remove_stale_socket(path: Path) -> None:
    """Remove a socket of ours that nobody listens on; anything else in the way is an OSError."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
        raise FileExistsError(f"{path} is in the way and is no socket of ours: remove it or choose another")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise FileExistsError(f"somebody listens on {path} already: stop that process or choose another path")


def bound_port(listener: Listener[SocketStream]) -> int:
    """Give the TCP port that a listener got."""
    return int(listener.extra(SocketAttribute.local_port))  # noqa: S610  # anyio's, not Django's
