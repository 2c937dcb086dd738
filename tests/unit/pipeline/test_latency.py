"""How long it took, in buckets."""

from __future__ import annotations

import pytest

from slurmsyncd.model import EventKind, OutboxEntry, Trigger
from slurmsyncd.pipeline.latency import BOUNDS, Histogram, Latency
from tests.unit.store.builders import key, running


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0.0, 0), (0.1, 0), (0.11, 1), (1e9, len(BOUNDS)), (-5.0, 0)]
)
def test_each_goes_into_one_bucket(seconds: float, bucket: int) -> None:
    """A bound counts itself; what is longer than all goes last; a clock that was set back counts as nothing."""
    histogram = Histogram()
    histogram.observe(seconds)
    assert [at for at, count in enumerate(histogram.counts) if count] == [bucket]
    assert histogram.sum_s == max(0.0, seconds)


def test_steps_and_triggers_are_apart() -> None:
    """And an entry of which it is not known when it was seen is not counted."""
    latency = Latency()
    seen = OutboxEntry(
        id=1, sink="a", kind=EventKind.STOP, start=running(key(1)), recorded_at=100.0, trigger=Trigger.HOOK
    )
    latency.note(seen, 101.5)
    latency.note(OutboxEntry(id=2, sink="a", kind=EventKind.START, start=running(key(1))), 101.5)
    assert list(latency.histograms) == [("stop", "hook")]
    assert latency.histograms["stop", "hook"].sum_s == 1.5
    assert (latency.of("stop").sum_s, sum(latency.of("stop").counts)) == (1.5, 1)
    assert (latency.of("start").sum_s, sum(latency.of("start").counts)) == (0, 0)
