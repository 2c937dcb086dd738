"""Reads a secret from a file or a systemd credential. It appears in no message and no repr."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from slurmsyncd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Where the running service has its credentials, for commands that root or the daemon's user gives.
_CREDENTIALS = "/run/credentials/slurmsyncd.service"
#: Bytes; a JWT has a few hundred.
SIZE_LIMIT = 65536
#: Characters of a name that is shown. The secret itself, put there by mistake, is longer.
_NAME_LIMIT = 15


@dataclass(frozen=True, slots=True)
class Secret:
    """
    A secret and where it came from.

    Attributes:
        value: One word of visible ASCII.
        path: To look again when the file changes.
        warning: What is wrong with the file though it can be used; empty if nothing.
    """

    value: str = field(repr=False)
    path: Path
    warning: str = ""


def read_secret(name: str, *, key: str, minimum: int = 1, environ: Mapping[str, str] = os.environ) -> Secret:
    """
    Read a secret.

    Args:
        name: A path; or, without a slash, the name of a systemd credential (`LoadCredential=`).
        key: Setting that named it, for the message.
        minimum: Characters that it must have.
        environ: Says where systemd put the credentials.

    Raises:
        ConfigError: There is none, or it is no single word of visible ASCII.
    """
    text, path, warning = read_private(name, key=key, environ=environ)
    return Secret(_single_word(text, f"{key} = {path}", minimum), path, warning)


def read_private(name: str, *, key: str, environ: Mapping[str, str] = os.environ) -> tuple[bytes, Path, str]:
    """
    Read a file that nobody else should read; the arguments are those of ``read_secret``.

    Returns:
        What it holds, at most one byte more than ``SIZE_LIMIT``; where it is; and as ``Secret.warning``.

    Raises:
        ConfigError: There is none.
    """
    path = Path(name) if "/" in name else Path(environ.get("CREDENTIALS_DIRECTORY") or _CREDENTIALS) / name
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as err:
        raise ConfigError([_unreadable(name, key, path, err)]) from err
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise ConfigError([f"{_shown(name, key, path)}: is no file; name a file that holds the secret"])
        text = os.read(file, SIZE_LIMIT + 1)
    finally:
        os.close(file)
    return text, path, _exposure(path, found) if "/" in name else ""


def _unreadable(name: str, key: str, path: Path, err: OSError) -> str:
    if "/" in name or not isinstance(err, FileNotFoundError):
        return f"{_shown(name, key, path)}: cannot be read: {err.strerror}; create it, mode 600"
    known = name if len(name) <= _NAME_LIMIT else "NAME"
    return (
        f"{_shown(name, key, name)}: no such systemd credential; write a path, or add "
        f"LoadCredential={known}:/path with `systemctl edit slurmsyncd.service` and restart it"
    )


def _shown(name: str, key: str, value: object) -> str:
    """Return ``key = value`` for a message, or the key alone where the name may be the secret itself."""
    return f"{key} = {value}" if name.startswith("/") or len(name) <= _NAME_LIMIT else key


def _single_word(text: bytes, where: str, minimum: int) -> str:
    word = text.strip()
    if not word:
        raise ConfigError([f"{where}: is empty; put the secret there"])
    if len(text) > SIZE_LIMIT or not all(0x21 <= byte <= 0x7E for byte in word):
        raise ConfigError([f"{where}: is not one word of visible ASCII; put nothing but the secret there"])
    if len(word) < minimum:
        raise ConfigError([f"{where}: is too short; at least {minimum} characters are wanted"])
    return word.decode("ascii")


def _exposure(path: Path, found: os.stat_result) -> str:
    mode = found.st_mode
    # Of a systemd credential the group's bits are the mask of an ACL, so they say nothing there.
    if mode & 0o077:
        return f"{path} has mode {stat.S_IMODE(mode):o}: others can read or change the secret; chmod 600 it"
    # Root's commands read the secret of a daemon that runs as another user, who owns it.
    if os.geteuid() and found.st_uid not in {0, os.geteuid()}:
        return f"{path} belongs to uid {found.st_uid}, who can read and change the secret; chown it"
    return ""
