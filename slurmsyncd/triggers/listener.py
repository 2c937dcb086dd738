"""
The loops that read hints: from the UNIX datagram socket and from TCP connections. Nobody gets an answer.

Bounded everywhere: datagrams in batches that let the event loop breathe, connections in number, length
and time. A kernel queue that overflows is the sender's drop (see ``slurmsyncd.notify``).
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from slurmsyncd.http_server.accept import Acceptor, affordable
from slurmsyncd.triggers.notification import MESSAGE_LIMIT
from slurmsyncd.triggers.notification_filter import TCP

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from slurmsyncd.triggers.notification_filter import NotificationFilter

#: Datagrams that are read before other tasks get their turn.
BATCH = 256
#: TCP connections at once, and the seconds each of them gets.
CONNECTIONS = 64
DEADLINE_S = 1.0

_CREDENTIALS = struct.Struct("=iII")  # struct ucred: pid, uid, gid


async def listen(gate: NotificationFilter, sockets: Sequence[socket.socket]) -> None:
    """
    Serve all sockets until cancelled; they stay open, for a reload to serve them again.

    Args:
        gate: Judges every message.
        sockets: Datagram sockets, and stream sockets that listen.
    """
    slots = anyio.Semaphore(affordable(CONNECTIONS))
    async with anyio.create_task_group() as group:
        for sock in sockets:
            if sock.type == socket.SOCK_DGRAM:
                group.start_soon(_serve_datagrams, sock, gate, name="hints")
            else:
                group.start_soon(_serve_streams, sock, gate, slots, name="hints-tcp")


async def _serve_datagrams(sock: socket.socket, gate: NotificationFilter) -> NoReturn:
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    while True:
        await anyio.wait_readable(sock)
        _drain(sock, gate)
        await anyio.lowlevel.checkpoint()  # what is readable still comes next, after whatever else is due


def _drain(sock: socket.socket, gate: NotificationFilter) -> None:
    for _ in range(BATCH):
        try:
            data, extra, flags, _ = sock.recvmsg(MESSAGE_LIMIT + 1, socket.CMSG_SPACE(_CREDENTIALS.size))
        except BlockingIOError:
            return
        uid = _sender(extra)
        if flags & socket.MSG_TRUNC:
            gate.reject("size", uid)
        else:
            gate.admit_local(data, uid)


def _sender(extra: list[tuple[int, int, bytes]]) -> int:
    for level, kind, content in extra:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
            uid: int = _CREDENTIALS.unpack(content)[1]
            return uid
    return 65534  # what the kernel says itself of a sender that it cannot name


async def _serve_streams(sock: socket.socket, gate: NotificationFilter, slots: anyio.Semaphore) -> None:
    acceptor = Acceptor(sock)
    async with anyio.create_task_group() as group:
        while True:
            # Not accepting is the limit: who waits in the kernel's queue has sent all, and is read later.
            await slots.acquire()
            connection, _ = await acceptor.accept()
            group.start_soon(_serve_connection, connection, gate, slots)


async def _serve_connection(
    connection: socket.socket, gate: NotificationFilter, slots: anyio.Semaphore
) -> None:
    try:
        with connection, anyio.move_on_after(DEADLINE_S) as deadline:
            data = await _read_message(connection)
            gate.admit_remote(data)
        if deadline.cancelled_caught:
            gate.reject("slow", TCP)
    except OSError:  # reset by the peer, or worse: nothing that we could do about it
        gate.reject("reset", TCP)
    finally:
        slots.release()


async def _read_message(connection: socket.socket) -> bytes:
    """Read up to the first newline, the end, or one byte more than is allowed."""
    data = b""
    while b"\n" not in data and len(data) <= MESSAGE_LIMIT:
        await anyio.wait_readable(connection)
        part = connection.recv(MESSAGE_LIMIT + 1 - len(data))
        if not part:
            break
        data += part
    return data
