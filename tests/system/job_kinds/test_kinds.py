"""What is special in each kind of job."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from slurmsyncd.model import Sharing
from tests.system.job_kinds import jobset

if TYPE_CHECKING:
    from slurmsyncd.model import Job
    from tests.system.job_kinds.scene import Scene

#: Kind → how its runs ended, in order.
ENDS = {
    "timeout": ["TIMEOUT"],
    "failed": ["FAILED"],
    "killed": ["FAILED"],
    "cancelled": ["CANCELLED"],
    "suspended": ["COMPLETED"],
    "resized": ["COMPLETED"],
    "requeued": ["REQUEUED", "COMPLETED"],
    "node-down": ["NODE_FAIL", "COMPLETED"],
    "node-fail": ["NODE_FAIL"],
    "preempted": ["PREEMPTED"],
    "preempted-requeued": ["PREEMPTED", "COMPLETED"],
    "prolog-requeued": ["REQUEUED", "COMPLETED"],
    "prolog-cancelled": ["CANCELLED"],
    "unaccounted": ["COMPLETED"],
    "unaccounted-short": ["COMPLETED"],
    "short1": ["COMPLETED"],
    "long-line": ["COMPLETED"],
}


def only(scene: Scene, kind: str, by: str = "hooks") -> Job:
    """Return the start of a kind's only run."""
    (entry,) = scene.told(kind, by)
    return entry.start


@pytest.mark.parametrize("by", ["hooks", "polls"])
@pytest.mark.parametrize("kind", ENDS)
def test_ends(scene: Scene, kind: str, by: str) -> None:
    """Each kind has its runs, and each run its end."""
    entries = scene.told(kind, by)
    assert [entry.stop.state.value for entry in entries if entry.stop] == ENDS[kind]
    starts = [entry.start.key.start_at for entry in entries]
    assert starts == sorted(set(starts))
    if scene.version != "22.05" and len(entries) == 2:
        restarts = [entry.stop.restarts for entry in entries if entry.stop]
        assert restarts[-1] == 1


def test_array_tasks(scene: Scene) -> None:
    """Each task is a run with an id of its own; the last of them has the array's; a requeued one runs twice."""
    for kind, tasks in (("array", [0, 1, 2]), ("array-one-by-one", [3, 5, 9])):
        runs = [entry.start for entry in scene.told(kind)]
        assert sorted(job.array_task_id or 0 for job in runs) == tasks
        assert {job.array_job_id for job in runs} == {scene.jobs.ids[kind]}
        assert len({job.key.job_id for job in runs}) == 3
        (own,) = [job for job in runs if job.key.job_id == scene.jobs.ids[kind]]
        assert own.array_task_id == tasks[-1]
    requeued = [entry.stop for entry in scene.told("array-requeued")]
    ends = sorted((job.array_task_id, job.key.start_at, job.state.value) for job in requeued if job)
    assert [(task, state) for task, _, state in ends] == [(0, "CANCELLED"), (1, "REQUEUED"), (1, "COMPLETED")]


def test_waiting_tasks_of_an_array_start_one_after_the_other(scene: Scene) -> None:
    """With a limit of one no two of its runs overlap."""
    entries = sorted(scene.told("array-one-by-one"), key=lambda entry: entry.start.key.start_at)
    ends = [entry.stop.end_at or 0 for entry in entries if entry.stop]
    assert all(end <= entry.start.key.start_at for end, entry in zip(ends, entries[1:], strict=False))


def test_het_components(scene: Scene) -> None:
    """Each is a run with its own nodes and devices."""
    first, second = (entry.start for entry in scene.told("het"))
    assert (first.num_nodes, second.num_nodes) == (1, 2)
    assert [job.key.job_id for job in (first, second)] == [scene.jobs.ids["het"], scene.jobs.ids["het"] + 1]
    assert dict(second.tres)["gres/gpu"] == 2


def test_who_else_may_be_on_the_nodes(scene: Scene) -> None:
    """Whole nodes, nodes for one user, and shared ones, as the job asked for."""
    expected = {
        "exclusive": Sharing.NONE,
        "exclusive-user": Sharing.SINGLE_USER,
        "exclusive-partition": Sharing.NONE,
        "exclusive-user-partition": Sharing.SINGLE_USER,
        "oversubscribe": Sharing.MULTI_USER,
        "one": Sharing.MULTI_USER,
        "unlike-nodes": Sharing.MULTI_USER,
    }
    assert {kind: only(scene, kind).sharing for kind in expected} == expected


def test_threads_per_core(scene: Scene) -> None:
    """What the job asked for; with one thread it still holds whole cores, and Slurm counts all their threads."""
    asked = {"one-thread": 1, "no-multithread": 1, "two-threads": 2, "one": None}
    assert {kind: only(scene, kind).threads_per_core for kind in asked} == asked
    cores = {kind: sum(len(node.cores) for node in only(scene, kind).allocation or ()) for kind in asked}
    assert cores == {"one-thread": 4, "no-multithread": 3, "two-threads": 2, "one": 2}
    assert only(scene, "one-thread").num_cpus == 8


def test_unlike_nodes(scene: Scene) -> None:
    """A node of 8 cores with two threads and one of 4 cores with one: each has its own."""
    whole = only(scene, "exclusive")
    assert {node.host: len(node.cores) for node in whole.allocation or ()} == {"big1": 8, "small1": 4}
    assert whole.num_cpus == 20
    uneven = [len(node.cores) for node in only(scene, "uneven").allocation or ()]
    assert sum(uneven) == 10
    assert len(set(uneven)) > 1


@pytest.mark.parametrize("by", ["hooks", "polls"])
def test_devices(scene: Scene, by: str) -> None:
    """Typed, untyped, several types on a node, slices with dots and dashes in their names, gaps, shards."""

    def held(kind: str) -> list[tuple[str, str | None, int, tuple[int, ...]]]:
        nodes = only(scene, kind, by).allocation or ()
        return [(gres.name, gres.type, gres.count, gres.indexes) for node in nodes for gres in node.gres]

    assert held("gpu-types") == [("gpu", "a100", 1, (0,)), ("gpu", "v100", 2, (2, 3))]
    assert held("gpu-mig") == [("gpu", "1g.5gb", 2, (4, 5)), ("gpu", "a100-3g.20gb", 1, (8,))]
    assert held("gpu-first") == [("gpu", None, 3, (0, 1, 2))]
    assert held("gpu-last") == [("gpu", None, 6, (10, 11, 12, 13, 14, 15))]
    assert held("gpu-gaps") == [("gpu", None, 4, (0, 1, 2, 10))]
    assert held("shard") == [("shard", None, 3, (0,))]
    assert [(name, kind, count) for name, kind, count, _ in held("gpu-untyped")] == [("gpu", "a100", 1)]
    assert sorted(count for _, _, count, _ in held("gpu-uneven")) == [1, 2]
    assert held("licences") == []
    assert [(count, len(indexes)) for _, _, count, indexes in held("unaccounted")] == [(1, 1)]


def test_licences_reservation_qos_and_wckey(scene: Scene) -> None:
    """They travel as Slurm names them."""
    licences = only(scene, "licences")
    assert (licences.licenses, dict(licences.tres)["license/matlab"]) == ("matlab:2", 2)
    assert only(scene, "reserved").reservation == "booked"
    assert (only(scene, "qos").qos, only(scene, "qos").wckey) == ("high", "wk1")
    unlimited = only(scene, "unlimited")
    assert (unlimited.user, unlimited.account, unlimited.time_limit_s) == ("news", "chemistry", None)


def test_hard_texts(scene: Scene) -> None:
    """S13: newline, tab, delimiter, quotes, control characters: as they were given; what is no UTF-8 is replaced."""
    hard = only(scene, "hard")
    assert (hard.name, hard.comment) == (jobset.HARD_NAME, jobset.HARD_COMMENT)
    assert (hard.account, hard.wckey) == (jobset.HARD_ACCOUNT, "w|k")
    assert hard.work_dir.endswith("/work/" + jobset.HARD_NAME)
    broken = jobset.BROKEN_NAME.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    assert only(scene, "broken").name == broken
    assert only(scene, "broken").comment == broken


def test_long_texts(scene: Scene) -> None:
    """Slurm takes 1023 bytes of name and comment; a command line of 100 kB is cut where it is read."""
    long = only(scene, "long")
    assert (len(long.name), len(long.comment.encode())) == (jobset.LONGEST, jobset.LONGEST - 1)
    assert "too long" in scene.jobs.refused["long-comment"]
    (entry,) = scene.told("long-line")
    assert entry.stop
    assert len(entry.stop.submit_line) == 8192


def test_interactive_jobs(scene: Scene) -> None:
    """Jobs of srun and salloc are jobs like others, without a script."""
    runs = {row["JobName"]: key for key, row in scene.runs.items() if row["JobName"] in ("srun", "salloc")}
    told = scene.observers["hooks"].by_key()
    assert runs.keys() == {"srun", "salloc"}
    for name, key in runs.items():
        assert (told[key].start.name, told[key].start.num_cpus) == (name, 2)


@pytest.mark.parametrize("by", ["hooks", "polls"])
def test_a_resized_job_is_one_run(scene: Scene, by: str) -> None:
    """It has its own start and size, and the last end; slurmctld shows the start of the first size throughout."""
    (entry,) = scene.told("resized", by)
    sizes = [row for row in scene.rows if row["JobIDRaw"] == str(scene.jobs.ids["resized"])]
    assert [row["State"] for row in sizes] == ["RESIZING", "RESIZING", "COMPLETED"]
    assert [row["NNodes"] for row in sizes] == ["3", "2", "1"]
    starts = [row["Start"] for row in sizes]
    ends = [row["End"] for row in sizes]
    assert starts[1:] == ([starts[0]] * 2 if scene.version == "22.05" else ends[:2])
    assert entry.start.key.start_at == int(starts[0])
    assert entry.start.num_nodes == 3
    assert entry.stop
    assert (entry.stop.key, str(entry.stop.end_at)) == (entry.start.key, ends[-1])
