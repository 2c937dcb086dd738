"""The REST sink against the embedded backend: both read the same contract, in different words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from slurmsyncd.config import ClusterConfig
from slurmsyncd.delivery import Outcome, OutcomeKind
from slurmsyncd.model import EventKind, Gres, JobState, NodeAllocation, NodeState, OutboxEntry, RunKey
from slurmsyncd.sandbox.backend.server import BackendConfig, EmbeddedBackend
from tests.unit.sinks.parts import CLUSTERS, START, entry, gpu_job, job, sink_on, token_file

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from slurmsyncd.sinks.rest.sink import RestSink

pytestmark = pytest.mark.anyio

R = OutcomeKind


def site() -> list[dict[str, Any]]:
    """Return cluster.json files as an admin would write them."""
    demo, star = json.loads(json.dumps(CLUSTERS["clusters"]))
    demo["subClusters"][0]["topology"].pop("accelerators")
    star["subClusters"][0]["topology"] = {"node": [0, 1]}
    return [demo, star]


@pytest.fixture
async def backend() -> AsyncIterator[EmbeddedBackend]:
    async with EmbeddedBackend.open(
        BackendConfig(clusters=site(), commit_interval=None, test_api=True)
    ) as running:
        yield running


@pytest.fixture
async def sink(backend: EmbeddedBackend, tmp_path: Path) -> AsyncIterator[RestSink]:
    made = sink_on(backend.url, token_file(tmp_path / "token", backend.token()))
    yield made
    await made.aclose()


async def deliver(sink: RestSink, what: OutboxEntry) -> OutcomeKind:
    return (await sink.deliver(what)).result


def running(backend: EmbeddedBackend) -> list[dict[str, Any]]:
    return [row for row in backend.rows() if row["job_state"] == "running"]


async def test_a_run_from_start_to_stop(backend: EmbeddedBackend, sink: RestSink) -> None:
    """One record, with what was sent, ended as it ended."""
    run = gpu_job(Gres("gpu", "a100", 1, (1,)))
    assert await deliver(sink, entry(run=run)) is R.ACCEPTED
    await backend.tick()
    assert await deliver(sink, entry(EventKind.STOP, run=run, state=JobState.TIMEOUT)) is R.ACCEPTED
    (row,) = backend.rows()
    assert (row["job_state"], row["duration"], row["cached"]) == ("timeout", 60, 0)
    assert json.loads(row["resources"]) == [
        {"hostname": "gpu01", "hwthreads": [0], "accelerators": ["00000000:13:00.0"]}
    ]


async def test_a_run_on_ignored_hosts_is_settled_and_not_sent(
    backend: EmbeddedBackend, tmp_path: Path
) -> None:
    """Nothing is asked of the backend for it, and nothing waits."""
    clusters = {"demo": ClusterConfig(name="demo", ignore_hosts=("cn*",))}
    sink = sink_on(backend.url, token_file(tmp_path / "token", backend.token()), clusters)
    outcome = await sink.deliver(entry(run=job(nodes=("cn001",))))
    await sink.aclose()
    assert (outcome.result, outcome.reason) == (R.ALREADY_DELIVERED, "ignored_hosts")
    assert backend.requests == []


@pytest.mark.parametrize("state", [state for state in JobState if state.is_final])
async def test_every_end_is_taken(backend: EmbeddedBackend, sink: RestSink, state: JobState) -> None:
    """No final state of Slurm's is refused."""
    assert await deliver(sink, entry()) is R.ACCEPTED
    assert await deliver(sink, entry(EventKind.STOP, state=state)) is R.ACCEPTED
    assert running(backend) == []


async def test_h4_h5_a_start_that_is_repeated_is_counted_once(
    backend: EmbeddedBackend, sink: RestSink
) -> None:
    """While it is cached (500), and when it is committed (422)."""
    assert await deliver(sink, entry()) is R.ACCEPTED
    assert await deliver(sink, entry()) is R.ALREADY_DELIVERED
    await backend.tick()
    assert await deliver(sink, entry()) is R.ALREADY_DELIVERED
    await deliver(sink, entry(EventKind.STOP))
    assert await deliver(sink, entry()) is R.ALREADY_DELIVERED
    assert len(backend.rows()) == 1


async def test_h6_j2_a_requeue_within_a_day_is_not_taken_for_success(
    backend: EmbeddedBackend, sink: RestSink
) -> None:
    """The second run is refused with its reason, an earlier one however old; after a day it is taken."""
    await deliver(sink, entry())
    await backend.tick()
    for later in (3600, 86399):
        outcome = await sink.deliver(entry(run=job(start_at=START + later)))
        assert (outcome.result, outcome.reason) == (R.REPEATED, "repeat_of_earlier_run")
    for earlier in (-3600, -93600, -86400 * 30):
        outcome = await sink.deliver(entry(run=job(start_at=START + earlier)))
        assert (outcome.result, outcome.reason) == (R.REJECTED, "later_run_is_there")
    assert await deliver(sink, entry(run=job(start_at=START + 86400))) is R.ACCEPTED


async def test_h6_the_first_of_two_runs_is_found_again(backend: EmbeddedBackend, sink: RestSink) -> None:
    """With two rows of an id, a repeat of either is already there."""
    first, second = entry(), entry(run=job(start_at=START + 86400))
    for each in (first, second):
        assert await deliver(sink, each) is R.ACCEPTED
        await backend.tick()
    assert await deliver(sink, first) is R.ALREADY_DELIVERED
    assert await deliver(sink, second) is R.ALREADY_DELIVERED


async def test_a_stop_that_is_repeated_is_already_there(backend: EmbeddedBackend, sink: RestSink) -> None:
    """Also with another state, which is reported."""
    await deliver(sink, entry())
    assert await deliver(sink, entry(EventKind.STOP)) is R.ACCEPTED
    assert (await sink.deliver(entry(EventKind.STOP))).reason == "stopped"
    assert (await sink.deliver(entry(EventKind.STOP, state=JobState.FAILED))).reason == "stopped_otherwise"
    assert len(backend.rows()) == 1


async def test_h11_a_stop_without_its_start(backend: EmbeddedBackend, sink: RestSink) -> None:
    """Rows are gone: the stop says so, start and stop bring the run back."""
    assert await deliver(sink, entry(EventKind.STOP)) is R.START_MISSING
    assert await deliver(sink, entry()) is R.ACCEPTED
    assert await deliver(sink, entry(EventKind.STOP)) is R.ACCEPTED
    assert len(backend.rows()) == 1


@pytest.mark.parametrize("step", EventKind)
async def test_h3_h4_an_answer_that_is_lost_after_the_effect(
    backend: EmbeddedBackend, sink: RestSink, step: EventKind
) -> None:
    """The attempt failed as far as we know; the repeat finds it done, and there is one record."""
    if step is EventKind.STOP:
        await deliver(sink, entry())
        backend.knobs.hang_up_stops = 2  # the first is repeated silently: its connection was an old one
    else:
        backend.knobs.hang_up_starts = 1
    assert await deliver(sink, entry(step)) in (R.FAILED, R.ALREADY_DELIVERED)
    assert await deliver(sink, entry(step)) is R.ALREADY_DELIVERED
    assert len(backend.rows()) == 1


async def test_h3_an_answer_that_comes_too_late(
    backend: EmbeddedBackend, sink: RestSink, tmp_path: Path
) -> None:
    """The deadline passes while the start takes effect; the repeat settles it."""
    await deliver(sink, entry(run=job(job_id=1)))
    hasty = sink_on(backend.url, tmp_path / "token", timeout=2.0)
    assert await deliver(hasty, entry(run=job(job_id=2))) is R.ACCEPTED
    backend.knobs.delay_s = 30.0
    assert (await hasty.deliver(entry())).reason == "timeout"
    backend.knobs.delay_s = 0.0
    assert await deliver(hasty, entry()) is R.ALREADY_DELIVERED
    assert len(backend.rows()) == 3
    await hasty.aclose()


async def test_h9_401_for_a_while(backend: EmbeddedBackend, sink: RestSink, tmp_path: Path) -> None:
    """An alarm for the sink; with a token that is good again things go on."""
    token_file(tmp_path / "token", backend.token(lifetime_s=-10))
    outcome = await sink.deliver(entry())
    assert (outcome.result, outcome.reason, outcome.action_required) == (
        R.SINK_UNAVAILABLE,
        "credentials",
        True,
    )
    token_file(tmp_path / "token", backend.token())
    assert await deliver(sink, entry()) is R.ACCEPTED


async def test_h7_one_refused_run_concerns_no_other(backend: EmbeddedBackend, sink: RestSink) -> None:
    """400 for one id, and the next is taken."""
    backend.knobs.refuse_job_ids = [7]
    assert await deliver(sink, entry()) is R.REJECTED
    assert await deliver(sink, entry(run=job(job_id=8))) is R.ACCEPTED


async def test_a_backend_that_takes_jobs_by_nats(backend: EmbeddedBackend, sink: RestSink) -> None:
    """Start, stop and probe say that its jobs come by NATS; it is an alarm."""
    assert (await sink.probe()).result is R.ACCEPTED
    backend.knobs.nats_mode = True

    def judged(outcome: Outcome) -> tuple[OutcomeKind, str, bool]:
        return outcome.result, outcome.reason, outcome.action_required

    for outcome in (
        await sink.deliver(entry()),
        await sink.deliver(entry(EventKind.STOP)),
        await sink.probe(),
    ):
        assert judged(outcome) == (R.SINK_UNAVAILABLE, "jobs_by_nats", True)
    backend.knobs.nats_mode = False
    assert await deliver(sink, entry()) is R.ACCEPTED


async def test_h8_transient_failures(backend: EmbeddedBackend, sink: RestSink) -> None:
    """502 with HTML and a locked database: the same again."""
    await deliver(sink, entry(run=job(job_id=1)))
    backend.knobs.bad_gateways = 1
    assert (await sink.deliver(entry())).reason == "http_502"
    backend.knobs.locked = 1
    assert (await sink.deliver(entry())).reason == "http_500"
    assert await deliver(sink, entry()) is R.ACCEPTED


async def test_h7_a_node_that_is_added_later(backend: EmbeddedBackend, sink: RestSink) -> None:
    """Parked until the admin adds it; then it is taken, with its threads."""
    held = NodeAllocation("new1", cores=((1, 0),), cpus=2)
    run = job(nodes=("new1",), allocation=(held,))
    outcome = await sink.deliver(entry(run=run))
    assert (outcome.result, outcome.reason) == (R.REJECTED_UNTIL_FIXED, "no_subcluster")
    clusters = site()
    clusters[0]["subClusters"].append({**clusters[0]["subClusters"][0], "name": "new", "nodes": "new[1-2]"})
    backend.set_clusters(clusters)
    assert await deliver(sink, entry(run=run)) is R.ACCEPTED
    assert json.loads(backend.rows()[0]["resources"]) == [{"hostname": "new1", "hwthreads": [2, 6]}]


async def test_an_unknown_cluster_is_parked(backend: EmbeddedBackend, sink: RestSink) -> None:
    """An admin can add it."""
    run = job(key=RunKey("nope", 7, START))
    outcome = await sink.deliver(entry(run=run))
    assert (outcome.result, outcome.reason) == (R.REJECTED_UNTIL_FIXED, "no_cluster")


async def test_any_host_of_a_star_cluster_is_taken(backend: EmbeddedBackend, sink: RestSink) -> None:
    """Its first sub-cluster has no node list."""
    run = job(key=RunKey("star", 7, START), nodes=("x.y.z",))
    assert await deliver(sink, entry(run=run)) is R.ACCEPTED


async def test_node_states_are_stored(backend: EmbeddedBackend, sink: RestSink) -> None:
    """The upload is accepted."""
    nodes = (NodeState("cn001", "idle", 0, 0, 0, 0), NodeState("gpu01", "allocated", 4, 1000, 2, 1))
    assert (await sink.send_node_states("demo", nodes)).result is R.ACCEPTED


async def test_the_probe_touches_no_job(backend: EmbeddedBackend, sink: RestSink) -> None:
    """It only reads the way in which stops are taken, and nothing is stopped."""
    await deliver(sink, entry())
    before = backend.rows()
    assert (await sink.probe()).result is R.ACCEPTED
    assert backend.rows() == before
