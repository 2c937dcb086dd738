"""Bodies: what the contract allows and nothing else, and true to what Slurm said."""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmsyncd.config import ClusterConfig
from slurmsyncd.model import Gres, Job, JobState, NodeAllocation, NodeState, RunKey, Sharing
from slurmsyncd.sinks.bodies import (
    BodyOptions,
    NotRepresentable,
    RequestBody,
    nodes_body,
    start_body,
    stop_body,
)
from slurmsyncd.sinks.dialect import DIALECTS, V1_4, V1_5
from slurmsyncd.sinks.resources import is_ignored_run
from slurmsyncd.sinks.topology import Topology, parse_topology
from slurmsyncd.slurm.controller_jobs import read_detail
from slurmsyncd.slurm.hostlist import expand_hostlist
from slurmsyncd.slurm.json_documents import read_records
from tests.unit.sinks.parts import CLUSTERS, START, gpu_job, job

CONFIG = ClusterConfig(name="demo")
OPTIONS = BodyOptions()
DATA = Path(__file__).parent / "data"
RELEASES = ("22.05.8", "24.11.5", "26.05.5")


def topology(content: Any = CLUSTERS) -> Topology:
    found = parse_topology(json.dumps(content).encode())
    assert isinstance(found, Topology)
    return found


TOPOLOGY = topology()


def made(
    run: Job, config: ClusterConfig = CONFIG, known: Topology = TOPOLOGY, options: BodyOptions = OPTIONS
) -> tuple[dict[str, Any], set[str]]:
    """Return the fields of a start, and the kinds of notes."""
    body = start_body(run, config, known, options)
    assert isinstance(body, RequestBody)
    return json.loads(body.content), {note.kind for note in body.notes}


def refusal(run: Job, config: ClusterConfig = CONFIG) -> str:
    body = start_body(run, config, TOPOLOGY, OPTIONS)
    assert isinstance(body, NotRepresentable)
    return body.reason


# Real captures


LAB = topology(
    {
        "clusters": [
            {
                "name": "demo",
                "subClusters": [
                    {
                        "name": "lab",
                        "nodes": "n[1-4]",
                        "coresPerSocket": 8,
                        # Slurm's own numbering of threads, so that CPU_IDs can be compared.
                        "topology": {
                            "core": [[2 * core, 2 * core + 1] for core in range(16)],
                            "accelerators": [{"id": f"0000000{at}:01:00.0"} for at in range(4)],
                        },
                    }
                ],
            }
        ]
    }
)


def captured(release: str) -> dict[int, Job]:
    text = gzip.decompress((DATA / f"{release}.squeue.json.gz").read_bytes())
    found = [read_detail(record, "demo", now=1_795_240_000) for record in read_records(text, "jobs")]
    return {detail.job.key.job_id: detail.job for detail in found if detail is not None}


def numbers(text: str) -> list[int]:
    parts = [part.split("-") for part in text.split(",") if part]
    return [number for part in parts for number in range(int(part[0]), int(part[-1]) + 1)]


def shown(release: str) -> dict[int, dict[str, tuple[list[int], list[int]]]]:
    """Return job id → host → (threads, GPU indexes) as ``scontrol show job -d`` has them."""
    held: dict[int, dict[str, tuple[list[int], list[int]]]] = {}
    job_id = 0
    for line in (DATA / f"{release}.scontrol.txt").read_text().splitlines():
        if found := re.match(r"JobId=(\d+)", line):
            job_id = int(found[1])
        if found := re.match(r" +Nodes=(\S+) CPU_IDs=(\S+) Mem=\d+ GRES=(\S*)", line):
            gpus = re.search(r"IDX:([\d,-]+)", found[3])
            for host in expand_hostlist(found[1]):
                held.setdefault(job_id, {})[host] = (numbers(found[2]), numbers(gpus[1]) if gpus else [])
    return held


@pytest.mark.parametrize("release", RELEASES)
def test_real_jobs_carry_the_threads_and_gpus_that_scontrol_shows(release: str) -> None:
    """The threads that are sent are scontrol's CPU_IDs, and the GPUs its IDX, node by node."""
    jobs, expected = captured(release), shown(release)
    compared = 0
    for job_id, run in jobs.items():
        if run.state is not JobState.RUNNING:
            continue
        fields, _ = made(run, known=LAB)
        sent = {
            node["hostname"]: (node["hwthreads"], [int(gpu[7]) for gpu in node.get("accelerators", [])])
            for node in fields["resources"]
        }
        assert sent == expected[job_id], run.name
        compared += 1
    assert compared >= 10


@pytest.mark.parametrize("release", RELEASES)
def test_real_totals_agree_with_slurms(release: str) -> None:
    """numNodes, numHwthreads and numAcc are what Slurm counts as TRES."""
    for run in captured(release).values():
        if run.state is not JobState.RUNNING:
            continue
        fields, notes = made(run, known=LAB)
        tres = dict(run.tres)
        totals = (fields["numNodes"], fields["numHwthreads"], fields["numAcc"])
        assert totals == (tres["node"], tres["cpu"], tres.get("gres/gpu", 0)), run.name
        assert notes == set()
        assert fields["smt"] == 1
        assert "resourcesIncomplete" not in fields["metaData"]


# Resources


def test_configured_threads_come_before_the_topology() -> None:
    """The operator's table by host glob wins; a contradiction is unknown, not mixed."""
    config = ClusterConfig(name="demo", hwthreads={"gpu*": ((9,),), "cn*": ((10, 20), (11, 21), (12, 22))})
    fields, notes = made(job(), config)
    assert fields["resources"] == [{"hostname": "cn001", "hwthreads": [12, 22]}]
    assert notes == set()
    held = NodeAllocation("cn001", cores=((1, 1),), cpus=2)
    fields, notes = made(job(allocation=(held,)), config)
    assert fields["resources"] == [{"hostname": "cn001"}]
    assert {"hwthreads_unknown", "cores_unknown"} <= notes
    assert fields["metaData"]["resourcesIncomplete"] == "hwthreads"


def test_a_configured_table_that_lacks_a_core_is_not_filled_with_guesses() -> None:
    """Also where the backend says nothing of the host."""
    config = ClusterConfig(name="demo", hwthreads={"xx*": ((10,), (11,))})
    held = NodeAllocation("xx1", cores=((0, 2),), cpus=1)
    fields, notes = made(job(nodes=("xx1",), allocation=(held,)), config)
    assert fields["resources"] == [{"hostname": "xx1"}]
    assert "hwthreads_unknown" in notes


def test_without_any_mapping_the_core_numbers_are_sent_with_a_note() -> None:
    """A backend that says nothing of a host's cores gets Slurm's numbers, marked."""
    held = NodeAllocation("xx1", cores=((0, 3), (0, 5)), cpus=4)
    fields, notes = made(job(nodes=("xx1",), allocation=(held,), num_cpus=4))
    assert fields["resources"] == [{"hostname": "xx1", "hwthreads": [3, 5]}]
    assert fields["numHwthreads"] == 4
    assert notes == {"hwthreads_are_core_numbers"}
    assert fields["metaData"]["resourcesIncomplete"] == "hwthreads"


def test_s25_an_unknown_allocation_sends_hosts_and_marks_a_run_that_may_share() -> None:
    """Without hwthreads the backend takes the whole node, which is wrong for a shared run: it is marked."""
    gone: dict[str, Any] = {"allocation": None, "num_cpus": 12, "nodes": ("cn001", "cn002")}
    for sharing in (Sharing.MULTI_USER, Sharing.SINGLE_USER, None):
        fields, notes = made(job(sharing=sharing, **gone))
        assert fields["resources"] == [{"hostname": "cn001"}, {"hostname": "cn002"}]
        assert fields["numHwthreads"] == 12
        assert fields["metaData"]["resourcesIncomplete"] == "hwthreads"
        assert "allocation_unknown" in notes
    fields, _ = made(job(sharing=Sharing.NONE, **gone))
    assert "resourcesIncomplete" not in fields["metaData"]


def test_p18_unknown_sharing_is_not_called_shared() -> None:
    """A run of which Slurm did not say whether it shares is sent as exclusive, with a note."""
    fields, notes = made(job(sharing=None))
    assert fields["shared"] == "none"
    assert notes == {"sharing_unknown"}


A100 = ("00000000:0E:00.0", "00000000:13:00.0")


def test_gpus_are_the_backends_ids() -> None:
    """Slurm's indexes choose among the topology's accelerators; several entries add up."""
    fields, notes = made(gpu_job(Gres("gpu", "a100", 1, (1,)), Gres("gpu", None, 1, (0,))))
    assert fields["resources"][0]["accelerators"] == [A100[1], A100[0]]
    assert fields["numAcc"] == 2
    assert notes == set()


def test_configured_gpus_come_before_the_topology() -> None:
    """The operator's list by host glob wins, also for parts of a GPU."""
    config = ClusterConfig(name="demo", gpus={"gpu*": ("X", "Y", "Z")})
    fields, _ = made(gpu_job(Gres("gpu", "1g.5gb", 2, (0, 2))), config)
    assert fields["resources"][0]["accelerators"] == ["X", "Z"]


@pytest.mark.parametrize(
    "gres",
    [
        Gres("gpu", "a100", 2),  # which ones was not said
        Gres("gpu", "a100", 3, (0, 1)),  # not of all
        Gres("gpu", "a100", 1, (2,)),  # the backend has no third
        Gres("gpu", "a100_3g.39gb", 1, (0,)),  # a part of a GPU
        Gres("gpu", "1g.5gb", 1, (0,)),
    ],
)
def test_gpus_that_cannot_be_named_are_left_out_and_marked(gres: Gres) -> None:
    """No id is guessed, the number is sent for the GPU hours, and the record says that it is incomplete."""
    fields, notes = made(gpu_job(gres))
    assert "accelerators" not in fields["resources"][0]
    assert fields["numAcc"] == gres.count
    assert {"gpus_unknown", "gpus_incomplete"} <= notes
    assert fields["metaData"]["resourcesIncomplete"] == "accelerators"


@pytest.mark.parametrize("kind", ["a100-3g-20gb", "1g5gb", "a100_mig", "a100l.2"])
def test_slices_by_any_name_get_no_ids_of_whole_gpus(kind: str) -> None:
    """Some names tell; of the others the node's own devices do, which are more than the backend's GPUs."""
    held = Gres("gpu", kind, 1, (1,))
    run = gpu_job(held)
    assert run.allocation
    node = replace(run.allocation[0], devices=(Gres("gpu", kind, 6),))
    fields, notes = made(replace(run, allocation=(node,)))
    assert "accelerators" not in fields["resources"][0]
    assert (fields["numAcc"], fields["metaData"]["resourcesIncomplete"]) == (1, "accelerators")
    assert "gpus_unknown" in notes


def test_accelerators_may_have_other_names_than_gpu() -> None:
    """A setting names them; a device of another name leaves a mark."""
    run = gpu_job(Gres("dcu", None, 2, (0, 1)), tres=(("cpu", 1), ("gres/dcu", 2)))
    fields, notes = made(run)
    assert (fields["numAcc"], notes) == (0, {"gres_not_mapped"})
    assert fields["metaData"]["resourcesIncomplete"] == "accelerators"
    fields, notes = made(run, ClusterConfig(name="demo", accelerator_gres=("gpu", "dcu")))
    assert (fields["numAcc"], notes) == (2, set())
    assert fields["resources"][0]["accelerators"] == ["00000000:0E:00.0", "00000000:13:00.0"]


def test_a_gpu_run_that_is_reported_late_has_its_number_of_gpus() -> None:
    """Accounting knows how many it held and not which: the backend's GPU hours are right all the same."""
    tres = (("cpu", 8), ("gres/gpu:a100", 4), ("gres/gpu", 4))
    fields, notes = made(job(allocation=None, tres=tres, state=JobState.COMPLETED, end_at=START + 60))
    assert fields["numAcc"] == 4
    assert "gpus_incomplete" in notes
    assert "accelerators" in fields["metaData"]["resourcesIncomplete"]


def test_configured_threads_are_found_by_slurms_own_core_number() -> None:
    """The setting mends a shape that the backend has otherwise (four sockets of four cores here, two of two there)."""
    table = tuple((core, core + 16) for core in range(16))
    held = NodeAllocation("cn001", cores=((1, 0), (3, 3)), cpus=4, sockets=(4, 4))
    run = job(allocation=(held,), num_cpus=4)
    fields, _ = made(run, ClusterConfig(name="demo", hwthreads={"cn*": table}))
    assert fields["resources"] == [{"hostname": "cn001", "hwthreads": [4, 15, 20, 31]}]
    fields, notes = made(run)
    assert fields["resources"] == [{"hostname": "cn001"}]
    assert "hwthreads_unknown" in notes
    assert fields["metaData"]["resourcesIncomplete"] == "hwthreads"


def test_shards_are_no_accelerators() -> None:
    """A share of a GPU is noted and not counted."""
    fields, notes = made(gpu_job(Gres("shard", None, 4, (0,))))
    assert fields["numAcc"] == 0
    assert notes == {"gpu_share_left_out"}
    assert "resourcesIncomplete" not in fields["metaData"]


def test_s24_gpus_of_a_run_that_ended_unseen_are_marked_missing() -> None:
    """Accounting knows how many GPUs there were, but not which."""
    fields, _ = made(job(allocation=None, tres=(("cpu", 4), ("gres/gpu", 2), ("gres/gpu:a100", 2))))
    assert fields["metaData"]["resourcesIncomplete"] == "accelerators,hwthreads"


@pytest.mark.parametrize(
    ("threads", "cpus", "smt"), [(1, 8, 0), (2, 1, 1), (4, 1, 1), (None, 2, 1), (None, 1, 0)]
)
def test_smt_is_whether_a_core_gives_two_threads(threads: int | None, cpus: int, smt: int) -> None:
    """As Slurm says, or as more CPUs than cores show; never anything but 0 and 1."""
    held = NodeAllocation("cn001", cores=((0, 0),), cpus=cpus)
    fields, _ = made(job(threads_per_core=threads, num_cpus=cpus, allocation=(held,)))
    assert fields["smt"] == smt


def test_domains_are_stripped_where_configured() -> None:
    """The backend's names are short ones; mappings and topology still find the host."""
    config = ClusterConfig(name="demo", strip_domain=True)
    held = NodeAllocation("cn001.example.org", cores=((0, 0),), cpus=2)
    fields, _ = made(job(nodes=("cn001.example.org",), allocation=(held,)), config)
    assert fields["resources"] == [{"hostname": "cn001", "hwthreads": [0, 4]}]


@pytest.mark.parametrize(
    ("hosts", "skip"),
    [
        (("login1",), True),
        (("login1", "login2.example.org"), True),
        (("login1", "cn001"), False),
        (("cn001",), False),
        ((), False),
    ],
)
def test_runs_only_on_ignored_hosts_are_not_sent(hosts: tuple[str, ...], skip: bool) -> None:
    """A run with one other host is sent, and so is one whose hosts are not known."""
    config = ClusterConfig(name="demo", ignore_hosts=("login*", "viz1"))
    assert is_ignored_run(job(nodes=hosts, allocation=None), config) is skip


# Fields


def test_a_plain_start() -> None:
    """Field by field."""
    run = job(
        array_job_id=3,
        array_task_id=4,
        submit_at=START - 5,
        qos="high",
        restarts=1,
        comment="c",
        script="#!/bin/sh\n",
    )
    fields, notes = made(run, ClusterConfig(name="demo", backend_name="demo"))
    meta = fields.pop("metaData")
    assert fields == {
        "jobId": 7,
        "user": "alice",
        "cluster": "demo",
        "partition": "batch",
        "project": "physics",
        "arrayJobId": 3,
        "numNodes": 1,
        "numHwthreads": 2,
        "numAcc": 0,
        "shared": "multi_user",
        "walltime": 3600,
        "smt": 1,
        "resources": [{"hostname": "cn001", "hwthreads": [2, 6]}],
        "startTime": START,
    }
    assert meta.pop("slurmInfo").startswith("JobId=7 JobName=sim\n")
    assert meta == {
        "jobName": "sim",
        "submitTime": str(START - 5),
        "qos": "high",
        "restarts": "1",
        "arrayTaskId": "4",
        "comment": "c",
        "jobScript": "#!/bin/sh\n",
    }
    assert notes == set()


def test_the_exit_code_of_a_run_that_goes_on_is_not_sent() -> None:
    """Slurm shows 0:0 until there is one."""
    assert "exitCode" not in made(job(exit_code="0:0"))[0]["metaData"]
    ended = job(exit_code="3:0", state=JobState.FAILED)
    assert made(ended)[0]["metaData"]["exitCode"] == "3:0"


def test_the_backends_name_of_the_cluster_is_sent() -> None:
    """Slurm's name is mapped, in start and stop."""
    config = ClusterConfig(name="demo", backend_name="star")
    fields, _ = made(job(), config)
    assert fields["cluster"] == "star"
    body = stop_body(job(), job(state=JobState.COMPLETED, end_at=START), config, OPTIONS)
    assert isinstance(body, RequestBody)
    assert json.loads(body.content)["cluster"] == "star"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"key": RunKey("demo", 0, START)}, "bad_job_id"),
        ({"key": RunKey("demo", -1, START)}, "bad_job_id"),
        ({"key": RunKey("demo", 2**63, START)}, "bad_job_id"),
        ({"key": RunKey("demo", 7, 0)}, "bad_start"),
        ({"key": RunKey("demo", 7, -5)}, "bad_start"),
        ({"key": RunKey("", 7, START)}, "bad_cluster"),
        ({"user": ""}, "no_user"),
        ({"user": " \n"}, "no_user"),
        ({"nodes": (), "allocation": None}, "no_nodes"),
        ({"nodes": ("a b",)}, "bad_host"),
        ({"nodes": ("",)}, "bad_host"),
        ({"nodes": ("n1\x1b[2J",)}, "bad_host"),
    ],
)
def test_s26_z8_what_the_backend_should_refuse_is_refused_here(changes: dict[str, Any], reason: str) -> None:
    """Ids and starts of 0 would be stored; they go to the dead letters instead."""
    assert refusal(job(**changes)) == reason


def test_two_hosts_of_one_short_name_are_refused() -> None:
    """Stripping must not merge two nodes into one."""
    config = ClusterConfig(name="demo", strip_domain=True)
    assert refusal(job(nodes=("n1.a", "n1.b"), allocation=None), config) == "host_twice"


def test_the_older_dialect_says_exclusive() -> None:
    """1.4 knows ``exclusive`` and refuses ``shared``."""
    for sharing, number in ((Sharing.NONE, 1), (Sharing.MULTI_USER, 0), (Sharing.SINGLE_USER, 2)):
        fields, _ = made(job(sharing=sharing), options=BodyOptions(dialect=V1_4))
        assert fields["exclusive"] == number
        assert "shared" not in fields


STOPS = {
    "boot_fail", "cancelled", "completed", "deadline", "failed", "node_fail", "out_of_memory", "preempted", "timeout",
}  # fmt: skip
STOPS_1_4 = {"completed", "failed", "cancelled", "timeout", "preempted", "out_of_memory"}


@pytest.mark.parametrize("state", JobState)
def test_only_the_backends_words_for_an_end_are_sent(state: JobState) -> None:
    """Final states are mapped, 1:1 where there is a word; a run that is not over is refused."""
    for dialect, words in ((V1_5, STOPS), (V1_4, STOPS_1_4)):
        body = stop_body(job(), job(state=state, end_at=START + 9), CONFIG, BodyOptions(dialect=dialect))
        assert isinstance(body, RequestBody) is (state.is_final or state is JobState.UNKNOWN)
        if isinstance(body, RequestBody):
            fields = json.loads(body.content)
            word = fields.pop("jobState")
            assert word in words
            assert (
                dialect is V1_4
                or word == state.value.lower()
                or state in (JobState.REQUEUED, JobState.REVOKED, JobState.UNKNOWN)
            )
            assert fields == {"jobId": 7, "cluster": "demo", "startTime": START, "stopTime": START + 9}


def test_s16_an_end_in_a_word_that_we_do_not_know_is_sent_as_failed_and_noted() -> None:
    """That the run is over is sure once accounting gives its end; nobody guesses that it went well."""
    body = stop_body(job(), job(state=JobState.UNKNOWN, end_at=START + 9), CONFIG, BodyOptions())
    assert isinstance(body, RequestBody)
    assert json.loads(body.content)["jobState"] == "failed"
    assert [note.kind for note in body.notes] == ["end_state_unknown"]


def test_s26_an_end_before_the_start_is_sent_as_equal() -> None:
    """The backend refuses a stop before its start; of a clock that jumped the run is not to blame."""
    body = stop_body(job(), job(state=JobState.FAILED, end_at=START - 3), CONFIG, OPTIONS)
    assert isinstance(body, RequestBody)
    assert json.loads(body.content)["stopTime"] == START
    assert [note.kind for note in body.notes] == ["end_before_start"]


@pytest.mark.parametrize("end", [None, START + 2**31, 2**64])
def test_an_end_that_cannot_be_stored_is_refused(end: int | None) -> None:
    """The duration is 32 bits wide there."""
    assert isinstance(
        stop_body(job(), job(state=JobState.FAILED, end_at=end), CONFIG, OPTIONS), NotRepresentable
    )


# Hostile content


def test_x6_x7_scripts_and_texts_are_capped_between_characters() -> None:
    """The limit counts bytes, and never leaves half a character."""
    run = job(script="ü" * 100_000, comment="x" * 10_000_000, name="ü" * 100_000)
    fields, _ = made(run, options=BodyOptions(script_limit=1001))
    assert fields["metaData"]["jobScript"] == "ü" * 500
    assert len(json.dumps(fields)) < 40_000


def test_h12_a_slim_body_has_neither_script_nor_texts() -> None:
    """What is left is what the record cannot do without."""
    run = job(script="x" * 5000, comment="y" * 5000)
    fields, _ = made(run, options=BodyOptions(without_long_texts=True))
    assert set(fields["metaData"]) == {"jobName"}


def test_x5_hostile_names_stay_in_their_place() -> None:
    """A name cannot forge a line of the summary, and control characters do not pass."""
    run = job(name="a\nJobState=FORGED\x1b[2J\x00", comment="é\ud800")
    fields, _ = made(run)
    assert fields["metaData"]["jobName"] == "a\nJobState=FORGED\ufffd[2J\ufffd"
    assert fields["metaData"]["comment"] == "é?"
    lines = fields["metaData"]["slurmInfo"].splitlines()
    assert not any(line.strip().startswith("JobState=FORGED") for line in lines)


# Any job


TEXT = st.text(max_size=30) | st.text(alphabet=st.characters(codec=None), max_size=10)
KNOWN = st.lists(st.sampled_from(["cn001", "cn002", "gpu01", "xx1", "a.b", "a.c"]), min_size=1, max_size=4)
HOSTS = KNOWN | KNOWN | st.lists(TEXT, max_size=2)
INT = st.integers(-(2**70), 2**70) | st.integers(-2, 100)
SMALL = st.integers(0, 8)
GRES = st.builds(
    Gres,
    st.sampled_from(["gpu", "shard", "x"]),
    st.none() | st.sampled_from(["a100", "1g.5gb", ""]),
    SMALL,
    st.lists(SMALL, max_size=4, unique=True).map(sorted).map(tuple),
)
NODES = st.builds(
    NodeAllocation,
    st.sampled_from(["cn001", "cn002", "gpu01", "xx1", "other"]),
    st.lists(st.tuples(SMALL, SMALL), max_size=5, unique=True).map(sorted).map(tuple),
    st.none() | SMALL,
    st.none() | INT,
    st.lists(GRES, max_size=3).map(tuple),
)
JOBS = st.builds(
    Job,
    key=st.builds(RunKey, st.sampled_from(["demo", "star", "new", "demo"]), st.integers(1, 2**63), st.integers(1, 2**33))
    | st.builds(RunKey, TEXT, INT, INT),
    state=st.sampled_from(JobState),
    **dict.fromkeys(("user", "account", "partition", "qos", "name", "exit_code", "reservation", "wckey", "comment", "work_dir", "features", "licenses", "submit_line", "sluid"), TEXT),
    **dict.fromkeys(("submit_at", "end_at", "time_limit_s", "threads_per_core", "array_job_id", "array_task_id", "het_job_id", "het_offset", "restarts"), st.none() | INT),
    num_nodes=INT,
    num_cpus=INT,
    nodes=HOSTS.map(tuple),
    tres=st.lists(st.tuples(st.sampled_from(["cpu", "gres/gpu", "gres/gpu:a"]), SMALL), max_size=3).map(tuple),
    allocation=st.none() | st.lists(NODES, max_size=3).map(tuple),
    sharing=st.none() | st.sampled_from(Sharing),
    script=st.none() | TEXT,
)  # fmt: skip
CONFIGS = st.builds(
    ClusterConfig,
    backend_name=st.sampled_from(["", "demo", "star"]),
    strip_domain=st.booleans(),
    hwthreads=st.just({}) | st.just({"c*": ((0, 1), (2, 3))}),
    gpus=st.just({}) | st.just({"g*": ("A",)}),
)
REQUIRED = {"jobId", "user", "cluster", "numNodes", "resources", "startTime", "metaData", "walltime", "smt", "numAcc", "numHwthreads", "partition", "project"}  # fmt: skip


@given(run=JOBS, config=CONFIGS, dialect=st.sampled_from(list(DIALECTS.values())), slim=st.booleans())
def test_any_job_gives_a_lawful_start_or_a_reason(
    run: Job, config: ClusterConfig, dialect: Any, slim: bool
) -> None:
    """Whatever Slurm says, what is sent obeys the contract's types, totals and names."""
    body = start_body(
        run, config, TOPOLOGY, BodyOptions(dialect=dialect, without_long_texts=slim, script_limit=16)
    )
    if isinstance(body, NotRepresentable):
        assert body.reason
        return
    fields = json.loads(body.content)
    assert set(fields) - {"arrayJobId"} == REQUIRED | {dialect.sharing_field}
    assert fields[dialect.sharing_field] in dialect.sharing.values()
    assert 0 < fields["jobId"] < 2**63
    assert 0 < fields["startTime"] < 2**63
    assert 0 < fields.get("arrayJobId", 1) < 2**63
    assert 0 <= fields["walltime"] < 2**63
    assert 0 <= fields["numHwthreads"] < 2**31
    assert fields["smt"] in (0, 1)
    assert fields["user"].strip()
    assert all(isinstance(value, str) and value for value in fields["metaData"].values())
    lawful_resources(fields)


def lawful_resources(fields: dict[str, Any]) -> None:
    resources = fields["resources"]
    hosts = [node["hostname"] for node in resources]
    assert len(hosts) == len(set(hosts)) == fields["numNodes"] >= 1
    assert fields["numAcc"] >= sum(len(node.get("accelerators", [])) for node in resources)
    for node in resources:
        assert set(node) <= {"hostname", "hwthreads", "accelerators"}
        assert node["hostname"]
        threads = node.get("hwthreads", [0])
        assert threads == sorted(set(threads))
        assert threads


@given(start=JOBS, stop=JOBS, config=CONFIGS, dialect=st.sampled_from(list(DIALECTS.values())))
def test_any_end_gives_a_lawful_stop_or_a_reason(
    start: Job, stop: Job, config: ClusterConfig, dialect: Any
) -> None:
    """Exactly the five fields, a word of the dialect, and never an end before the start."""
    body = stop_body(start, stop, config, BodyOptions(dialect=dialect))
    if isinstance(body, NotRepresentable):
        assert body.reason
        return
    fields = json.loads(body.content)
    assert set(fields) == {"jobId", "cluster", "startTime", "stopTime", "jobState"}
    assert fields["jobState"] in dialect.states.values()
    assert fields["startTime"] <= fields["stopTime"] < fields["startTime"] + 2**31


@given(
    st.lists(
        st.builds(
            NodeState, host=TEXT, state=TEXT | st.just("idle"), cpus=INT, memory_mib=INT, gpus=INT, jobs=INT
        )
    )
)
def test_any_node_has_one_of_the_six_words(nodes: list[NodeState]) -> None:
    """Other words and odd numbers do not reach the backend."""
    fields = json.loads(nodes_body("demo", nodes, ClusterConfig(backend_name="star")).content)
    assert set(fields) == {"cluster", "nodes"}
    assert fields["cluster"] == "star"
    for node in fields["nodes"]:
        assert set(node) == {
            "hostname",
            "states",
            "cpusAllocated",
            "memoryAllocated",
            "gpusAllocated",
            "jobsRunning",
        }
        assert set(node["states"]) < {"allocated", "reserved", "idle", "down", "mixed", "unknown"}
        assert all(
            0 <= node[key] < 2**31
            for key in ("cpusAllocated", "memoryAllocated", "gpusAllocated", "jobsRunning")
        )


def test_a_large_run_is_made_in_bounded_size() -> None:
    """A thousand nodes of 128 threads: the summary does not grow with them."""
    hosts = tuple(f"cn{number:03}" for number in range(1, 101))
    held = tuple(NodeAllocation(host, cores=((0, 0), (0, 1), (1, 0), (1, 1)), cpus=8) for host in hosts)
    fields, notes = made(replace(job(), nodes=hosts, allocation=held, num_cpus=800))
    assert fields["numHwthreads"] == 800
    assert notes == set()
    assert len(fields["metaData"]["slurmInfo"]) <= 16384
