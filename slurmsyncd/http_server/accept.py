"""Accepting connections, also while the process is short of file descriptors."""

from __future__ import annotations

import errno
import math
import resource
import time
from typing import TYPE_CHECKING, Any, Final

import anyio
import structlog

if TYPE_CHECKING:
    import socket

log = structlog.get_logger(__name__)

# What the kernel reports when it is short of something that is released sooner or later.
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
# A connection that is gone before it is accepted is not a failure of the listening socket (accept(2)).
_GONE: Final = frozenset(
    {
        errno.ECONNABORTED,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENONET,
        errno.ENOPROTOOPT,
        errno.EOPNOTSUPP,
        errno.EPERM,
        errno.EPROTO,
    }
)
#: Seconds until the next attempt while nothing can be accepted, and between two lines about it.
_PAUSE_S: Final = 1.0
_REPORT_S: Final = 60.0
#: The part of the process's file descriptors that the connections of one server may hold.
_SHARE: Final = 4


def affordable(connections: int) -> int:
    """Return how many connections a server may hold at the same time: at most a quarter of RLIMIT_NOFILE."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return connections if soft == resource.RLIM_INFINITY else max(1, min(connections, soft // _SHARE))


class Acceptor:
    """
    The accepting side of one listening socket.

    asyncio's own servers accept a hundred times after each shortage and log each of them.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._reported_at = -math.inf

    async def accept(self) -> tuple[socket.socket, Any]:
        """Wait for a connection; return it, not blocking, with the address of its other side."""
        while True:
            await anyio.wait_readable(self._sock)
            try:
                client, address = self._sock.accept()
            except BlockingIOError:
                continue
            except OSError as err:
                if err.errno in _EXHAUSTED:
                    self._report(err)
                    await anyio.sleep(_PAUSE_S)
                elif err.errno not in _GONE:
                    raise
            else:
                client.setblocking(False)
                return client, address

    def _report(self, err: OSError) -> None:
        now = time.monotonic()
        if now >= self._reported_at + _REPORT_S:
            self._reported_at = now
            log.warning(
                "connection_not_accepted",
                address=str(self._sock.getsockname()),
                reason=err.strerror,
                remedy="raise LimitNOFILE",
            )
