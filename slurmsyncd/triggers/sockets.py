"""
Opens the sockets that hints come in by, and refuses places where others could put one.

Who may write to the UNIX socket is decided twice: by its mode (owner and the group of Slurm's user) and,
message by message, by the sender's uid.
"""

from __future__ import annotations

import os
import pwd
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from slurmsyncd.errors import AlreadyRunning, ConfigError
from slurmsyncd.host.directories import ensure_directory

if TYPE_CHECKING:
    from collections.abc import Sequence

log = structlog.get_logger(__name__)

KEY = "hook.socket"


def allowed_uids(users: Sequence[str]) -> frozenset[int]:
    """Return the accepted senders: uid 0, the daemon's uid and those of ``users`` (names or numbers)."""
    uids = {0, os.geteuid()}
    for user in users:
        found = _user(user)
        if found is None:
            log.warning("hook_user_unknown", user=user, remedy="create it or correct hook.allow_users")
        else:
            uids.add(found.pw_uid)
    return frozenset(uids)


def open_datagram_socket(address: str, users: Sequence[str] = ()) -> socket.socket:
    """
    Make the UNIX datagram socket. Its directory must be ours, and what is in its place must be our own.

    Args:
        address: ``unix:/path`` or the path.
        users: The group of the first of them that exists may write to the socket.

    Raises:
        ConfigError: The place cannot be used; the message says what to do.
        AlreadyRunning: Somebody listens there.
    """
    path = Path(address.removeprefix("unix:"))
    if not path.is_absolute():
        raise ConfigError([f"{KEY} = {address}: must be unix: and an absolute path"])
    ensure_directory(path.parent, key=KEY)
    _clear(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    mask = os.umask(0o177)  # nobody else gets in before the group is set
    try:
        sock.bind(str(path))
    except OSError as err:
        sock.close()
        raise ConfigError([f"{KEY} = {path}: cannot be bound: {err}; choose another path"]) from err
    finally:
        os.umask(mask)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    grant_group_access(path, users, mode=0o660)
    return sock


def open_stream_sockets(address: str) -> list[socket.socket]:
    """
    Listen on ``tcp:host:port`` or ``tcp:[::1]:port``; on each address that the host has.

    Raises:
        ConfigError: The address makes no sense here.
    """
    host, _, port = address.removeprefix("tcp:").rpartition(":")
    key = f"hook.listen = {address}"
    host = host.removeprefix("[").removesuffix("]")
    if not (address.startswith("tcp:") and host and port.isdecimal() and int(port) < 65536):
        raise ConfigError([f"{key}: must be tcp:host:port or tcp:[address]:port"])
    sockets: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, where in dict.fromkeys((family, where) for family, _, _, _, where in found):
            sockets.append(socket.create_server((str(where[0]), int(where[1])), family=family, backlog=512))
    except OSError as err:
        for sock in sockets:
            sock.close()
        raise ConfigError([f"{key}: cannot listen: {err}; choose an address of this host"]) from err
    return sockets


def grant_group_access(path: Path, users: Sequence[str], *, mode: int) -> None:
    """Give the socket to the group of the first user that exists, with this mode; else leave it unchanged."""
    slurm = next((found for user in users if (found := _user(user))), None)
    if slurm is None or slurm.pw_uid == os.geteuid():
        return
    try:
        os.chown(path, -1, slurm.pw_gid)
        path.chmod(mode)
    except PermissionError:
        log.warning(
            "hook_socket_closed_to_slurm",
            path=str(path),
            user=slurm.pw_name,
            remedy="use slurmsyncd.socket, or add the daemon's user to Slurm's group",
        )


def _clear(path: Path) -> None:
    """Remove what a daemon before us left; nothing else."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
        owner = f"is no socket of ours (owner: uid {found.st_uid})"
        raise ConfigError([f"{KEY} = {path}: {owner}; remove it or choose another path"])
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink()
            return
    raise AlreadyRunning(f"another program listens on {path}; stop it, or choose another {KEY}")


def _user(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except (KeyError, OverflowError):
        return None
