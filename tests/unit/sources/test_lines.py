"""The listing gives back what was put into it, and is small."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from slurmsyncd.model import JobState, ListedJob
from slurmsyncd.sources.compact_job_list import CompactJobList

if TYPE_CHECKING:
    from collections.abc import Sequence

JOBS = st.builds(
    ListedJob,
    st.integers(1, 2**32 - 1),
    st.sampled_from(JobState),
    st.none() | st.integers(1, 2**62 - 1),
)


@given(st.lists(JOBS))
def test_what_is_listed_is_given_back_in_order(jobs: Sequence[ListedJob]) -> None:
    """Whatever ids, states and times parse to; and as often as one likes."""
    lines = CompactJobList()
    for job in jobs:
        lines.append(job)
    assert (len(lines), list(lines), list(lines)) == (len(jobs), jobs, jobs)
    assert all(job in lines for job in jobs)
    assert bool(lines) is bool(jobs)


def test_a_job_takes_a_few_bytes() -> None:
    """Of 100,000 jobs two megabytes stay, not thirteen."""
    tracemalloc.start()
    try:
        lines = CompactJobList()
        for number in range(20_000):
            lines.append(ListedJob(10**6 + number, JobState.RUNNING, 1_700_000_000 + number))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept / len(lines) < 25
