"""The daemon's own source understands what the simulated commands print, in every release's shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from slurmsyncd.config import SlurmConfig
from slurmsyncd.errors import SourceUnavailable
from slurmsyncd.model import JobQuestions
from slurmsyncd.sandbox.slurm import SHAPES
from slurmsyncd.sources.command_source import CommandSource
from slurmsyncd.sources.discovery import discover
from tests.unit.sandbox.slurm.lab import T0, Lab

if TYPE_CHECKING:
    from collections.abc import Callable

    from slurmsyncd.model import Job
    from slurmsyncd.sandbox.slurm.expected_runs import ExpectedRun

pytestmark = pytest.mark.anyio


def source_of(lab: Lab) -> CommandSource:
    config = SlurmConfig(bin_dir=str(lab.bin), slice=86400.0)
    return CommandSource(lab.sim.cluster, config, now=lambda: lab.now)


def key(run: ExpectedRun) -> tuple[int, int]:
    return run.job_id, run.start_at


@pytest.mark.parametrize("shape", SHAPES)
async def test_every_run_is_found(shape: str, make_lab: Callable[..., Lab]) -> None:
    """In a random mix the source finds exactly the runs of the ledger, with their ends, states and nodes."""
    lab = make_lab(shape, seed=11, requeue_delay_s=8, mean_s=10.0)
    for _ in range(80):
        lab.sim.submit_random(lab.now)
        lab.pass_(1)
    source = source_of(lab)
    seen = await source.poll(T0 - 60, int(lab.now))
    assert (seen.records_skipped, seen.accounting_read_until, seen.errors) == (0, int(lab.now), ())
    ledger = {key(run): run for run in lab.sim.ledger()}
    ended = {at for at, run in ledger.items() if run.end_at}
    told = {(job.key.job_id, job.key.start_at): job for job in seen.ended_runs}
    assert told.keys() == ended
    for at, job in told.items():
        run = ledger[at]
        assert (job.state.value, job.end_at, job.nodes, job.user) == (
            run.state,
            run.end_at,
            run.nodes,
            run.user,
        )
    assert seen.job_list is not None
    active = {
        (one.job_id, one.start_at) for one in seen.job_list if one.state.is_active and not one.state.is_final
    }
    assert active >= ledger.keys() - ended


@pytest.mark.parametrize("shape", SHAPES)
async def test_allocations_are_exact(shape: str, make_lab: Callable[..., Lab]) -> None:
    """Cores and GPU indexes of running jobs come out as the books have them."""
    lab = make_lab(shape, seed=4, mean_s=300.0)
    for _ in range(25):
        lab.sim.submit_random(lab.now)
        lab.pass_(1)
    running = {run.job_id: run for run in lab.sim.ledger() if run.end_at is None and run.state == "RUNNING"}
    answers = await source_of(lab).query_jobs(JobQuestions(details=frozenset(running)))
    assert answers.details is not None
    found: dict[int, Job] = {job.key.job_id: job for job in answers.details}
    assert found.keys() == running.keys()
    for job_id, run in running.items():
        allocation = found[job_id].allocation
        assert allocation is not None
        assert tuple(node.host for node in allocation) == run.nodes
        assert tuple(node.cores for node in allocation) == run.cores
        gpus = tuple(tuple(i for gres in node.gres for i in gres.indexes) for node in allocation)
        assert gpus == run.gpus
        assert dict(found[job_id].tres)["cpu"] == 2 * sum(map(len, run.cores))


@pytest.mark.parametrize("shape", SHAPES)
async def test_host(shape: str, make_lab: Callable[..., Lab]) -> None:
    """The name of the cluster, its release and MinJobAge are learnt from the configuration."""
    lab = make_lab(shape, cluster="toy", min_job_age_s=77)
    host = await discover(SlurmConfig(bin_dir=str(lab.bin)))
    assert (host.cluster, host.min_job_age_s) == ("toy", 77)
    assert host.version.startswith(shape)


@pytest.mark.parametrize("shape", SHAPES)
async def test_nodes(shape: str, make_lab: Callable[..., Lab]) -> None:
    """Every node's state and what is allocated of it come out right."""
    lab = make_lab(shape)
    lab.submit(nodes=1, cores=3, gpus=2, gpu_type="a100", duration_s=900)
    lab.submit(exclusive="node", duration_s=900)
    lab.pass_(2)
    nodes = {node.host: node for node in await source_of(lab).node_states()}
    assert (nodes["n5"].state, nodes["n5"].cpus, nodes["n5"].gpus, nodes["n5"].jobs) == ("mixed", 6, 2, 1)
    assert (nodes["n1"].state, nodes["n1"].cpus) == ("allocated", 32)
    assert nodes["n8"].state == "idle"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("fault", [("ctld", "down:0"), ("dbd", "down:0")])
async def test_half_an_outage(shape: str, fault: tuple[str, str], make_lab: Callable[..., Lab]) -> None:
    """S1: one daemon down takes one half of a look; both down are an outage."""
    lab = make_lab(shape)
    lab.submit(duration_s=900)
    lab.pass_(2)
    source = source_of(lab)
    await source.poll(T0, int(lab.now))
    lab.fault(*fault)
    seen = await source.poll(T0, int(lab.now))
    assert (seen.job_list is None) is (fault[0] == "ctld")
    assert (seen.accounting_read_until is None) is (fault[0] == "dbd")
    lab.fault("ctld", "down:0")
    lab.fault("dbd", "down:0")
    with pytest.raises(SourceUnavailable):
        await source.poll(T0, int(lab.now))


@pytest.mark.parametrize("shape", SHAPES)
async def test_no_phantoms(shape: str, make_lab: Callable[..., Lab]) -> None:
    """J1: the starts that slurmctld shows for a requeued job and for one cancelled while it waited are no runs."""
    lab = make_lab(shape)
    lab.submit(duration_s=30, requeue_after_s=4)
    lab.submit(begin_in_s=3600, cancel_after_s=4)
    lab.pass_(5)
    source = source_of(lab)
    seen = await source.poll(T0 - 60, int(lab.now))
    assert seen.job_list is not None
    assert [one.start_at for one in seen.job_list] == [None, None]
    answers = await source.query_jobs(JobQuestions(details=frozenset({1, 2})))
    assert answers.details == ()
