"""
Known runs, and which sightings are of one run. Pure.

A run is known by the start under which it was announced, for good. Slurm may correct that start later,
by minutes when its nodes had to boot (slurmctld then sets it to the end of the boot). So a sighting
under another start is not always another run. What decides is that runs of one job id never overlap, that two
of them never end in the same second, and that a requeue submits the job anew: what was submitted after a
run began is a later one.
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

#: Where accounting does not say when a run was submitted, its start moves no further than this.
MOVE_LIMIT_S = 3600


class Sighting(NamedTuple):
    """What the controller's listing and records have in common. ``start_at`` is set."""

    job_id: int
    start_at: int
    state: JobState
    end_at: int | None


def sighting_of(seen: ListedJob | Job) -> Sighting:
    """Return what identifies a run that has started."""
    if isinstance(seen, Job):
        return Sighting(seen.key.job_id, seen.key.start_at, seen.state, seen.end_at)
    assert seen.start_at is not None
    return Sighting(seen.job_id, seen.start_at, seen.state, None)


def is_same_run(start_at: int, end_at: int | None, seen: Sighting) -> bool:
    """Return whether a sighting of the same id is of the run from ``start_at`` to ``end_at`` (None: open)."""
    apart = abs(seen.start_at - start_at)
    return not apart or (end_at is not None and seen.end_at == end_at)


def may_be_moved(start_at: int, row: Job) -> bool:
    """Return whether accounting's row may be of the run that was announced under another start."""
    if row.submit_at is None:
        return abs(row.key.start_at - start_at) <= MOVE_LIMIT_S
    return row.submit_at <= start_at


class KnownRunIndex:
    """Known runs by job id; grows while a look is judged."""

    def __init__(self, known: Known) -> None:
        self._runs: dict[int, dict[int, int | None]] = defaultdict(dict)
        for key, end_at in known.items():
            self.note(key, end_at)

    def note(self, key: RunKey, end_at: int | None) -> None:
        """Know of a run."""
        self._runs[key.job_id][key.start_at] = end_at

    def open(self, job_id: int) -> Sequence[int]:
        """Return the starts of the id's open runs."""
        return [start for start, end in self._of(job_id).items() if end is None]

    def is_open(self, key: RunKey) -> bool:
        """Return whether this very run is known and has not ended."""
        return self._of(key.job_id).get(key.start_at, 0) is None

    def is_known(self, seen: Sighting) -> bool:
        """Return whether what the controller shows is a known run."""
        return any(is_same_run(start, end, seen) for start, end in self._of(seen.job_id).items())

    def is_ended(self, row: Job) -> bool:
        """Return whether accounting's row of an ended run is of one that is known to have ended."""
        seen = sighting_of(row)
        return any(
            is_same_run(start, end, seen) for start, end in self._of(seen.job_id).items() if end is not None
        )

    def move_candidates(self, row: Job) -> Sequence[int]:
        """
        Return the starts of open runs that accounting's row of an ended run may be of, nearest first.

        A run that began when the row's ended, or later, is another one.
        """
        at, end_at = row.key.start_at, row.end_at
        assert end_at is not None
        near = [s for s in self.open(row.key.job_id) if s < end_at and may_be_moved(s, row)]
        return sorted(near, key=lambda start: abs(start - at))

    def _of(self, job_id: int) -> Mapping[int, int | None]:
        return self._runs.get(job_id, {})
