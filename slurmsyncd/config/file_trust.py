"""Who else could write the configuration? It names programs that we run and files that we trust."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def trust_error(path: Path) -> Iterator[str]:
    """Return why a file or directory of the configuration cannot be trusted, if it cannot."""
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
