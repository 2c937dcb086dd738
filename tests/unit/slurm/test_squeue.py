from __future__ import annotations

import pytest

from slurmsyncd.errors import DecodeError
from slurmsyncd.model import JobState, ListedJob
from slurmsyncd.slurm.job_list import WIDTH, listing_format, read_listed_job

NOW = 1_795_237_270


def read(*row: str) -> tuple[ListedJob, str]:
    return read_listed_job(row, now=NOW)


def test_the_format_ends_every_column_with_the_token() -> None:
    """A row ends with the token, too, so that a cut one is seen."""
    form = listing_format("f00f")
    assert form == "%Af00f%Tf00f%Sf00f%ef00f%Nf00f"
    assert form.count("f00f") == WIDTH


def test_a_running_job_holds_nodes() -> None:
    """Id, state, start and the nodes that it holds."""
    listed, nodes = read("7", "RUNNING", "1795237255", "1795409701", "n[1-2]")
    assert listed == ListedJob(7, JobState.RUNNING, 1795237255)
    assert nodes == "n[1-2]"


def test_s23_a_forecast_is_no_start() -> None:
    """A waiting job has not started, whatever start is written there."""
    for start in ("1795409701", "N/A"):
        assert read("7", "PENDING", start, "1795582501", "") == (ListedJob(7, JobState.PENDING, None), "")


def test_a_job_that_is_over_holds_nothing() -> None:
    """Its nodes are free."""
    assert read("7", "COMPLETED", "1795237255", "1795237260", "n1") == (
        ListedJob(7, JobState.COMPLETED, 1795237255),
        "",
    )


def test_s23_a_job_cancelled_while_it_waited_never_started() -> None:
    """Slurm then prints the time of the cancellation as its start; it never had nodes."""
    assert read("7", "CANCELLED", "1795237260", "1795237260", "")[0] == ListedJob(7, JobState.CANCELLED, None)


@pytest.mark.parametrize("end", ["N/A", "1795410066"])
def test_a_requeued_job_waits_while_its_nodes_are_cleared(end: str) -> None:
    """Real 22.05 writes N/A then, JSON a forecast."""
    assert read("7", "COMPLETING", "1795237266", end, "n2") == (ListedJob(7, JobState.PENDING, None), "")


def test_a_completing_job_is_listed_with_its_start() -> None:
    """Its nodes are still being cleared."""
    listed, nodes = read("7", "COMPLETING", "1795237255", "1795237269", "n2")
    assert listed == ListedJob(7, JobState.COMPLETING, 1795237255)
    assert nodes == "n2"


def test_s16_an_unknown_word_is_listed_as_unknown() -> None:
    """Neither running nor over is assumed."""
    assert read("7", "HIBERNATED", "1795237255", "N/A", "n2")[0].state is JobState.UNKNOWN


def test_what_is_no_id_is_refused() -> None:
    """Only numbers are jobs."""
    with pytest.raises(DecodeError):
        read("7x", "RUNNING", "1", "2", "")
