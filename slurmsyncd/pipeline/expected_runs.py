"""Runs that a sink should have, ticked off page by page. Pure."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from slurmsyncd.model import RunKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class ExpectedRuns:
    """
    Runs of one cluster: 17 bytes of each are kept, not 170, since nearly all are ticked off soon.

    Args:
        cluster: Slurm's name.
        runs: Start and job id of each, in order.
    """

    def __init__(self, cluster: str, runs: Iterable[tuple[int, int]] = ()) -> None:
        self._cluster = cluster
        self._starts, self._ids = array("q"), array("q")
        for start_at, job_id in runs:
            self._starts.append(start_at)
            self._ids.append(job_id)
        self._found = bytearray(len(self._ids))

    def remove_found(self, keys: Iterable[RunKey]) -> None:
        """Note that these are there; others may be among them."""
        for key in keys:
            first, end = bisect_left(self._starts, key.start_at), bisect_right(self._starts, key.start_at)
            at = bisect_left(self._ids, key.job_id, first, end)
            if at < end and self._key(at) == key:
                self._found[at] = True

    def __iter__(self) -> Iterator[RunKey]:
        """Yield the runs that were not found, in order of their starts."""
        return (self._key(at) for at, found in enumerate(self._found) if not found)

    def _key(self, at: int) -> RunKey:
        return RunKey(self._cluster, self._ids[at], self._starts[at])
