"""Dead letters that are delivered once more when the sink has been well for a time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from slurmsyncd.delivery import DeadLetter
from slurmsyncd.model import EventKind
from slurmsyncd.pipeline import audit
from slurmsyncd.pipeline.audit import WELL_S
from tests.unit.pipeline.audit.world import World, job
from tests.unit.sinks.parts import START

if TYPE_CHECKING:
    from slurmsyncd.model import Job

pytestmark = pytest.mark.anyio

LATER_S = WELL_S + 60.0


def dead(world: World) -> list[int]:
    return [letter.key.job_id for letter in world.store.list_deliveries("cc")]


def kill(world: World, run: Job) -> None:
    """Make a dead letter of a run, as a sink does that rejects it, accepts another and rejects it again."""
    world.begin(run)
    now = world.clock.now()
    (entry,) = world.store.due("cc", EventKind.START, now, 1)
    world.store.settle([(entry, DeadLetter("http_400", "attempt to write a readonly database"))], now)
    assert dead(world) == [run.key.job_id]


async def test_h7_a_run_that_a_flapping_sink_killed_is_delivered_after_an_hour(world: World) -> None:
    """Nothing was wrong with the run, so its start and its end arrive without an operator."""
    run = job(1)
    kill(world, run)
    await world.audit(after_s=WELL_S / 2)
    await world.deliver()
    assert dead(world) == [1]
    rings = world.rings
    with capture_logs() as logs:
        await world.audit(after_s=LATER_S)
    (said,) = [line for line in logs if line["event"] == "dead_letters_retried"]
    assert (said["count"], world.rings) == (1, rings + 1)
    await world.deliver()
    world.end(run)
    await world.deliver()
    assert (dead(world), world.there()[1, START]) == ([], ("completed", 60))
    assert "second_chance" in world.history(run)


async def test_d14_a_run_that_is_rejected_for_its_own_sake_is_tried_once_more_and_no_more(
    world: World,
) -> None:
    """It becomes a dead letter again, and later audits leave it to the operator."""
    world.begin(replace(job(1), user=""))
    await world.deliver()
    await world.audit(after_s=LATER_S)
    assert dead(world) == []
    await world.deliver()
    assert dead(world) == [1]
    for _ in range(3):
        await world.audit(after_s=LATER_S)
        assert dead(world) == [1]
    assert world.history(job(1)) == ["no_user", "second_chance", "no_user"]


async def test_second_chances_wait_until_the_sink_has_been_well(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an outage within the hour, and after an audit that failed, nothing is tried again."""
    world.begin(replace(job(1), user=""))
    await world.deliver()
    world.clock.at += LATER_S
    monkeypatch.setattr(world.sink, "_doubtful_since", world.clock.now())
    await world.audit()
    world.backend.knobs.bad_gateways = 1
    await world.audit(after_s=LATER_S)
    assert dead(world) == [1]
    monkeypatch.setattr(world.sink, "_doubtful_since", None)
    await world.audit()
    assert dead(world) == []


async def test_i6_one_audit_gives_a_bounded_number_of_chances_and_the_next_ones_the_rest(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backlog of dead letters does not crowd out what is new."""
    monkeypatch.setattr(audit, "CHANCES", 2)
    world.begin(*[replace(job(n), user="") for n in range(1, 6)])
    await world.deliver()
    left = []
    for _ in range(4):
        await world.audit(after_s=LATER_S)
        left.append(len(dead(world)))
    assert left == [3, 1, 0, 0]
