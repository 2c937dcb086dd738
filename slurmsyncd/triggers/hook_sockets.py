"""The hook's side of the daemon, as the configuration asks for it."""

from __future__ import annotations

import socket
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from slurmsyncd.errors import ConfigError
from slurmsyncd.host.secret_file import read_secret
from slurmsyncd.triggers.notification_filter import NotificationFilter
from slurmsyncd.triggers.sockets import allowed_uids, open_datagram_socket, open_stream_sockets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from slurmsyncd.config import HookConfig
    from slurmsyncd.model import Notification

log = structlog.get_logger(__name__)

#: FileDescriptorName of slurmsyncd.socket.
SYSTEMD_NAME = "hook"
#: Characters of the shared secret: nobody should guess it in a lifetime.
SECRET_MINIMUM = 16


@contextmanager
def open_hook_sockets(
    hook: HookConfig, inherited: Mapping[str, socket.socket]
) -> Iterator[tuple[socket.socket, ...]]:
    """
    Open what the configuration names; close it at the end, and remove what we made.

    Args:
        hook: The ``[hook]`` section.
        inherited: From ``inherited_sockets``; the one called ``hook`` takes the place of ``hook.socket``
            and stays systemd's to remove.

    Raises:
        ConfigError: A socket cannot be had.
        AlreadyRunning: Somebody listens on the UNIX socket.
    """
    with ExitStack() as stack:
        sockets: list[socket.socket] = []
        given = inherited.get(SYSTEMD_NAME)
        if given is not None:
            sockets.append(stack.enter_context(given))
            if (given.family, given.type) != (socket.AF_UNIX, socket.SOCK_DGRAM):
                raise ConfigError(["slurmsyncd.socket: is no ListenDatagram= on a path; correct the unit"])
        elif hook.socket:
            made = stack.enter_context(open_datagram_socket(hook.socket, hook.allow_users))
            stack.callback(Path(made.getsockname()).unlink, missing_ok=True)
            sockets.append(made)
        for address in hook.listen:
            sockets.extend(stack.enter_context(sock) for sock in open_stream_sockets(address))
        yield tuple(sockets)


def build_filter(hook: HookConfig, on_hint: Callable[[Notification], None]) -> NotificationFilter:
    """
    Build the gate that the configuration asks for.

    Args:
        hook: The ``[hook]`` section.
        on_hint: Called for each accepted hint; whether its cluster is one of ours is for it to say.

    Raises:
        ConfigError: TCP was asked for without a usable secret.
    """
    return NotificationFilter(on_hint, uids=allowed_uids(hook.allow_users), secret=_secret(hook))


def _secret(hook: HookConfig) -> str:
    if not hook.listen:
        return ""
    if not hook.secret_file:
        raise ConfigError(["hook.secret_file: is missing; hook.listen needs a file with a shared secret"])
    secret = read_secret(hook.secret_file, key="hook.secret_file", minimum=SECRET_MINIMUM)
    if secret.warning:
        log.warning("secret_exposed", key="hook.secret_file", reason=secret.warning)
    return secret.value
