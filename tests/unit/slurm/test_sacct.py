from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmsyncd.errors import DecodeError
from slurmsyncd.model import Job, JobState, RunKey, Sharing
from slurmsyncd.slurm.accounting import (
    NotARun,
    RunSegment,
    choose_columns,
    is_incomplete_row,
    is_maybe_resized,
    read_run,
    with_first_start,
)
from tests.unit.slurm.captures import CAPTURES, VERSIONS, sacct_rows

ROW = {
    "JobIDRaw": "7",
    "JobID": "7",
    "State": "COMPLETED",
    "Start": "1795237255",
    "End": "1795237279",
    "NodeList": "n[1-2]",
}


def read(**change: str) -> Job | NotARun | RunSegment:
    return read_run(ROW | change, "lab", [])


def runs(version: str, name: str) -> list[Job]:
    flaws: list[str] = []
    found = [read_run(row, "lab", flaws) for row in sacct_rows(version, name)]
    assert not flaws
    return [run for run in found if isinstance(run, Job)]


WITH_RESTARTS = ("24.11.5", "26.05.5")


@pytest.mark.parametrize("version", VERSIONS)
def test_only_columns_that_are_offered_are_asked_for(version: str) -> None:
    """An unknown column makes sacct fail, so each release gets its own list."""
    fields = choose_columns((CAPTURES / version / "sacct-helpformat.txt").read_text())
    assert {"JobIDRaw", "State", "Start", "End", "NodeList", "AllocTRES"} <= set(fields)
    assert ("Restarts" in fields) == (version in WITH_RESTARTS)
    assert ("Exclusive" in fields) == (version == "26.05.5")
    assert len(fields) == len(set(fields))


def test_a_sacct_that_lacks_the_necessary_is_refused() -> None:
    """Help text of something else is no sacct."""
    with pytest.raises(DecodeError, match="Start"):
        choose_columns("JobIDRaw JobID State End NodeList")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["running.sacct-X-D-p2-epoch", "ended.sacct-X-D-p2-epoch"])
def test_every_recorded_row_is_read(version: str, name: str) -> None:
    """No row of a real release is set aside; each run has hosts, and an end if it is over."""
    found = runs(version, name)
    assert len(found) >= 10
    for job in found:
        assert len(job.nodes) == job.num_nodes
        assert dict(job.tres)["cpu"] == job.num_cpus
        assert (job.end_at is not None) == job.state.is_final
        assert job.state is not JobState.UNKNOWN
    assert len({job.key for job in found}) == len(found)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_requeued_job_has_two_runs(version: str) -> None:
    """The first is over as REQUEUED, the second starts later under the same id."""
    first, second = (job for job in runs(version, "ended.sacct-X-D-p2-epoch") if job.name == "requeued")
    assert (first.state, second.state) == (JobState.REQUEUED, JobState.COMPLETED)
    assert first.key.job_id == second.key.job_id
    assert first.end_at
    assert first.end_at < second.key.start_at
    assert second.restarts == (1 if version in WITH_RESTARTS else None)


@pytest.mark.parametrize("version", VERSIONS)
def test_s22_steps_are_no_runs(version: str) -> None:
    """Without -X the same allocations become runs, batch, extern and numbered steps none."""
    with_steps = runs(version, "running.sacct-D-p2-steps-epoch")
    assert {job.key for job in with_steps} == {job.key for job in runs(version, "running.sacct-X-D-p2-epoch")}


@pytest.mark.parametrize("version", VERSIONS)
def test_s21_the_last_array_task_has_the_id_of_the_array(version: str) -> None:
    """Task 4 is a run like the others."""
    tasks = [job for job in runs(version, "ended.sacct-X-D-p2-epoch") if job.name == "arr"]
    assert sorted(job.array_task_id or 0 for job in tasks) == [0, 1, 2, 3, 4]
    (array,) = {job.array_job_id for job in tasks}
    assert [job.key.job_id for job in tasks if job.array_task_id == 4] == [array]


@pytest.mark.parametrize("version", VERSIONS)
def test_s15_hard_names(version: str) -> None:
    """Newline, tab, 0x1f and quotes are in the name and nowhere else."""
    names = {job.name for job in runs(version, "ended.sacct-X-D-p2-epoch")}
    assert {"new\nline\ttab", "us\x1fsep", "sp ace |pipe ünï `dq` 'sq' \\bs"} <= names


@pytest.mark.parametrize("start", ["None", "Unknown", "0", "4294967294", ""])
def test_s23_never_started(start: str) -> None:
    """What is over and never started is counted, what waits is not even that."""
    assert read(Start=start, State="CANCELLED by 1000") is NotARun.NEVER_STARTED
    assert read(Start=start, State="PENDING", End="Unknown") is NotARun.WAITING


def test_s23_cancelled_before_slurmdbd_had_heard_of_it() -> None:
    """Real 22.05 then gives a start that is the time of the cancellation, and no nodes."""
    row = {"State": "CANCELLED by 0", "Start": "1795250329", "End": "1795250329", "NodeList": "None assigned"}
    assert read(**row) is NotARun.NEVER_STARTED


def test_states() -> None:
    """A running job's end is none; a cancelled one's canceller is no part of its state."""
    running = read(State="RUNNING", End="Unknown")
    assert isinstance(running, Job)
    assert (running.state, running.end_at) == (JobState.RUNNING, None)
    cancelled = read(State="CANCELLED by 0")
    assert isinstance(cancelled, Job)
    assert (cancelled.state, cancelled.end_at) == (JobState.CANCELLED, 1795237279)


@pytest.mark.parametrize(
    ("word", "exit_code"),
    [
        ("OUT_OF_MEMORY", "0:125"),
        ("BOOT_FAIL", "0:0"),
        ("DEADLINE", "0:1"),
        ("NODE_FAIL", "1:0"),
        ("REVOKED", "0:0"),
    ],
)
def test_ends_that_need_more_than_a_lab(word: str, exit_code: str) -> None:
    """Memory limits by cgroup, nodes that fail to boot, a deadline that is moved, a federation: rows as sacct has them."""
    job = read(State=word, ExitCode=exit_code)
    assert isinstance(job, Job)
    assert (job.state.value, job.state.is_final, job.exit_code) == (word, True, exit_code)
    assert (job.key.start_at, job.end_at) == (1795237255, 1795237279)


def test_s16_an_unknown_word_keeps_its_end() -> None:
    """So that the planner can end the run once accounting says when."""
    job = read(State="HIBERNATED")
    assert isinstance(job, Job)
    assert (job.state, job.end_at) == (JobState.UNKNOWN, 1795237279)


# A job that began with three nodes, shrank twice and then ended: (Submit, Start, End, State) as sacct showed them.
RESIZED = {
    "22.05": [(200, 200, 210, "RESIZING"), (210, 200, 230, "RESIZING"), (230, 200, 290, "COMPLETED")],
    "24.11": [(200, 200, 210, "RESIZING"), (210, 210, 230, "RESIZING"), (230, 230, 290, "COMPLETED")],
}


@pytest.mark.parametrize("release", RESIZED)
@pytest.mark.parametrize("order", [1, -1])
def test_a_job_that_was_resized_is_one_run(release: str, order: int) -> None:
    """J6: it begins with its first size, ends with its last, whether later sizes begin anew (24.11) or not (22.05)."""
    read_ = [
        read(Submit=f"1795237{a}", Start=f"1795237{b}", End=f"1795237{c}", State=d)
        for a, b, c, d in RESIZED[release]
    ]
    sizes = [size for size in read_ if isinstance(size, RunSegment)][::order]
    (last,) = (job for job in read_ if isinstance(job, Job))

    whole = with_first_start(sizes, last)

    assert len(sizes) == 2
    assert (whole.key.start_at, whole.end_at) == (1795237200, 1795237290)
    assert with_first_start([size._replace(job_id=8) for size in sizes], last) is last
    assert with_first_start([size._replace(end_at=size.end_at + 1000) for size in sizes], last) is last


def test_a_row_is_taken_once_it_is_complete() -> None:
    """22.05 tells of a short run's end before its start: the row then has no partition, for some seconds."""
    early, whole, running = (
        read(Partition=""),
        read(Partition="batch"),
        read(Partition="", End="Unknown", State="RUNNING"),
    )
    assert isinstance(early, Job)
    assert isinstance(whole, Job)
    assert isinstance(running, Job)
    assert early.end_at
    assert is_incomplete_row(early, early.end_at + 5)
    assert not is_incomplete_row(early, early.end_at + 60), "it will not get better"
    assert not is_incomplete_row(whole, early.end_at + 5)
    assert not is_incomplete_row(running, early.end_at + 5)


def test_a_later_size_is_suspected_where_it_may_be_one() -> None:
    """It was submitted and began at once, and 26.05 has the id of the first size, too; others cost no question."""
    at_once = ROW | {"Submit": ROW["Start"]}
    assert is_maybe_resized(at_once)
    assert not is_maybe_resized(ROW | {"Submit": "1795237200"})
    assert not is_maybe_resized(at_once | {"SLUID": "s1", "OriginalSLUID": "s1"})
    assert is_maybe_resized(at_once | {"SLUID": "s2", "OriginalSLUID": "s1"})


def test_ids_as_displayed() -> None:
    """Array task and het component."""
    task, component = read(JobID="6_4"), read(JobID="7+1", JobIDRaw="8")
    assert isinstance(task, Job)
    assert isinstance(component, Job)
    assert (task.array_job_id, task.array_task_id, task.het_job_id) == (6, 4, None)
    assert (component.het_job_id, component.het_offset, component.array_job_id) == (7, 1, None)
    assert component.key == RunKey("lab", 8, 1795237255)


@pytest.mark.parametrize(
    ("word", "sharing"),
    [
        ("USER", Sharing.SINGLE_USER),
        ("NODE", Sharing.NONE),
        ("NO", Sharing.MULTI_USER),
        ("", None),
        ("NEW", None),
    ],
)
def test_26_05_tells_accounting_who_shares(word: str, sharing: Sharing | None) -> None:
    """The column Exclusive, where it is offered."""
    job = read(Exclusive=word)
    assert isinstance(job, Job)
    assert job.sharing is sharing


@pytest.mark.parametrize(
    "change",
    [
        {"JobIDRaw": "0"},
        {"JobIDRaw": "99999999999"},
        {"JobID": "x"},
        {"JobID": "6_[3-4%3]"},
        {"NodeList": "n[2-1]"},
    ],
    ids=str,
)
def test_s14_a_broken_row_is_refused(change: dict[str, str]) -> None:
    """Without identity or hosts there is no run."""
    with pytest.raises(DecodeError):
        read(**change)


def test_broken_tres_are_left_out_and_said() -> None:
    """The run's end matters more than its TRES."""
    flaws: list[str] = []
    job = read_run(ROW | {"AllocTRES": "cpu=many"}, "lab", flaws)
    assert isinstance(job, Job)
    assert job.tres == ()
    assert len(flaws) == 1


@given(
    st.dictionaries(
        st.sampled_from([*ROW, "AllocTRES", "TimelimitRaw", "NNodes", "Exclusive"]), st.text(max_size=20)
    )
)
def test_nothing_else_can_happen(change: dict[str, str]) -> None:
    """Any text in any column is a run, none, or refused."""
    try:
        read(**change)
    except DecodeError:
        return
