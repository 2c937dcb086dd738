"""Every run of the job set, field by field, against what sacct and scontrol say in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from slurmsyncd.model import JobState
from tests.system.job_kinds.world import SHAPES
from tests.tools.lab.witness import devices, hosts, tres

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from slurmsyncd.model import Job, NodeAllocation, OutboxEntry
    from tests.system.job_kinds.scene import Scene
    from tests.tools.lab.witness import Key

BY = ("hooks", "polls")
NEVER_STARTED = ("held", "later", "dependent", "deadline")
#: slurmdbd's columns for names are that wide.
COLUMN = 255


def told(scene: Scene, by: str) -> Iterator[tuple[Key, OutboxEntry, Mapping[str, str]]]:
    """Return each run: key, what was told, row of accounting."""
    for key, entry in scene.observers[by].by_key().items():
        yield key, entry, scene.runs[key]


def seen_running(scene: Scene, by: str) -> Iterator[tuple[Key, Job]]:
    """Return the starts of runs that were seen while they ran."""
    for key, entry, _ in told(scene, by):
        if entry.start.state in (JobState.RUNNING, JobState.SUSPENDED):
            yield key, entry.start


def as_stored(text: str) -> str:
    """Return a text as slurmdbd has it: some of its columns are cut, and some letters replaced."""
    return text.replace('"', "`").replace("\ufffd", "?")


@pytest.mark.parametrize("by", BY)
def test_exactly_the_runs_of_accounting_are_told_once(scene: Scene, by: str) -> None:
    """Each run gets one start and one stop; what never started is counted and no run."""
    seen = scene.observers[by]
    assert seen.by_key().keys() == scene.runs.keys()
    assert all(entry.stop for entry in seen.told.values())
    assert seen.again == []
    assert seen.tally.never_started == len(NEVER_STARTED)
    assert not {scene.jobs.ids[kind] for kind in NEVER_STARTED} & {key.job_id for key in seen.told}
    assert (seen.tally.records_skipped, seen.tally.error) == (0, None)


@pytest.mark.parametrize("by", BY)
def test_each_run_began_and_ended_as_accounting_says(scene: Scene, by: str) -> None:
    """State, end and exit code of each stop; owner, place and limits of each start."""
    for key, entry, row in told(scene, by):
        start, stop = entry.start, entry.stop
        assert stop, key
        assert (stop.state.value, str(stop.end_at)) == (row["State"].split()[0], row["End"]), key
        assert stop.exit_code == row["ExitCode"], key
        # A row that slurmdbd is not done with yet may say who had it and not on what terms (22.05); the start does.
        for said, written in zip(
            (stop.user, stop.partition, stop.qos), (row["User"], row["Partition"], row["QOS"]), strict=True
        ):
            assert said in (written, ""), key
        assert (start.user, start.partition, start.qos) == (row["User"], row["Partition"], row["QOS"]), key
        assert start.reservation == row["Reservation"], key
        limit = None if row["TimelimitRaw"] == "UNLIMITED" else int(row["TimelimitRaw"]) * 60
        assert start.time_limit_s == limit, key
        owner, _, task = row["JobID"].partition("_")
        main, _, offset = row["JobID"].partition("+")
        for job in (start, stop):
            array, het = (job.array_job_id, job.array_task_id), (job.het_job_id, job.het_offset)
            assert array == ((int(owner), int(task)) if task else (None, None)), key
            assert het == ((int(main), int(offset)) if offset else (None, None)), key


@pytest.mark.parametrize("by", BY)
def test_texts_are_those_that_were_submitted(scene: Scene, by: str) -> None:
    """Names, comments, accounts and directories, whatever they hold, as far as slurmdbd can keep them."""
    for key, entry, row in told(scene, by):
        start = entry.start
        ours = (start.account, start.wckey, start.comment, start.work_dir)
        theirs = (row["Account"], row["WCKey"], row["Comment"], row["WorkDir"])
        assert tuple(map(as_stored, ours)) == tuple(map(as_stored, theirs)), key
        assert as_stored(start.name)[:COLUMN] == as_stored(row["JobName"]), key


@pytest.mark.parametrize("by", BY)
def test_each_run_has_the_size_that_accounting_says(scene: Scene, by: str) -> None:
    """Hosts, CPUs, TRES and the time of submission; of a run that was resized accounting has the last size."""
    resized = set(scene.of("resized"))
    for key, entry, row in told(scene, by):
        start = entry.start
        if key in resized:
            continue
        assert sorted(start.nodes) == sorted(hosts(row["NodeList"])), key
        assert (start.num_nodes, start.num_cpus) == (int(row["NNodes"]), int(row["NCPUS"])), key
        assert dict(start.tres) == tres(row["AllocTRES"]), key
        assert str(start.submit_at) == row["Submit"], key


@pytest.mark.parametrize("by", BY)
def test_each_run_holds_what_scontrol_shows(scene: Scene, by: str) -> None:
    """Cores, memory and devices, host by host, of every run that was seen running."""
    compared = 0
    for key, start in seen_running(scene, by):
        if key not in scene.shown:
            continue
        held = scene.shown[key].held
        assert start.allocation, key
        assert [node.host for node in start.allocation] == list(start.nodes)
        assert {node.host for node in start.allocation} == held.keys(), key
        for node in start.allocation:
            assert _cpus(node) == held[node.host].cpus, key
            assert node.memory_mib == held[node.host].memory_mib, key
            found = [(gres.name, gres.type, gres.count, frozenset(gres.indexes)) for gres in node.gres]
            assert found == [devices(item) for item in held[node.host].gres], key
        compared += 1
    assert compared > len(scene.runs) * 0.7


@pytest.mark.parametrize("by", BY)
def test_numbers_agree_with_each_other(scene: Scene, by: str) -> None:
    """Hosts, hardware threads and devices that are named add up to numNodes, CPUs and AllocTRES, for every run."""
    for key, start in seen_running(scene, by):
        held = dict(start.tres)
        assert start.allocation, key
        assert (
            len(start.nodes)
            == len(set(start.nodes))
            == len(start.allocation)
            == start.num_nodes
            == held["node"]
        )
        assert sum(len(_cpus(node)) for node in start.allocation) == start.num_cpus == held["cpu"], key
        for node in start.allocation:
            assert node.cpus in (None, len(_cpus(node))), key
        assert sum(node.memory_mib or 0 for node in start.allocation) == held["mem"], key
        for name in ("gpu", "shard"):
            found = [gres for node in start.allocation for gres in node.gres if gres.name == name]
            assert sum(gres.count for gres in found) == held.get(f"gres/{name}", 0), key
        gpus = [gres for node in start.allocation for gres in node.gres if gres.name == "gpu"]
        assert all(len(gres.indexes) == gres.count for gres in gpus), key
        for name, count in start.tres:
            if name.startswith("gres/gpu:"):
                assert sum(gres.count for gres in gpus if f"gres/gpu:{gres.type}" == name) == count, key


@pytest.mark.parametrize("by", BY)
def test_what_came_and_went_unseen_still_has_its_cores(scene: Scene, by: str) -> None:
    """Of a run that was seen only after its end cores and memory are known, and devices are not invented."""
    after = [entry.start for _, entry, _ in told(scene, by) if entry.start.state.is_final]
    assert after
    last = dict(sorted(scene.runs))
    for job in after:
        if job.key.start_at < last[job.key.job_id]:
            assert job.allocation is None  # its record is the next run's already
            continue
        assert job.allocation
        assert all(node.cores and node.memory_mib for node in job.allocation)
        assert not any(node.gres for node in job.allocation)
        assert sum(len(_cpus(node)) for node in job.allocation) == job.num_cpus


def _cpus(node: NodeAllocation) -> frozenset[int]:
    """Number the CPUs of a node's cores as scontrol does: all threads of a core, core after core."""
    _, cores, threads, _ = SHAPES[node.host]
    return frozenset(
        (socket * cores + core) * threads + thread for socket, core in node.cores for thread in range(threads)
    )
