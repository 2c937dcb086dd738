"""The statistics of slurmctld that sdiag prints to any user. Pure."""

from __future__ import annotations

import re
from typing import Final

#: Source: sdiag, 22.05 to 26.05, all in the same words; its ``--json`` is missing in 22.05.
_QUEUED: Final = re.compile(r"^DBD Agent queue size:[ \t]*([0-9]{1,10})[ \t]*$", re.ASCII | re.MULTILINE)


def counted_messages(text: str) -> int | None:
    """
    Return how many messages slurmctld holds for slurmdbd, None if the text does not say.

    A message is counted until slurmdbd has acknowledged it. Source: Slurm's slurmdbd_agent.c, 22.05 to 25.11.
    """
    found = _QUEUED.findall(text)
    return int(found[0]) if len(found) == 1 else None
