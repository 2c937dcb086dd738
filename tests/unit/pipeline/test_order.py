"""Runs of one job id against cc-backend's signed rule: after a later run it rejects every earlier one for good."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from slurmsyncd.delivery import Outcome, OutcomeKind
from slurmsyncd.model import EventKind, Plan, RunEnded, RunStarted, Trigger
from slurmsyncd.pipeline.deliver import DeliveryLoop
from tests.unit.pipeline.audit.world import POLICY, World, ended, job, world_in
from tests.unit.sinks.parts import START

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from slurmsyncd.model import Event, NodeState, OutboxEntry

pytestmark = pytest.mark.anyio

HOURS_26 = 26 * 3600
JOBS = range(1, 41)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with world_in(tmp_path) as made:
        yield made


class Committing:
    """A backend whose commit tick comes after every start, so that its rule sees each run at once."""

    name = "cc"

    def __init__(self, world: World, down: int = 0) -> None:
        self._world = world
        self.down = down

    async def deliver(self, entry: OutboxEntry) -> Outcome:
        if self.down > 0:
            self.down -= 1
            return Outcome(result=OutcomeKind.SINK_UNAVAILABLE, reason="unreachable")
        outcome = await self._world.sink.deliver(entry)
        await self._world.backend.tick()
        return outcome

    async def send_node_states(self, cluster: str, nodes: Sequence[NodeState]) -> Outcome:
        raise AssertionError("not reported")

    async def aclose(self) -> None:
        """It is the world's."""


@pytest.mark.parametrize("outage", [0, 30])
@pytest.mark.parametrize("order", ["earlier first", "later first"])
async def test_j1_no_run_of_a_backlog_is_lost_to_a_later_one_of_its_job_id(
    world: World, order: str, outage: int
) -> None:
    """Requeued jobs whose three runs began 26 h after one another: four workers at both ends of the queue."""
    runs = [job(n, START + HOURS_26 * again) for again in range(3) for n in JOBS]
    events: list[Event] = [RunStarted(run, Trigger.POLL) for run in runs]
    events += [RunEnded(ended(run), Trigger.POLL) for run in runs]
    world.clock.at = START + 4 * HOURS_26
    if order == "later first":
        events.sort(key=lambda event: (isinstance(event, RunEnded), -event.job.key.start_at))
    world.store.record(Plan(cluster="demo", events=tuple(events)), world.clock.now())
    sink = Committing(world, outage)
    workers = {EventKind.START: 4, EventKind.STOP: 2}
    policy = replace(POLICY, backoff_s=0.001, backoff_max_s=0.002)
    while "ready" in world.store.counts("cc").states:  # it returns when the sink is down
        await DeliveryLoop(sink, world.store, world.thread, policy, world.clock, workers=workers).run(
            until_idle=True
        )
    assert {run.key: world.there().get((run.key.job_id, run.key.start_at)) for run in runs} == {
        run.key: ("completed", 60) for run in runs
    }
    assert world.store.list_deliveries() == ()
