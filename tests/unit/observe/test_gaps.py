"""What Prometheus is told of accounting that could not be read."""

from __future__ import annotations

from slurmsyncd.control.status import Status
from slurmsyncd.control.store_requests import Totals
from slurmsyncd.model import Gap
from slurmsyncd.observe.metrics import metrics


def test_the_seconds_that_are_skipped_are_a_gauge_of_each_cluster() -> None:
    """A cluster without a gap has none: an alert then ends by itself."""
    gaps = tuple(
        Gap(cluster="alpha", since=since, until=since + 60, reason="x", recorded_at=1.0)
        for since in (100, 300)
    )
    totals = Totals(sinks={}, open_runs={}, cursors={"alpha": 900, "beta": 970}, incident=None, gaps=gaps)
    lines = metrics(Status(now=1000.0, totals=totals)).decode().splitlines()
    assert 'slurmsyncd_accounting_gap_seconds{cluster="alpha"} 120.0' in lines
    assert 'slurmsyncd_accounting_gap_seconds{cluster="beta"} 0.0' in lines
    assert 'slurmsyncd_checkpoint_age_seconds{cluster="beta"} 30' in "\n".join(lines)
