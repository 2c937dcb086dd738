"""
Priorities of the lines that systemd's journal keeps.

Source:
    sd-daemon(3), JOURNAL_STREAM in systemd.exec(5)
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

_PRIORITIES: Final = {"debug": "<7>", "info": "<6>", "warning": "<4>", "error": "<3>", "critical": "<2>"}


def is_journal(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether a stream is the journal itself; a redirected program inherits the variable as well."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):  # no file, or a closed one
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def with_priority(text: str, level: str) -> str:
    """Return a text with the priority of a log level before each line: the journal makes an entry of each."""
    mark = _PRIORITIES[level]
    return mark + text.replace("\n", f"\n{mark}")
