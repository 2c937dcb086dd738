"""Is a directory safe to keep our files in? Checks, and creates what is missing."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from slurmsyncd.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def ensure_directory(path: Path, *, key: str, mode: int = 0o755, refused: int = 0o022) -> None:
    """
    Make sure that a directory exists and that nobody else can put files into it.

    Args:
        path: The directory; created with ``mode`` if only itself is missing.
        key: Setting that named it, for the message.
        mode: 0o700 for what is private to the daemon, 0o755 for what others may look into.
        refused: Rights of group and others with which it is refused.

    Raises:
        ConfigError: It is a symbolic link, no directory, not ours, or open to others.
    """
    try:
        path.mkdir(mode=mode)
    except FileExistsError:
        pass
    except OSError as err:
        raise ConfigError([f"{key} = {path}: cannot be created: {err.strerror}; create it"]) from err
    found = path.lstat()
    wanted = f"wanted: a directory of uid {os.geteuid()} with mode {mode:o}"
    if stat.S_ISLNK(found.st_mode):
        raise ConfigError([f"{key} = {path}: is a symbolic link; name its target ({wanted})"])
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigError([f"{key} = {path}: is no directory; {wanted}"])
    # Root could do anything anyway; and systemd or a package may own the place that we are let into.
    if found.st_uid not in {os.geteuid(), 0}:
        raise ConfigError([f"{key} = {path}: belongs to uid {found.st_uid}; {wanted}"])
    if found.st_mode & refused:
        raise ConfigError([f"{key} = {path}: has mode {stat.S_IMODE(found.st_mode):o}; {wanted}"])
