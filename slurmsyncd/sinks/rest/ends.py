"""
Compare how runs ended in a backend with what it was sent.

No request changes the end of a row that has ended. A stop that meets the commit tick may still write its end
into another row (race R1), and the daily walltime check ends rows with a duration of 0. A row whose archive
is missing cannot be listed: each page with it answers 500.

Source:
    Contract sections 5, 7, 8 and 17.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from slurmsyncd.delivery import Differing, Discrepancy, Outcome
from slurmsyncd.sinks.dialect import V1_4, Dialect

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from slurmsyncd.model import Job, RunKey
    from slurmsyncd.sinks.rest.listing import BackendListing, Shown

#: Starts that are further apart are listed by two requests. Rows of other runs in between cost the backend.
GAP_S: Final = 60


async def compare_ends(
    reading: BackendListing, stops: Mapping[RunKey, Job], dialect: Dialect
) -> Sequence[Differing] | Outcome:
    """
    Return the runs that the backend shows with another end than it was sent.

    Args:
        reading: Of the runs' cluster.
        stops: The end of each run, as it was sent.
        dialect: The backend's words for states.

    Returns:
        Differing and unreadable runs. A run that the backend does not have, or shows as running, is not
        among them. An Outcome: why the backend did not answer.
    """
    found: list[Differing] = []
    for keys in _together(stops):
        shown: dict[RunKey, Shown] = {}
        first, last = keys[0].start_at, keys[-1].start_at
        listed = await reading.ended(first, last, shown.update)
        if isinstance(listed, Outcome):
            return listed
        found += [
            Differing(key, Discrepancy.ENDED_OTHERWISE, detail)
            for key in keys
            if key in shown and (detail := _difference(stops[key], key, shown[key], dialect))
        ]
        if listed:
            missing = [key for key in keys if key not in shown]
            unreadable = await _unreadable(reading, missing)
            if isinstance(unreadable, Outcome):
                return unreadable
            found += unreadable
    return found


async def _unreadable(reading: BackendListing, missing: Iterable[RunKey]) -> list[Differing] | Outcome:
    """Return which of the missing runs began in a second that has a row that cannot be listed."""
    found = []
    skipped: dict[int, int] = {}
    for key in missing:
        if key.start_at not in skipped:
            listed = await reading.ended(key.start_at, key.start_at, lambda _: None)
            if isinstance(listed, Outcome):
                return listed
            skipped[key.start_at] = listed
        if skipped[key.start_at]:
            found.append(
                Differing(key, Discrepancy.UNREADABLE, "the backend answers 500 for each list with it")
            )
    return found


def _together(stops: Iterable[RunKey]) -> Iterator[Sequence[RunKey]]:
    """Return runs whose starts are so near to each other that one list shows them."""
    group: list[RunKey] = []
    for key in sorted(stops, key=lambda key: (key.start_at, key.job_id)):
        if group and key.start_at - group[-1].start_at > GAP_S:
            yield group
            group = []
        group.append(key)
    if group:
        yield group


def _difference(stop: Job, key: RunKey, shown: Shown, dialect: Dialect) -> str:
    """Return how the end differs, empty if it does not. A release may have been sent the words of 1.4."""
    if shown.running or stop.end_at is None:
        return ""
    words = {dialect.states.get(stop.state), V1_4.states.get(stop.state)}
    duration = max(stop.end_at - key.start_at, 0)
    if shown.state in words and shown.duration == duration:
        return ""
    sent = f"sent was {stop.state.value} after {duration} s"
    return f"the backend shows {shown.state[:40]!r} after {shown.duration} s, {sent}"
