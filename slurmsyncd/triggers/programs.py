"""Whether a program that slurmctld runs as a hook is one that notifies the daemon."""

from __future__ import annotations

from pathlib import Path
from typing import Final

#: Words of the path or the text of a hook that notifies; those in hooks/ have the first one in their text.
_WORDS: Final = (b"slurmsyncd/", b"slurmsyncd ", b"slurmctld-hook")
#: Bytes of a program that are searched.
_SEARCHED: Final = 65536


def notifies(program: str) -> bool:
    """
    Return whether a hook is one of hooks/, or a script that names one.

    A site may run hooks that have nothing to do with the daemon, and the file may be on another host: then
    only its name can tell.
    """
    text = program.encode("utf-8", "surrogateescape")
    try:
        with Path(program).open("rb") as file:
            text += file.read(_SEARCHED)
    except (OSError, ValueError):
        pass
    return any(word in text for word in _WORDS)
