"""Hypothesis builders for the model."""

from __future__ import annotations

from hypothesis import strategies as st

from slurmsyncd.model import Gres, Job, JobState, NodeAllocation, RunKey, Sharing
from tests.fakes import CLUSTER, NOW

TEXT = st.sampled_from(["", "ada", "bob", "a b\n\x1b"])
TIMES = st.integers(NOW - 10_000, NOW)


def keys() -> st.SearchStrategy[RunKey]:
    return st.builds(RunKey, st.just(CLUSTER), st.integers(1, 2**31), TIMES)


def allocations() -> st.SearchStrategy[tuple[NodeAllocation, ...]]:
    gres = st.builds(Gres, st.just("gpu"), st.none() | st.just("a100"), st.integers(1, 4))
    node = st.builds(
        NodeAllocation, st.sampled_from(["n1", "n2"]), st.just(((0, 0), (1, 3))), gres=st.tuples(gres)
    )
    return st.lists(node, min_size=1, max_size=2).map(tuple)


def jobs() -> st.SearchStrategy[Job]:
    return st.builds(
        Job,
        key=keys(),
        state=st.sampled_from(JobState),
        user=TEXT,
        account=TEXT,
        end_at=st.none() | TIMES,
        time_limit_s=st.none() | st.integers(1, 10**6),
        nodes=st.sampled_from([(), ("n1",), ("n1", "n2")]),
        sharing=st.none() | st.sampled_from(Sharing),
        allocation=st.none() | allocations(),
        script=st.none() | st.just("#!/bin/sh\n"),
    )
