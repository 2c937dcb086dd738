"""Why nothing is known of a job, by what Slurm says of it."""

from __future__ import annotations

import pytest

from slurmsyncd.commands.job.explain_absence import explain_absence
from slurmsyncd.config import ClusterConfig, Config, DaemonConfig
from slurmsyncd.console.ask_slurm import Said
from slurmsyncd.control.store_requests import Totals
from slurmsyncd.model import Job, JobState, RunKey

NOW = 1_700_000_000
DAY_S = 86400


def run(end_at: int | None, *, start_at: int = NOW - 30 * DAY_S, cluster: str = "alpha") -> Job:
    """Return a run as Slurm shows it."""
    state = JobState.RUNNING if end_at is None else JobState.COMPLETED
    return Job(key=RunKey(cluster, 7, start_at), state=state, end_at=end_at)


@pytest.mark.parametrize(
    ("job", "says"),
    [
        (run(None, start_at=NOW - 5), "will be seen at the next look"),
        (run(NOW - 5), "not read up to there yet"),
        (run(NOW - 20 * DAY_S), "more than daemon.max_span (7 d) ago"),
        (run(NOW - 2 * DAY_S), "should have been seen"),
        (run(NOW - 5, cluster="beta"), "[clusters.beta] is not configured"),
    ],
)
def test_the_reason_is_the_one_that_applies(job: Job, says: str) -> None:
    """Too early, too late, too long ago, not ours; and what must not be, with how to have it read again."""
    config = Config(daemon=DaemonConfig(), clusters={"alpha": ClusterConfig(name="alpha")})
    totals = Totals(sinks={}, open_runs={}, cursors={"alpha": NOW - 60}, incident=None)
    said = [Said(cluster=job.key.cluster, controller=(), accounting=(job,))]
    (line,) = explain_absence(7, config, totals, said, running=True, now=float(NOW))
    assert says in line


@pytest.mark.parametrize(
    ("accounting", "says"), [((), "nothing is to be told"), (None, "did not answer for accounting")]
)
def test_no_answer_is_not_taken_for_a_word(accounting: tuple[Job, ...] | None, says: str) -> None:
    """That accounting is down proves nothing of the job."""
    totals = Totals(sinks={}, open_runs={}, cursors={}, incident=None)
    said = [Said(cluster="alpha", controller=None, accounting=accounting, trouble=("down",))]
    (line,) = explain_absence(7, Config(), totals, said, running=True, now=float(NOW))
    assert says in line
    assert ("nothing is to be told" in line) == (accounting is not None)
