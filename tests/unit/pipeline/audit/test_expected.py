"""Ticking off runs behaves like a set of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from slurmsyncd.model import RunKey
from slurmsyncd.pipeline.expected_runs import ExpectedRuns

RUNS = st.frozensets(st.tuples(st.integers(1, 9), st.integers(1, 9)))  # start and job id
PAGES = st.lists(st.frozensets(st.tuples(st.integers(0, 10), st.integers(0, 10))))


@given(RUNS, PAGES)
def test_what_no_page_shows_is_left(
    runs: frozenset[tuple[int, int]], pages: list[frozenset[tuple[int, int]]]
) -> None:
    """Whatever pages come, in whatever order and more than once: left is what none had, by its start."""
    expected = ExpectedRuns("alpha", sorted(runs))

    for page in pages:
        expected.remove_found(RunKey("alpha", job_id, start_at) for start_at, job_id in page)

    assert [(key.start_at, key.job_id) for key in expected] == sorted(runs.difference(*pages))


def test_a_run_of_another_cluster_ticks_off_none() -> None:
    """The same id and start is another run there."""
    expected = ExpectedRuns("alpha", [(1, 2)])

    expected.remove_found([RunKey("beta", 2, 1)])

    assert list(expected) == [RunKey("alpha", 2, 1)]
