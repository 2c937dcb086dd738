from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmsyncd.errors import DecodeError
from slurmsyncd.model import Gres, JobState, Sharing
from slurmsyncd.slurm.controller_jobs import JobDetails, read_detail, read_job_id
from slurmsyncd.slurm.gres import parse_gres
from slurmsyncd.slurm.scalars import parse_state, parse_tres
from tests.unit.slurm.captures import (
    AFTERWARDS,
    CAPTURES,
    JOB_DOCUMENTS,
    VERSIONS,
    details,
    records_by_id,
    sacct_rows,
    shown_jobs,
)

if TYPE_CHECKING:
    from pathlib import Path

    from slurmsyncd.model import Job

NOW = 1_795_237_270  # while the jobs of `running` ran


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


def read(record: dict[str, Any] | bytes, *, now: int = NOW) -> JobDetails | None:
    raw = record if isinstance(record, bytes) else json.dumps(record).encode()
    return read_detail(msgspec.Raw(raw), "lab", now=now)


def record_of(version: str, name: str) -> dict[str, Any]:
    """A recorded job by its name; n1 and n2 hold it if it is gpu2n."""
    jobs = records_by_id(CAPTURES / version / "running.squeue--json").values()
    return next(dict(job) for job in jobs if job["name"] == name)


def job_of(record: dict[str, Any] | bytes) -> Job:
    detail = read(record)
    assert detail
    assert detail.skipped_fields == ()
    return detail.job


@pytest.mark.parametrize("path", JOB_DOCUMENTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_recorded_job_is_read(path: Path) -> None:
    """No record of a real release is set aside, nor any part of one; waiting jobs are no runs."""
    found = details(path)
    assert not [detail.skipped_fields for detail in found.values() if detail.skipped_fields]
    waiting = {job_id for job_id, job in records_by_id(path).items() if "PENDING" in job["job_state"]}
    assert not waiting & found.keys()
    for detail in found.values():
        assert detail.job.nodes
        assert detail.job.state is not JobState.UNKNOWN
        assert (detail.job.end_at is not None) == detail.job.state.is_final


@pytest.mark.parametrize(
    ("version", "moment"), [*((version, "running") for version in VERSIONS), ("26.05.5", "running-het")]
)
def test_cores_memory_and_gpus_agree_with_scontrol(version: str, moment: str) -> None:
    """Of each running job, host by host: CPU_IDs, memory and GRES of ``scontrol show job -d``."""
    found = details(CAPTURES / version / f"{moment}.squeue--json")
    shown = shown_jobs(CAPTURES / version / f"{moment}.scontrol-show-job-d.txt")
    compared = 0
    for job_id, detail in found.items():
        other = shown[job_id]
        if parse_state(other.state) is not detail.job.state or not detail.job.state.is_active:
            continue  # it ended between the two commands
        allocation = detail.job.allocation
        assert allocation
        assert tuple(node.host for node in allocation) == detail.job.nodes
        for node in allocation:
            # Two threads a core, eight cores a socket; both threads are allocated with a core.
            cores = {(cpu // 16, cpu // 2 % 8) for cpu in other.cpus[node.host]}
            assert set(node.cores) == cores
            assert list(node.cores) == sorted(node.cores)
            assert node.memory_mib == other.memory[node.host]
            assert node.gres == parse_gres(other.gres[node.host])
        compared += 1
    assert compared >= (2 if moment == "running-het" else 8)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_numbers_of_a_running_job_agree_with_each_other(version: str) -> None:
    """Cores x 2 = CPUs = AllocTRES cpu; GPUs per node add up to AllocTRES; hosts and memory too."""
    for detail in details(CAPTURES / version / "running.squeue--json").values():
        job = detail.job
        if not job.state.is_active:
            continue
        assert job.allocation
        tres = dict(job.tres)
        assert 2 * sum(len(node.cores) for node in job.allocation) == tres["cpu"] == job.num_cpus
        assert len(job.nodes) == job.num_nodes == tres["node"] == len(job.allocation)
        gpus = [gres for node in job.allocation for gres in node.gres if gres.name == "gpu"]
        assert sum(gres.count for gres in gpus) == tres.get("gres/gpu", 0)
        assert sum(len(gres.indexes) for gres in gpus) == tres.get("gres/gpu", 0)
        if job.state is JobState.RUNNING:
            assert sum(node.memory_mib or 0 for node in job.allocation) == tres["mem"]
        cpus = [node.cpus for node in job.allocation if node.cpus is not None]
        assert sum(cpus) in (0, tres["cpu"])


@pytest.mark.parametrize("version", VERSIONS)
def test_accounting_and_the_controller_tell_the_same_run(version: str) -> None:
    """Key, hosts, TRES and names of a running job are equal in sacct's rows and in the JSON."""
    rows = {int(row["JobIDRaw"]): row for row in sacct_rows(version, "running.sacct-X-D-p2-epoch")}
    compared = 0
    for job_id, detail in details(CAPTURES / version / "running.squeue--json").items():
        job, row = detail.job, rows.get(job_id)
        if row is None or row["Start"] != str(job.key.start_at):
            continue
        assert (job.user, job.account, job.partition, job.qos) == (
            row["User"],
            row["Account"],
            row["Partition"],
            row["QOS"],
        )
        assert dict(job.tres) == dict(parse_tres(row["AllocTRES"], []))
        assert job.name.replace('"', "`") == row["JobName"]
        assert str(job.submit_at) == row["Submit"]
        assert str(job.num_nodes) == row["NNodes"]
        compared += 1
    assert compared >= 8


@pytest.mark.parametrize("version", VERSIONS)
def test_a_job_with_gpus_on_two_nodes(version: str) -> None:
    """Each node has its own cores and devices, in the order of the node list."""
    job = job_of(record_of(version, "gpu2n"))
    assert job.nodes == ("n1", "n2")
    assert job.allocation
    assert [node.host for node in job.allocation] == ["n1", "n2"]
    assert job.allocation[0].gres == (Gres("gpu", "a100", 2, (0, 1)),)
    assert len(job.allocation[0].cores) == 3
    assert len(job.allocation[1].cores) == 1
    assert job.time_limit_s == 1800
    assert job.licenses == "matlab:2"
    assert job.sharing is Sharing.MULTI_USER


@pytest.mark.parametrize("version", VERSIONS)
def test_an_exclusive_job_shares_with_nobody(version: str) -> None:
    """22.05 and 24.11 have a word for it; 26.05 only says that the node is whole."""
    assert job_of(record_of(version, "nodefail")).sharing is Sharing.NONE


@pytest.mark.parametrize("version", VERSIONS)
def test_s22_array_tasks_are_runs_of_their_own(version: str) -> None:
    """The id of the array travels as data."""
    found = details(CAPTURES / version / "running.squeue--json").values()
    tasks = {detail.job.array_task_id: detail.job for detail in found if detail.job.name == "arr"}
    assert tasks.keys() == {0, 1, 2}
    assert {job.array_job_id for job in tasks.values()} == {6 if version == "22.05.8" else 4}
    assert len({job.key.job_id for job in tasks.values()}) == 3
    assert all(detail.job.array_job_id is None for detail in found if detail.job.name != "arr")


@pytest.mark.parametrize(
    ("version", "moment"), [("22.05.8", "running"), ("24.11.5", "running"), ("26.05.5", "running-het")]
)
def test_s22_het_components_are_runs_of_their_own(version: str, moment: str) -> None:
    """Each has an id of its own; the first has the id of the het job."""
    found = details(CAPTURES / version / f"{moment}.squeue--json").values()
    first, second = (detail.job for detail in found if detail.job.het_job_id)
    assert (first.het_job_id, first.het_offset) == (first.key.job_id, 0)
    assert (second.het_job_id, second.het_offset) == (first.key.job_id, 1)
    assert first.nodes == ("n1",)
    assert second.nodes == ("n2", "n3")


def test_s23_a_waiting_job_is_no_run() -> None:
    """A pending job's start is a forecast, and is not taken for a start."""
    for version in VERSIONS:
        assert read(record_of(version, "bigpend")) is None


@pytest.mark.parametrize("version", VERSIONS[1:])
def test_s23_a_job_cancelled_while_it_waited_is_no_run(version: str) -> None:
    """slurmctld writes the time of the cancellation as its start, and no nodes."""
    path = CAPTURES / version / "after-actions.scontrol-show-job--json"
    record = next(job for job in records_by_id(path).values() if job["name"] == "cancelpend")
    assert record["start_time"] == record["end_time"]
    assert read(record) is None


@pytest.mark.parametrize("version", VERSIONS[1:])
def test_a_requeued_job_is_no_run_while_its_nodes_are_cleared(version: str) -> None:
    """Its record already belongs to the next run: the start in it is the time of the requeue."""
    path = CAPTURES / version / "after-actions.scontrol-show-job--json"
    record = next(job for job in records_by_id(path).values() if job["name"] == "requeued")
    assert record["job_state"] == ["PENDING", "COMPLETING"]
    assert read(record) is None


def test_22_05_says_completing_of_both_and_only_the_end_tells_them_apart() -> None:
    """A run that is over has an end in the past; a requeued one the forecast of its next."""
    record = record_of("22.05.8", "gpu2n") | {"job_state": "COMPLETING", "nodes": "", "gres_detail": []}
    over = read(record | {"end_time": NOW - 3})
    assert over
    assert over.job.state is JobState.COMPLETING
    assert over.job.end_at == NOW - 3
    assert over.job.nodes == ("n1", "n2")  # `nodes` is empty then, job_resources is not
    assert over.job.allocation
    assert over.job.allocation[0].cores
    assert read(record | {"start_time": NOW - 3, "end_time": NOW + 172800}) is None


@pytest.mark.parametrize("version", VERSIONS)
def test_names_of_all_kinds(version: str) -> None:
    """Newlines, tabs, quotes and umlauts arrive as they are, and a comment is only a comment."""
    assert job_of(record_of(version, "new\nline\ttab")).name == "new\nline\ttab"
    hard = job_of(record_of(version, "sp ace |pipe ünï \"dq\" 'sq' \\bs"))
    assert hard.comment == 'com | ment "q" ü\nsecond line'
    assert hard.wckey == "wk1"
    assert hard.qos == "high"


@pytest.mark.parametrize("word", [b"gpu2n", b"physics", b"/dev/null", b"UNALLOCATED"])
def test_s13_invalid_utf8_costs_only_its_letters(word: bytes) -> None:
    """The job is read whole, cores and GPUs included, with replacement characters in that one text."""
    sound = json.dumps(record_of("24.11.5", "gpu2n")).encode()
    broken = read(sound.replace(b'"' + word, b'"caf\xe9' + word))
    assert broken == read(sound.replace(b'"' + word, b'"caf\\ufffd' + word))
    assert broken
    assert broken.skipped_fields == ()
    assert broken.job.allocation


def test_free_text_is_cut() -> None:
    """Names of 100 kB do not travel."""
    job = job_of(record_of("24.11.5", "gpu2n") | {"name": "x" * 100_000, "comment": "y" * 100_000})
    assert (len(job.name), len(job.comment)) == (1024, 8192)


@pytest.mark.parametrize(
    "change",
    [
        {"job_id": None},
        {"job_id": 2**70},
        {"job_id": "seven"},
        {"job_id": [7]},
        {"nodes": "n[2-1]"},
        {"nodes": "n[0-999999999]"},
        {"start_time": {"set": "yes"}},
        {"cpus": {"a": {}}, "node_count": [1]},
    ],
    ids=str,
)
def test_s14_a_broken_record_is_refused_alone(change: dict[str, Any]) -> None:
    """Without identity or hosts there is no run."""
    with pytest.raises(DecodeError):
        read(record_of("24.11.5", "gpu2n") | change)


@pytest.mark.parametrize(
    "change",
    [
        {"gres_detail": ["gpu:a100:2(IDX:0-999999999)", "gpu:a100:2(IDX:0-1)"]},
        {"gres_detail": ["gpu:a100:2(IDX:0-1)"]},
        {"job_resources": {"nodes": 7}},
        {"job_resources": {"nodes": {"allocation": [{"name": "n9"}]}}},
        {"job_resources": {"nodes": {"allocation": [{"name": "n1"}, {"name": "n1"}]}}},
        {"tres_alloc_str": "cpu=many"},
    ],
    ids=str,
)
def test_a_broken_part_is_left_out_and_said(change: dict[str, Any]) -> None:
    """The run goes on with what is known of it; nothing is guessed in its place."""
    detail = read(record_of("24.11.5", "gpu2n") | change)
    assert detail
    assert len(detail.skipped_fields) == 1
    assert detail.job.nodes == ("n1", "n2")
    if "gres_detail" in change:
        assert detail.job.allocation
        assert detail.job.allocation[0].gres == ()
    if "job_resources" in change:
        assert detail.job.allocation is None


def test_keys_that_are_missing_or_new_do_no_harm() -> None:
    """A release may drop, add and retype what we can go without."""
    least = {
        "job_id": 7,
        "job_state": ["RUNNING"],
        "start_time": 1_795_237_255,
        "nodes": "n1",
        "new": {"a": [1]},
    }
    job = job_of(least)
    assert (job.key.job_id, job.nodes, job.allocation, job.sharing) == (7, ("n1",), None, None)
    typed = {"user_name": 7, "features": ["a", "b"], "gres_detail": "", "step_id": None, "batch_flag": "?"}
    assert job_of(least | typed).features == "a,b"


@given(st.dictionaries(st.sampled_from(["job_id", "name", "x"]), values, max_size=3))
def test_an_id_is_seen_without_reading_the_record(record: dict[str, Any]) -> None:
    """Or it is not seen, and the record has to be read to be refused."""
    found = read_job_id(msgspec.Raw(json.dumps(record).encode()))
    assert found is None or isinstance(found, int)
    assert read_job_id(msgspec.Raw(b'{"job_id": {"set": true, "number": 7}, "name": "caf\xe9"}')) == 7
    assert read_job_id(msgspec.Raw(b'{"job_id": 65534}')) == 65534
    assert read_job_id(msgspec.Raw(b'{"job_id": [')) is None


def test_the_sluid_is_text() -> None:
    """26.05's own id is above 2^63 as a number; it travels as Slurm writes it."""
    assert job_of(record_of("26.05.5", "gpu2n")).sluid == "s8SNM7Y7N5QM00"


def test_the_exit_code_is_accountings_word() -> None:
    """The controller's may differ (22.05: ``0:15`` of a cancelled job, ``0:0`` in accounting), and is left out."""
    record = record_of("22.05.8", "gpu2n") | {"job_state": "CANCELLED", "end_time": NOW, "exit_code": 15}
    assert job_of(record).exit_code == ""


@given(
    st.dictionaries(st.sampled_from(sorted(record_of("24.11.5", "gpu2n"))), values, max_size=6),
    st.sampled_from(VERSIONS),
)
def test_s14_nothing_else_can_happen(change: dict[str, Any], version: str) -> None:
    """Whatever stands in any field, the record is read or refused."""
    try:
        read(record_of(version, "gpu2n") | change)
    except DecodeError:
        return


@given(values)
def test_s14_nothing_else_can_happen_in_an_allocation(change: Any) -> None:
    """Whatever stands in job_resources, the run is read."""
    detail = read(record_of("24.11.5", "gpu2n") | {"job_resources": change})
    assert detail
    assert detail.job.nodes == ("n1", "n2")


def test_an_ended_job_still_in_memory_keeps_its_cores() -> None:
    """After the end GPU indexes are gone, cores and memory are there until MinJobAge."""
    for version in VERSIONS:
        found = details(CAPTURES / version / "ended-in-memory.squeue--t-all--json")
        ended = [detail.job for detail in found.values() if detail.job.state is JobState.COMPLETED]
        assert ended
        for job in ended:
            assert job.allocation
            assert all(node.cores and not node.gres for node in job.allocation)
            assert job.end_at
            assert job.end_at < AFTERWARDS
