"""Missing runs: open runs that Slurm no longer knows. Pure."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from slurmsyncd.planner.known_runs import MOVE_LIMIT_S, sighting_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from slurmsyncd.model import JobAnswers, JobQuestions, Observation, RunKey
    from slurmsyncd.planner.known_runs import Known, Sighting


def vanished(
    seen: Observation, asked: JobQuestions, answers: JobAnswers, known: Known, now: int
) -> frozenset[RunKey] | None:
    """
    Return the open runs that neither the controller nor accounting knows: purged, or hidden from the daemon.

    A missing run stays open, because only accounting ends a run. The operator should investigate.

    Returns:
        Keys of the missing runs; None if the controller or accounting did not answer, or accounting was not
        read up to ``now`` (epoch seconds).
    """
    if seen.job_list is None or seen.accounting_read_until is None or seen.accounting_read_until < now:
        return None
    if asked.accounting and answers.accounting is None:
        return None
    answered = asked.accounting - answers.left(asked).accounting
    missing = {key for key, end_at in known.items() if end_at is None and key.job_id in answered}
    starts = _starts(seen, answers, {key.job_id for key in missing})
    return frozenset(key for key in missing if not _is_near(key.start_at, starts.get(key.job_id, ())))


def _starts(seen: Observation, answers: JobAnswers, job_ids: Collection[int]) -> Mapping[int, list[int]]:
    found = defaultdict(list)
    for each in _sightings(seen, answers):
        if each.job_id in job_ids:
            found[each.job_id].append(each.start_at)
    return found


def _sightings(seen: Observation, answers: JobAnswers) -> Iterator[Sighting]:
    for item in seen.job_list or ():
        if item.start_at is not None:
            yield sighting_of(item)
    for job in (*seen.ended_runs, *(answers.accounting or ()), *(answers.details or ())):
        yield sighting_of(job)


def _is_near(start_at: int, starts: Collection[int]) -> bool:
    """Return whether one of ``starts`` may be the reported start, before or after it moved."""
    return any(abs(start_at - each) <= MOVE_LIMIT_S for each in starts)
