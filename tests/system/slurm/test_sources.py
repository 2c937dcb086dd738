from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import anyio
import pytest

from slurmsyncd.config import SlurmConfig
from slurmsyncd.errors import SourceUnavailable
from slurmsyncd.model import JobQuestions, JobState
from slurmsyncd.slurm.gres import parse_gres
from slurmsyncd.slurm.hostlist import expand_hostlist
from slurmsyncd.sources.command_source import CommandSource
from slurmsyncd.sources.discovery import discover

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from slurmsyncd.model import Job, ListedJob
    from tests.tools.lab import Lab

pytestmark = pytest.mark.anyio

EVER = "uts1000000000"
HARD_NAME = "new\nline\t|pipe \"dq\" 'sq' \x1f \x1b[31m %A ünï"


@pytest.fixture
def source(lab: Lab, tmp_path: Path) -> CommandSource:
    config = SlurmConfig(bin_dir=str(lab.bin_dir), job_script=True)
    return CommandSource(lab.cluster, config, slurm_conf=lab.env["SLURM_CONF"], directory=tmp_path)


async def details(source: CommandSource, *ids: int) -> dict[int, Job]:
    answers = await source.query_jobs(JobQuestions(details=frozenset(ids)))
    return {job.key.job_id: job for job in answers.details or ()}


async def accounting(source: CommandSource, *ids: int) -> list[Job]:
    answers = await source.query_jobs(JobQuestions(accounting=frozenset(ids)))
    return sorted(answers.accounting or (), key=lambda job: job.key)


async def until(ready: Callable[[], bool], what: str) -> None:
    with anyio.fail_after(90):
        while not ready():  # noqa: ASYNC110 - what is waited for happens in Slurm
            await anyio.sleep(0.2)


def rows_of(lab: Lab, *ids: int) -> list[dict[str, str]]:
    """What accounting has of jobs right now; it may be some seconds behind."""
    return lab.sacct("-S", EVER, "-j", ",".join(map(str, ids)))


async def test_a_job_with_gpus_and_a_hard_name(lab: Lab, source: CommandSource) -> None:
    """Cores, devices, memory and names are those of ``scontrol show job -d`` while it runs, and stay its own."""
    plain = lab.sbatch("-N2", "-n4", "--gres=gpu:2", "-J", HARD_NAME, "--comment=9\n7|x", script="sleep 300")
    state = ("squeue", "-h", "-t", "all", "-j", str(plain), "-o", "%T")
    await until(lambda: "RUNNING" in lab.run(*state), "start")
    job = (await details(source, plain))[plain]
    shown = lab.scontrol("-d", "show", "job", str(plain))
    found: dict[str, tuple[set[int], int, str]] = {}
    for nodes, ids, memory, held in re.findall(r"Nodes=(\S+) CPU_IDs=(\S+) Mem=(\d+) GRES=(.*)", shown):
        for host in expand_hostlist(nodes):
            found[host] = ({int(number) for number in expand_hostlist(f"[{ids}]")}, int(memory), held)
    assert job.allocation
    assert {node.host for node in job.allocation} == found.keys() == set(job.nodes)
    for node in job.allocation:
        cpus, memory, held = found[node.host]
        # Two threads a core, eight cores a socket.
        assert {(cpu // 16, cpu // 2 % 8) for cpu in cpus} == set(node.cores)
        assert node.memory_mib == memory
        assert node.gres == parse_gres(held)
        assert sum(len(gres.indexes) for gres in node.gres) == 2
    assert job.name == HARD_NAME
    assert job.comment == "9\n7|x"
    assert job.script == "#!/bin/bash\nsleep 300\n"
    await until(lambda: [row["State"] for row in rows_of(lab, plain)] == ["RUNNING"], "its row in accounting")
    (row,) = await accounting(source, plain)
    assert row.key == job.key
    assert row.name == HARD_NAME.replace('"', "`")
    assert (row.nodes, dict(row.tres)) == (job.nodes, dict(job.tres))
    states = {node.host: node for node in await source.node_states()}
    assert {host: state.gpus for host, state in states.items() if state.gpus} == dict.fromkeys(job.nodes, 2)
    seen = await source.poll(int(time.time()) - 60, int(time.time()))
    assert seen.job_list
    assert [item.start_at for item in seen.job_list if item.job_id == plain] == [job.key.start_at]
    assert seen.records_skipped == 0


async def test_every_end_is_found_once_and_as_sacct_says(lab: Lab, source: CommandSource) -> None:
    """Array, failure, cancellation of a running and of a waiting job: exactly the runs that started."""
    began = int(time.time())
    ids = {
        "array": lab.sbatch("--array=0-2", script="exit 0"),
        "failed": lab.sbatch("-J", HARD_NAME, script="exit 3"),
        "cancelled": lab.sbatch(script="sleep 300"),
        "waiting": lab.sbatch("--hold"),
    }
    lab.wait(ids["cancelled"], "RUNNING")
    lab.scancel(ids["cancelled"], ids["waiting"])
    await until(lambda: sum(row["End"].isdigit() for row in rows_of(lab, *ids.values())) == 6, "all ends")
    rows = {row["JobIDRaw"]: row for row in rows_of(lab, *ids.values())}
    until_ = max(int(row["End"]) for row in rows.values())
    seen = await source.poll(began, until_)
    ours = {str(job.key.job_id): job for job in seen.ended_runs if job.key.start_at >= began}
    started = {job_id: row for job_id, row in rows.items() if row["NodeList"] != "None assigned"}
    assert ours.keys() == started.keys()
    assert len(ours) == 5
    for job_id, row in started.items():
        job = ours[job_id]
        assert (str(job.key.start_at), str(job.end_at)) == (row["Start"], row["End"])
        assert job.state.value == row["State"].split()[0]
        assert job.exit_code == row["ExitCode"]
        assert job.nodes == expand_hostlist(row["NodeList"])
    assert sorted(job.array_task_id for job in ours.values() if job.array_task_id is not None) == [0, 1, 2]
    assert seen.never_started >= 1
    assert (seen.accounting_read_until, seen.records_skipped, seen.errors) == (until_, 0, ())
    assert await details(source, ids["waiting"]) == {}


async def test_a_requeued_job_is_two_runs(lab: Lab, source: CommandSource) -> None:
    """While its nodes are cleared it is no new run; afterwards both runs are in accounting."""
    job_id = lab.sbatch("--requeue", script="sleep 300")
    lab.wait(job_id, "RUNNING")
    first = (await details(source, job_id))[job_id]
    lab.requeue(job_id)
    starts = {
        item.start_at for item in await listed(source) if item.job_id == job_id and item.state.is_active
    }
    assert starts <= {first.key.start_at}
    assert {job.key for job in (await details(source, job_id)).values()} <= {first.key}
    await until(lambda: lab.state(job_id) == "RUNNING", "second run")
    second = (await details(source, job_id))[job_id]
    assert second.key.start_at > first.key.start_at
    assert second.restarts == 1
    await until(lambda: "RUNNING" in {row["State"] for row in rows_of(lab, job_id)}, "its row in accounting")
    runs = await accounting(source, job_id)
    assert [run.state for run in runs] == [JobState.REQUEUED, JobState.RUNNING]
    assert [run.key for run in runs] == [first.key, second.key]


async def listed(source: CommandSource) -> tuple[ListedJob, ...]:
    now = int(time.time())
    return tuple((await source.poll(now - 1, now)).job_list or ())


async def test_s1_s2_what_is_down_is_unavailable(lab: Lab, source: CommandSource) -> None:
    """slurmctld and slurmdbd stopped in turn: the other half goes on, nothing is concluded, all comes back."""
    job_id = lab.sbatch(script="sleep 300")
    lab.wait(job_id, "RUNNING")
    now = int(time.time())
    with lab.slurmdbd.stopped():
        seen = await source.poll(now - 60, now)
        assert (seen.accounting_read_until, len(seen.errors)) == (None, 1)
        assert seen.job_list
        assert job_id in await details(source, job_id)
        with pytest.raises(SourceUnavailable, match="sacct"):
            await accounting(source, job_id)
    with lab.slurmctld.stopped():
        seen = await source.poll(now - 60, now)
        assert seen.job_list is None
        assert seen.accounting_read_until == now
        with pytest.raises(SourceUnavailable):
            await details(source, job_id)
        with pytest.raises(SourceUnavailable):
            await source.node_states()
    assert job_id in await details(source, job_id)


async def test_the_host_says_its_cluster(lab: Lab) -> None:
    """Name and release of the Slurm that is there."""
    found = await discover(SlurmConfig(bin_dir=str(lab.bin_dir)), slurm_conf=lab.env["SLURM_CONF"])
    assert found.cluster == lab.cluster
    assert found.version.startswith(lab.release.version)
