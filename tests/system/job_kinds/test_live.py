"""The source on each live release beyond jobs: nothing there, nodes in every state, daemons away, what is offered."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio
import pytest

from slurmsyncd.errors import SourceUnavailable
from slurmsyncd.model import JobQuestions, JobState
from slurmsyncd.sources.slurm_cli import PINNED
from tests.system.job_kinds.scene import look, source_of
from tests.system.job_kinds.world import SHAPES
from tests.tools.lab import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from slurmsyncd.model import NodeState
    from tests.system.job_kinds.scene import Scene
    from tests.tools.lab import Lab

pytestmark = pytest.mark.anyio


async def test_an_empty_cluster_is_no_outage(scene: Scene) -> None:
    """Before the first job: an empty listing, nothing finished, and no trouble."""
    seen = scene.empty
    assert seen.job_list is not None
    assert (len(seen.job_list), seen.ended_runs, seen.errors) == (0, (), ())
    assert seen.accounting_read_until is not None


async def test_what_is_asked_for(scene: Scene, tmp_path: Path) -> None:
    """The pinned data version where there is one; 22.05 has none, and no filters. sacct's columns as offered."""
    commands = source_of(scene.lab, tmp_path)._commands
    offers, fields = await commands.capabilities(), await commands.sacct_columns()
    old = scene.version == "22.05"
    assert offers.version == tuple(map(int, scene.version.split(".")))
    assert (offers.json, offers.filters) == (("", False) if old else (PINNED, True))
    assert ("SLUID" in fields) == (not old)
    assert ("Exclusive" in fields) == ("OriginalSLUID" in fields) == (scene.version == "26.05")


async def test_slurms_own_id(scene: Scene) -> None:
    """From 24.11 on each run has one, as text; at its start only 26.05 tells it in the JSON."""
    stops = [entry.stop for entry in scene.observers["hooks"].told.values() if entry.stop]
    sluids = [job.sluid for job in stops]
    if scene.version == "22.05":
        assert set(sluids) == {""}
        return
    assert all(sluid.startswith("s") for sluid in sluids)
    assert len(set(sluids)) == len(stops)


async def test_a_row_of_accounting_says_who_shares_the_node(scene: Scene, tmp_path: Path) -> None:
    """26.05 has a column for it; before, accounting alone cannot tell."""
    ids = {kind: scene.jobs.ids[kind] for kind in ("exclusive", "exclusive-user", "one")}
    answers = await source_of(scene.lab, tmp_path).query_jobs(
        JobQuestions(accounting=frozenset(ids.values()))
    )
    rows = {job.key.job_id: job.sharing and job.sharing.value for job in answers.accounting or ()}
    found = {kind: rows[job_id] for kind, job_id in ids.items()}
    known = {"exclusive": "none", "exclusive-user": "single_user", "one": "multi_user"}
    assert found == (known if scene.version == "26.05" else dict.fromkeys(known))


async def test_a_run_resized_long_ago_is_found_with_its_own_start(scene: Scene, tmp_path: Path) -> None:
    """A look whose window holds the end alone, and not the rows of earlier sizes, still gives the run its start."""
    (key,) = scene.of("resized")
    end_at = int(scene.runs[key]["End"])

    seen = await source_of(scene.lab, tmp_path).poll(end_at, end_at, listing=False)

    assert [job.key.start_at for job in seen.ended_runs if job.key.job_id == key[0]] == [key[1]]


async def test_nodes(scene: Scene, tmp_path: Path) -> None:
    """Allocated, mixed, idle, draining, drained, down and reserved nodes, with what is in use and by how many."""
    lab = scene.lab
    with busy(lab):
        states = {node.host: node for node in await source_of(lab, tmp_path).node_states()}
        shown = nodes_shown(lab)
    assert states.keys() == set(SHAPES)
    expected = {
        "n1": "mixed",
        "small1": "allocated",
        "big1": "allocated",  # draining: it works until its job ends
        "n3": "down",  # drained: it takes no work
        "frail1": "down",
        "booked1": "reserved",
        "n4": "idle",
    }
    assert {host: states[host].state for host in expected} == expected
    assert {host: numbers(state) for host, state in states.items()} == shown
    assert {host: states[host].jobs for host in ("n1", "small1", "n4")} == {"n1": 2, "small1": 1, "n4": 0}
    assert numbers(states["n1"]) == (4, 4000, 3)


async def test_s2_what_is_down_is_unavailable(scene: Scene, tmp_path: Path) -> None:
    """With slurmctld stopped nothing is concluded, though some commands say nothing with exit code 0; it comes back."""
    lab, (finished,) = scene.lab, scene.of("timeout")
    source = source_of(lab, tmp_path)
    now = int(time.time())
    with lab.slurmctld.stopped():
        seen = await source.poll(now - 600, now)
        assert (seen.job_list, len(seen.errors)) == (None, 1)
        assert seen.accounting_read_until == now
        assert finished[0] in {job.key.job_id for job in seen.ended_runs}
        questions = (
            lambda: source.query_jobs(JobQuestions(details=frozenset({1}))),
            lambda: source.query_jobs(JobQuestions(details=frozenset({1, 2}))),
            source.node_states,
        )
        async with anyio.create_task_group() as group:  # each takes Slurm ten seconds
            for question in questions:
                group.start_soon(refused, question)
    seen = await source.poll(now - 600, now)
    assert (seen.errors, seen.job_list is not None) == ((), True)


async def test_s2_without_munge_nothing_is_concluded(scene: Scene, tmp_path: Path) -> None:
    """Neither half answers: the look fails as a whole; afterwards all is there again."""
    lab = scene.lab
    if lab.munged is None:
        pytest.skip("this machine's own munged is in use")
    now = int(time.time())
    with lab.munged.stopped(), pytest.raises(SourceUnavailable):
        await source_of(lab, tmp_path).poll(now - 600, now)
    seen = await look(lab, tmp_path)
    assert seen.errors == ()
    assert seen.ended_runs


async def test_a_controller_that_has_forgotten_is_no_outage(scene: Scene, tmp_path: Path) -> None:
    """Asked for an id that it never knew, and for several: no details, no trouble."""
    source = source_of(scene.lab, tmp_path)
    for ids in ({999_999}, {999_998, 999_999}):
        answers = await source.query_jobs(JobQuestions(details=frozenset(ids), accounting=frozenset(ids)))
        assert (answers.details, answers.accounting, answers.errors) == ((), (), ())


async def refused(question: Callable[[], Awaitable[object]]) -> None:
    """Ask what has to fail."""
    with pytest.raises(SourceUnavailable):
        await question()


@contextmanager
def busy(lab: Lab) -> Iterator[None]:
    """Have nodes in every state for a while."""

    def submit(*args: str) -> int:
        return lab.sbatch("-t5", *args, script="sleep 300")

    jobs = [
        submit("-wn1", "-n2", "--gres=gpu:2"),
        submit("-wn1", "-n2", "--gres=gpu:1"),
        submit("-pmixed", "-wsmall1", "-n4"),
        submit("-pmixed", "-wbig1", "--exclusive"),
    ]
    for job_id in jobs:
        lab.wait(job_id, "RUNNING")
    for node, state in (("big1", "drain"), ("n3", "drain")):
        lab.scontrol("update", f"nodename={node}", f"state={state}", "reason=test")
    lab.slurmd["frail1"].stop()  # a node that is set down comes back by itself as long as its slurmd lives
    lab.scontrol("update", "nodename=frail1", "state=down", "reason=test")
    try:
        yield
    finally:
        lab.slurmd["frail1"].launch()
        lab.scancel(*jobs)
        for node in ("big1", "n3"):
            lab.scontrol("update", f"nodename={node}", "state=undrain")
        until(lambda: "frail1" in lab._idle(), "frail1 back", timeout_s=60)


def nodes_shown(lab: Lab) -> dict[str, tuple[int, int, int]]:
    """Return CPUs, memory and GPUs in use by host, as scontrol shows them in words."""
    found = {}
    for line in lab.scontrol("--details", "--oneliner", "show", "node").splitlines():
        words = dict(word.split("=", 1) for word in line.split() if "=" in word)
        used = words.get("GresUsed", "").split("gpu:")[1:]
        gpus = sum(int(item.split("(")[0].split(":")[-1]) for item in used)
        found[words["NodeName"]] = (int(words["CPUAlloc"]), int(words["AllocMem"]), gpus)
    return found


def numbers(node: NodeState) -> tuple[int, int, int]:
    """Return what of a node is in use."""
    return node.cpus, node.memory_mib, node.gpus


async def test_s23_states_that_a_waiting_job_has(scene: Scene, tmp_path: Path) -> None:
    """A held job is listed as pending, without a start, and has no details."""
    held = scene.lab.sbatch("--hold")
    try:
        seen = await look(scene.lab, tmp_path)
        (listed,) = [item for item in seen.job_list or () if item.job_id == held]
        assert (listed.state, listed.start_at) == (JobState.PENDING, None)
        answers = await source_of(scene.lab, tmp_path).query_jobs(JobQuestions(details=frozenset({held})))
        assert answers.details == ()
    finally:
        scene.lab.scancel(held)
