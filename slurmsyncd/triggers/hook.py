"""The hook's side of the daemon in one piece: configuration in, hints out."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from slurmsyncd.errors import ConfigError
from slurmsyncd.host.secretfile import read_secret
from slurmsyncd.triggers.gate import Gate
from slurmsyncd.triggers.listener import listen
from slurmsyncd.triggers.sockets import allowed_uids, open_datagram_socket, open_stream_sockets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from slurmsyncd.config import HookConfig
    from slurmsyncd.model import Hint
    from slurmsyncd.triggers.gate import HintCounts

log = structlog.get_logger(__name__)

#: FileDescriptorName of slurmsyncd.socket.
SYSTEMD_NAME = "hook"
#: Characters of the shared secret: nobody should guess it in a lifetime.
SECRET_MINIMUM = 16


@dataclass(frozen=True, slots=True)
class Hook:
    """
    Open sockets and the gate behind them.

    Attributes:
        sockets: Datagram sockets and listening stream sockets.
        made: The UNIX socket that we made and remove; None if systemd made it, or there is none.
    """

    gate: Gate
    sockets: tuple[socket.socket, ...]
    made: Path | None = None

    def counts(self) -> HintCounts:
        """Give what came in so far."""
        return self.gate.counts()

    async def serve(self) -> None:
        """Read hints until cancelled, then close the sockets."""
        try:
            await listen(self.gate, self.sockets)
        finally:
            if self.made:
                self.made.unlink(missing_ok=True)


def open_hook(
    hook: HookConfig, on_hint: Callable[[Hint], None], *, inherited: Mapping[str, socket.socket]
) -> Hook:
    """
    Open what the configuration names.

    Args:
        hook: The ``[hook]`` section.
        on_hint: Called for each accepted hint; whether its cluster is one of ours is for it to say.
        inherited: From ``inherited_sockets``; the one called ``hook`` takes the place of ``hook.socket``.

    Raises:
        ConfigError: A socket cannot be had, or TCP was asked for without a secret.
        AlreadyRunning: Somebody listens on the UNIX socket.
    """
    secret = _secret(hook)
    gate = Gate(on_hint, uids=allowed_uids(hook.allow_users), secret=secret)
    given = inherited.get(SYSTEMD_NAME)
    if given is not None and (given.family, given.type) != (socket.AF_UNIX, socket.SOCK_DGRAM):
        raise ConfigError(["slurmsyncd.socket: is no ListenDatagram= on a path; correct the unit"])
    streams = [sock for address in hook.listen for sock in open_stream_sockets(address)]
    if given is not None:
        return Hook(gate, (given, *streams))
    if not hook.socket:
        return Hook(gate, tuple(streams))
    made = open_datagram_socket(hook.socket, hook.allow_users)
    return Hook(gate, (made, *streams), Path(made.getsockname()))


def _secret(hook: HookConfig) -> str:
    if not hook.listen:
        return ""
    if not hook.secret_file:
        raise ConfigError(["hook.secret_file: is missing; hook.listen needs a file with a shared secret"])
    secret = read_secret(hook.secret_file, key="hook.secret_file", minimum=SECRET_MINIMUM)
    if secret.warning:
        log.warning("secret_exposed", key="hook.secret_file", reason=secret.warning)
    return secret.value
