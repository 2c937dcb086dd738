"""A daemon's hook side on real sockets."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio

from slurmsyncd.config import HookConfig
from slurmsyncd.triggers.hook_sockets import build_filter, open_hook_sockets
from slurmsyncd.triggers.listener import listen

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from slurmsyncd.model import Notification
    from slurmsyncd.triggers.notification_filter import NotificationFilter

SECRET = "sesame-sesame-00"


class Bell:
    """A running listener and the hints that got through."""

    def __init__(
        self,
        hints: list[Notification],
        gate: NotificationFilter,
        sockets: tuple[socket.socket, ...],
        path: Path,
    ) -> None:
        self.hints = hints
        self.gate = gate
        self.sockets = sockets
        self.path = path

    @property
    def port(self) -> int:
        return int(self.sockets[-1].getsockname()[1])

    async def received(self, count: int) -> None:
        """Wait until ``count`` messages were received, accepted or not."""
        with anyio.fail_after(20):
            while self.gate.counts().received < count:  # noqa: ASYNC110 - the daemon has no need of an event here
                await anyio.sleep(0.005)


@asynccontextmanager
async def listening(
    path: Path, *, inherited: Mapping[str, Any] | None = None, **settings: Any
) -> AsyncIterator[Bell]:
    hints: list[Notification] = []
    config = HookConfig(socket=f"unix:{path}", **{"allow_users": (), **settings})
    gate = build_filter(config, hints.append)
    with open_hook_sockets(config, inherited or {}) as sockets:
        async with anyio.create_task_group() as group:
            group.start_soon(listen, gate, sockets)
            yield Bell(hints, gate, sockets, path)
            group.cancel_scope.cancel()


def write_secret(directory: Path) -> str:
    """Return the path of a file with SECRET."""
    file = directory / "secret"
    file.write_text(SECRET + "\n")
    file.chmod(0o600)
    return str(file)


def make_run_dir(directory: Path) -> Path:
    """Make a directory as /run/slurmsyncd is: ours, and others may look into it (and get there)."""
    found = directory / "run"
    found.mkdir(mode=0o755)
    for parent in (directory, *directory.parents[:2]):
        if parent.owner() == found.owner() and parent.name.startswith(("pytest-", "test_")):
            parent.chmod(0o711)
    return found
