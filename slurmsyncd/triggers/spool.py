"""
The directory where hooks in sh leave their hints (``hooks/slurmctld-hook.sh``): each is the name of a file.

A name is there at once and whole, and no file is ever opened here, so it does not matter what it is. Who left
it is the file's owner, as the kernel says. The directory is open only while a daemon runs, so that without
one no files gather.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import structlog

from slurmsyncd.errors import ConfigError
from slurmsyncd.host.owned import ensure_directory
from slurmsyncd.triggers.sockets import let_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

    from slurmsyncd.config import HookConfig
    from slurmsyncd.triggers.gate import Gate

log = structlog.get_logger(__name__)

KEY = "hook.spool"
#: Between two looks; a scan of an empty directory takes 5 µs.
SCAN_S = 1.0
#: Files that are taken before other tasks get their turn.
BATCH = 256
#: Slurm's group may put files in, and take away only its own; nobody else may look.
OURS, OPEN, SHUT = 0o700, 0o1730, 0o500


@contextmanager
def spool(hook: HookConfig) -> Iterator[None]:
    """
    Have the directory that the configuration names open for as long as the block lasts.

    Raises:
        ConfigError: It cannot be used; the message says what to do.
    """
    if not hook.spool:
        yield
        return
    path = Path(hook.spool)
    ensure_directory(path.parent, key=KEY)
    # One that a killed daemon left is open to Slurm's group.
    ensure_directory(path, key=KEY, mode=OURS, refused=0o002)
    try:
        path.chmod(OURS)
    except PermissionError as err:
        raise ConfigError([f"{KEY} = {path}: is not ours; give it to uid {os.geteuid()}"]) from err
    let_in(path, hook.allow_users, mode=OPEN)
    try:
        yield
    finally:
        with suppress(OSError):  # somebody took it away: no files gather there either
            path.chmod(SHUT)


async def watch(directory: str, gate: Gate) -> NoReturn:
    """Take what is left there, once a second, until cancelled."""
    said = False
    while True:
        try:
            await sweep(directory, gate)
            said = False
        except OSError as err:
            if not said:
                log.warning("hook_spool_unreadable", path=directory, reason=str(err))
            said = True
        await anyio.sleep(SCAN_S)


async def sweep(directory: str, gate: Gate) -> None:
    """
    Take all that is there, and bring it before the gate.

    Raises:
        OSError: The directory is not what it was.
    """
    with os.scandir(os.fsencode(directory)) as found:
        for count, entry in enumerate(found, 1):
            _take(entry, gate)
            if count % BATCH == 0:
                await anyio.lowlevel.checkpoint()


def _take(entry: os.DirEntry[bytes], gate: Gate) -> None:
    """Remove a file before its hint is heard: one that is left again meanwhile is heard again."""
    try:
        uid = entry.stat(follow_symlinks=False).st_uid
    except FileNotFoundError:
        return
    try:
        os.unlink(entry.path)  # noqa: PTH108 - names are bytes
    except OSError:  # a directory
        gate.refuse("spool", uid)
    else:
        gate.admit_local(b"slurmsyncd/1 " + entry.name.replace(b",", b" "), uid)
