"""
The directory where hooks in sh leave their hints (``hooks/slurmctld-hook.sh``): each is the name of a file.

A name is there at once and whole, and no file is ever opened here, so it does not matter what it is. Who left
it is the file's owner, as the kernel says. The directory is open only while a daemon runs, so that without
one no files gather.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import structlog

from slurmsyncd.errors import ConfigError
from slurmsyncd.host.directories import ensure_directory
from slurmsyncd.triggers.sockets import grant_group_access

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

    from slurmsyncd.config import HookConfig
    from slurmsyncd.triggers.notification_filter import NotificationFilter

log = structlog.get_logger(__name__)

KEY = "hook.spool"
#: Between two looks; a scan of an empty directory takes 5 µs.
SCAN_S = 1.0
#: Entries that are passed before other tasks get their turn.
BATCH = 256
#: Entries that one sweep removes, in 70 ms. Slurm starts fewer jobs a second; the others wait for the next.
MOST = 5000
#: Names that are remembered of entries that cannot be removed, up to 256 bytes each.
KNOWN = 5000
#: If entries cannot be removed, the pause is so many times as long as the sweep: 5 % of a core at most.
RESTS = 20.0
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
    grant_group_access(path, hook.allow_users, mode=OPEN)
    try:
        yield
    finally:
        with suppress(OSError):  # somebody took it away: no files gather there either
            path.chmod(SHUT)


class SpoolReader:
    """
    Removes what is found in the directory, and brings it before the gate.

    What cannot be removed, such as a directory with something in it, is named once and then passed over.
    """

    def __init__(self, directory: str, gate: NotificationFilter) -> None:
        self._directory = directory
        self._gate = gate
        self._stuck: set[bytes] = set()

    async def poll_spool(self) -> NoReturn:
        """Sweep once a second, until cancelled."""
        said = False
        while True:
            began = time.monotonic()
            try:
                await self.read_spool()
                said = False
            except OSError as err:
                if not said:
                    log.warning("hook_spool_unreadable", path=self._directory, reason=str(err))
                said = True
            took_s = time.monotonic() - began
            await anyio.sleep(max(SCAN_S, took_s * RESTS) if self._stuck else SCAN_S)

    async def read_spool(self) -> None:
        """
        Remove what is there, at most `MOST` entries.

        Raises:
            OSError: The directory is not what it was.
        """
        known, self._stuck = self._stuck, set()
        removed = 0
        with os.scandir(os.fsencode(self._directory)) as found:
            for count, entry in enumerate(found, 1):
                if entry.name in known:
                    self._stuck.add(entry.name)
                elif removed < MOST:
                    removed += 1
                    self._take(entry)
                if count % BATCH == 0:
                    await anyio.lowlevel.checkpoint()
        if self._stuck and not known:
            log.warning("hook_spool_obstructed", path=self._directory, entries=len(self._stuck))

    def _take(self, entry: os.DirEntry[bytes]) -> None:
        """Remove a file before its hint is heard: one that is left again meanwhile is heard again."""
        try:
            uid = entry.stat(follow_symlinks=False).st_uid
        except FileNotFoundError:
            return
        try:
            os.unlink(entry.path)  # noqa: PTH108 - names are bytes
        except OSError:
            self._gate.reject("spool", uid)
            self._remove_directory(entry)
        else:
            self._gate.admit_local(b"slurmsyncd/1 " + entry.name.replace(b",", b" "), uid)

    def _remove_directory(self, entry: os.DirEntry[bytes]) -> None:
        try:
            os.rmdir(entry.path)  # noqa: PTH106 - names are bytes
        except OSError:
            if len(self._stuck) < KNOWN:
                self._stuck.add(entry.name)
