"""The user that the daemon runs as, whoever runs the command."""

from __future__ import annotations

import os
import pwd
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from slurmsyncd.config import Config

#: ``User=`` in systemd/slurmsyncd.service.
_UNITS_USER: Final = "slurmsyncd"


def daemons_uid(config: Config) -> int:
    """Return the uid of this process; for root that of the state's owner, or else of the unit's user."""
    uid = os.geteuid()
    if uid == 0:
        with suppress(KeyError):
            uid = pwd.getpwnam(_UNITS_USER).pw_uid
        with suppress(OSError):
            uid = config.daemon.state_dir.stat().st_uid
    return uid


def user_name(uid: int) -> str:
    """Return the name of a user, or its uid as text if it has no name."""
    with suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return str(uid)
