"""
What systemd is told of us, and the sockets that it hands over. Without systemd all of it does nothing.

Source:
    sd_notify(3), sd_listen_fds(3)
"""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableMapping

_FIRST_FD = 3


class ServiceManager:
    """
    The service manager that started us, if one did.

    Args:
        environ: Read once and cleaned, so that no command that we start takes itself for the daemon.

    Attributes:
        watchdog_s: Seconds between two pings: half of what systemd allows. None: no watchdog.
    """

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        self._address = environ.pop("NOTIFY_SOCKET", "")
        self.watchdog_s = _watchdog(environ)

    def __bool__(self) -> bool:
        return bool(self._address)

    def ready(self, status: str = "") -> None:
        """Say that the loops run: after a start, and after a reload."""
        self._tell("READY=1", *_status(status))

    def status(self, text: str) -> None:
        """Set the line that `systemctl status` shows."""
        self._tell(*_status(text))

    def reloading(self) -> None:
        """Say that the configuration is read again; ``ready`` ends it."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, extend_s: float, status: str = "") -> None:
        """Say that we stop, and need up to ``extend_s`` from now; repeat it to get more."""
        self._tell("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int(extend_s * 1e6)}", *_status(status))

    def ping_watchdog(self) -> None:
        """Ping the watchdog."""
        if self.watchdog_s is not None:
            self._tell("WATCHDOG=1")

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            # Bounded, since the event loop waits for it. A manager that does not listen is not our trouble.
            sock.settimeout(0.2)
            try:
                sock.sendto("\n".join(lines).encode(), address)
            except OSError:
                return


def inherited_sockets(environ: MutableMapping[str, str] = os.environ) -> dict[str, socket.socket]:
    """
    Take over the sockets of socket activation.

    Returns:
        FileDescriptorName → socket, not inheritable any more; the first of equal names.
    """
    pid = environ.pop("LISTEN_PID", "")
    count = environ.pop("LISTEN_FDS", "")
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()) or not count.isdecimal():
        return {}
    found: dict[str, socket.socket] = {}
    for index in range(int(count)):
        sock = socket.socket(fileno=_FIRST_FD + index)
        sock.set_inheritable(False)
        found.setdefault(names[index] if index < len(names) else "unknown", sock)
    return found


def _status(text: str) -> tuple[str, ...]:
    return (f"STATUS={' '.join(text.split())}",) if text else ()


def _watchdog(environ: MutableMapping[str, str]) -> float | None:
    allowed_us = environ.pop("WATCHDOG_USEC", "")
    pid = environ.pop("WATCHDOG_PID", str(os.getpid()))
    if pid != str(os.getpid()) or not allowed_us.isdecimal() or int(allowed_us) == 0:
        return None
    return int(allowed_us) / 2e6
