"""Permission check of the configuration, which names programs to run and files to trust."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def trust_error(path: Path) -> Iterator[str]:
    """Yield the reason why a file or directory of the configuration cannot be trusted, if there is one."""
    try:
        found = path.stat()
    except OSError:
        return  # said where it is read
    ours = {0, os.geteuid()}
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid not in ours:
        yield f"{path}: belongs to uid {found.st_uid}; uid {' or '.join(map(str, sorted(ours)))} is wanted"
    # The groups are root's and our own: whoever is in them can do worse.
    if mode & 0o002 or (mode & 0o020 and found.st_gid not in {0, os.getegid()}):
        yield f"{path}: has mode {mode:o}, so others can write it; mode {mode & ~0o022:o} is wanted"
