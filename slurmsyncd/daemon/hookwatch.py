"""Finds out whether hooks that are silent are configured at all, and says so."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread
import structlog

from slurmsyncd.errors import SourceUnavailable
from slurmsyncd.triggers.programs import notifies

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurmsyncd.config import HookConfig
    from slurmsyncd.pipeline.announced import NotificationMonitor
    from slurmsyncd.slurm.settings import SlurmSettings
    from slurmsyncd.sources.command_source import CommandSource

log = structlog.get_logger(__name__)

#: Seconds for which slurmctld's settings are believed: where no hook is set, and where one is silent.
_UNSET_S: Final = 3600.0
_SILENT_S: Final = 600.0


class HookWatch:
    """
    Watches the hooks of one cluster.

    slurmctld is asked for its settings only once polls have seen runs that no hint announced.

    Args:
        source: The cluster.
        announced: Its hooks.
        config: Where hints come in.
    """

    def __init__(self, source: CommandSource, announced: NotificationMonitor, config: HookConfig) -> None:
        self._source = source
        self._hooks = announced.hooks
        self._config = config
        self._ask_at = 0.0
        self._said: frozenset[str] = frozenset()

    async def run(self, every_s: float) -> None:
        """Look at an interval. Runs until cancelled."""
        while True:
            await anyio.sleep(every_s)
            await self.look()

    async def look(self) -> None:
        """Ask slurmctld if that is due, and log which hooks have fallen silent or are heard again."""
        if any(hook.suspect for hook in self._hooks) and time.monotonic() >= self._ask_at:
            try:
                await self._ask()
            except SourceUnavailable:
                return  # the polls say so
        self._say()

    async def _ask(self) -> None:
        settings = await self._source.settings()
        here = await self._come_here(settings)
        for hook in self._hooks:
            programs = settings.listed(hook.name)
            ours = hook.heard or await anyio.to_thread.run_sync(_any_notifies, programs)
            hook.expected = here and bool(programs) and ours
        again_s = _SILENT_S if any(hook.silent for hook in self._hooks) else _UNSET_S
        self._ask_at = time.monotonic() + again_s

    async def _come_here(self, settings: SlurmSettings) -> bool:
        """Return whether hints can come here: of several controllers only the active one runs hooks."""
        config = self._config
        local = bool(config.socket or config.spool)
        if config.listen or not local or len(settings.listed("SlurmctldHost")) < 2:
            return bool(config.listen) or local
        active = await self._source.active_controller()
        return active.partition(".")[0] == socket.gethostname().partition(".")[0]

    def _say(self) -> None:
        silent = {hook.name: hook for hook in self._hooks if hook.silent}
        for name, hook in silent.items():
            if name not in self._said:
                log.warning("hook_silent", unannounced=hook.unannounced, **self._names(name))
        for name in sorted(self._said - silent.keys()):
            log.info("hook_heard_again", **self._names(name))
        self._said = frozenset(silent)

    def _names(self, hook: str) -> dict[str, str]:
        return {"cluster": self._source.cluster, "hook": hook}


def _any_notifies(programs: Sequence[str]) -> bool:
    return any(map(notifies, programs))
