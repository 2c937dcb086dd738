"""The controller's listing without an object for each job. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from slurmsyncd.model import JobState, ListedJob

if TYPE_CHECKING:
    from collections.abc import Iterator

_STATES: Final = tuple(JobState)
_CODES: Final = {state: code for code, state in enumerate(_STATES)}


class CompactJobList(Collection[ListedJob]):
    """Jobs as listed: 17 bytes of each are kept, not 130, since of most of them nothing is to be judged."""

    def __init__(self) -> None:
        self._ids = array("Q")
        self._starts = array("Q")  # 0: never started
        self._states = bytearray()

    def append(self, job: ListedJob) -> None:
        """Add a job."""
        self._ids.append(job.job_id)
        self._starts.append(job.start_at or 0)
        self._states.append(_CODES[job.state])

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[ListedJob]:
        for job_id, code, start_at in zip(self._ids, self._states, self._starts, strict=True):
            yield ListedJob(job_id, _STATES[code], start_at or None)

    def __contains__(self, job: object) -> bool:
        return any(job == each for each in self)
