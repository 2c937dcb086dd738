"""Addresses to listen on: ``host:port``, ``[v6]:port`` and ``unix:/path``."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_BACKLOG = 1024


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


@contextlib.contextmanager
def listen(address: str, *, mode: int = 0o600) -> Iterator[tuple[socket.socket, ...]]:
    """
    Hold listening sockets while the block runs; port 0 takes a free one.

    Args:
        address: ``host:port``, ``[v6]:port`` or ``unix:/path``.
        mode: Permissions of a UNIX socket.

    Raises:
        BadAddress: The address has no such form.
        OSError: It cannot be bound.
    """
    with contextlib.ExitStack() as stack:
        if address.startswith("unix:"):
            yield (stack.enter_context(_unix(Path(address[5:]), mode)),)
        else:
            yield tuple(_tcp(*split_address(address), stack))


def _tcp(host: str, port: int, stack: contextlib.ExitStack) -> Iterator[socket.socket]:
    # A name such as localhost stands for several addresses; a free port is the same for all.
    flags = socket.AI_PASSIVE | socket.AI_ADDRCONFIG
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    for family, where in dict.fromkeys((info[0], info[4]) for info in found):
        sock = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((where[0], port, *where[2:]))
        sock.listen(_BACKLOG)
        port = sock.getsockname()[1]
        yield sock


@contextlib.contextmanager
def _unix(path: Path, mode: int) -> Iterator[socket.socket]:
    _remove_stale_socket(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(str(path))
        made = path.lstat().st_ino
        try:
            path.chmod(mode)
            sock.listen(_BACKLOG)
            yield sock
        finally:
            _remove(path, made)


def _remove(path: Path, inode: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        if path.lstat().st_ino == inode:  # not the one of a successor
            path.unlink()


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
