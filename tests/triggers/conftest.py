"""A daemon's hook side on real sockets."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from slurmsyncd.config import HookConfig
from slurmsyncd.triggers.hook import Hook, open_hook

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from slurmsyncd.model import Hint

SECRET = "sesame-sesame-00"


class Bell:
    """A running listener and the hints that got through."""

    def __init__(self, hints: list[Hint], hook: Hook, path: Path) -> None:
        self.hints = hints
        self.hook = hook
        self.path = path

    @property
    def port(self) -> int:
        return int(self.hook.sockets[-1].getsockname()[1])

    async def received(self, count: int) -> None:
        """Return when so many messages have come in, whatever became of them."""
        with anyio.fail_after(20):
            while self.hook.counts().received < count:
                await anyio.sleep(0.005)


@asynccontextmanager
async def listening(
    path: Path, *, inherited: Mapping[str, Any] | None = None, **settings: Any
) -> AsyncIterator[Bell]:
    hints: list[Hint] = []
    config = HookConfig(socket=f"unix:{path}", **{"allow_users": (), **settings})
    hook = open_hook(config, hints.append, inherited=inherited or {})
    async with anyio.create_task_group() as group:
        group.start_soon(hook.serve)
        yield Bell(hints, hook, path)
        group.cancel_scope.cancel()


@pytest.fixture
def secret_file(tmp_path: Path) -> str:
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")
    file.chmod(0o600)
    return str(file)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """Give a directory as /run/slurmsyncd is: ours, and open to look into. Its path is short enough for a socket."""
    found = tmp_path / "run"
    found.mkdir(mode=0o755)
    for parent in (tmp_path, *tmp_path.parents[:2]):
        if parent.owner() == found.owner() and parent.name.startswith(("pytest-", "test_")):
            parent.chmod(0o711)
    return found
