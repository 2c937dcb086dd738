"""
Known runs, and which sightings belong to the same run. Pure.

A known run keeps the start under which it was first reported. Slurm may correct that start later, by minutes
if nodes had to boot (slurmctld then sets it to the end of the boot). A sighting under another start is
therefore not always another run. Three facts decide: runs of one job id never overlap, two of them never end
in the same second, and a requeue submits the job again. A run submitted after a known run began is a later
one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from slurmsyncd.model import Job, JobState, ListedJob, RunKey

if TYPE_CHECKING:
    from collections.abc import Sequence

#: When each known run ended (epoch seconds); None while it is open.
Known = Mapping[RunKey, int | None]

#: Maximum distance in seconds that a start can move, if accounting has no submit time.
MOVE_LIMIT_S = 3600


class Sighting(NamedTuple):
    """The fields that the job list and full records share. ``start_at`` is always set."""

    job_id: int
    start_at: int
    state: JobState
    end_at: int | None


def sighting_of(seen: ListedJob | Job) -> Sighting:
    """Return the identifying fields of a run that has started."""
    if isinstance(seen, Job):
        return Sighting(seen.key.job_id, seen.key.start_at, seen.state, seen.end_at)
    assert seen.start_at is not None
    return Sighting(seen.job_id, seen.start_at, seen.state, None)


def is_same_run(start_at: int, end_at: int | None, seen: Sighting) -> bool:
    """Return whether a sighting of the same id is the run from ``start_at`` to ``end_at`` (None: open)."""
    apart = abs(seen.start_at - start_at)
    return not apart or (end_at is not None and seen.end_at == end_at)


def may_be_moved(start_at: int, row: Job) -> bool:
    """Return whether accounting's row may be the run that was reported under the start ``start_at``."""
    if row.submit_at is None:
        return abs(row.key.start_at - start_at) <= MOVE_LIMIT_S
    return row.submit_at <= start_at


class KnownRunIndex:
    """The known runs by job id; grows while the planner processes an observation."""

    def __init__(self, known: Known) -> None:
        self._runs: dict[int, dict[int, int | None]] = defaultdict(dict)
        for key, end_at in known.items():
            self.note(key, end_at)

    def note(self, key: RunKey, end_at: int | None) -> None:
        """Add a run, or change its end (epoch seconds; None while it is open)."""
        self._runs[key.job_id][key.start_at] = end_at

    def open(self, job_id: int) -> Sequence[int]:
        """Return the starts of the open runs of a job id (epoch seconds)."""
        return [start for start, end in self._of(job_id).items() if end is None]

    def is_open(self, key: RunKey) -> bool:
        """Return whether exactly this run is known and has not ended."""
        return self._of(key.job_id).get(key.start_at, 0) is None

    def is_known(self, seen: Sighting) -> bool:
        """Return whether a sighting of the controller is a known run."""
        return any(is_same_run(start, end, seen) for start, end in self._of(seen.job_id).items())

    def is_ended(self, row: Job) -> bool:
        """Return whether accounting's row of an ended run is a known run that has ended."""
        seen = sighting_of(row)
        return any(
            is_same_run(start, end, seen) for start, end in self._of(seen.job_id).items() if end is not None
        )

    def move_candidates(self, row: Job) -> Sequence[int]:
        """
        Return the starts of the open runs that accounting's ended row may belong to, nearest first.

        A run that began at the end of the row, or later, is a different run.
        """
        at, end_at = row.key.start_at, row.end_at
        assert end_at is not None
        near = [s for s in self.open(row.key.job_id) if s < end_at and may_be_moved(s, row)]
        return sorted(near, key=lambda start: abs(start - at))

    def _of(self, job_id: int) -> Mapping[int, int | None]:
        return self._runs.get(job_id, {})
