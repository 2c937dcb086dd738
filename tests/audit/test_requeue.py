"""``requeue = "replace"`` against the embedded backend and the real store (J2, H6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from slurmsyncd.delivery import Result
from slurmsyncd.model import Entry, Step
from slurmsyncd.pipeline.requeue import ReplacingSink
from tests.audit.world import World, job
from tests.sinks.parts import START

if TYPE_CHECKING:
    from slurmsyncd.delivery import Outcome
    from slurmsyncd.model import RunKey

pytestmark = pytest.mark.anyio

FIRST, SECOND, THIRD = job(1), job(1, START + 200), job(1, START + 400)
RUNNING = ("running", None)
COMPLETED = ("completed", 60)


@pytest.fixture
def sink(world: World) -> ReplacingSink:
    return ReplacingSink(world.sink, world.sink, world.store, world.thread, world.clock)


def states(world: World) -> dict[int, tuple[str, str]]:
    """Give start → (step, state) of the job's deliveries."""
    return {
        story.key.start_at: (story.deliveries[0].step.value, story.deliveries[0].state)
        for story in world.store.runs_of(1)
    }


async def test_j2_the_later_run_takes_the_earlier_ones_place(world: World, sink: ReplacingSink) -> None:
    """The first, told and ended, is removed there; both histories say so; the second is told as any run."""
    world.begin(FIRST)
    world.end(FIRST)
    await world.deliver(sink)
    world.begin(SECOND)
    await world.deliver(sink)
    assert world.there() == {(1, SECOND.key.start_at): RUNNING}
    assert world.history(FIRST) == ["replaced_by_requeue"]
    assert world.history(SECOND) == ["replaces_earlier_run"]
    world.end(SECOND)
    await world.deliver(sink)
    assert world.there() == {(1, SECOND.key.start_at): COMPLETED}
    assert set(states(world).values()) == {("stop", "done")}
    assert await world.audit() == {}  # what gave way is not lost


async def test_j2_without_the_setting_the_first_run_is_kept(world: World) -> None:
    """keep-first: the second is a dead letter, and no row is touched."""
    world.begin(FIRST)
    world.end(FIRST)
    await world.deliver()
    world.begin(SECOND)
    await world.deliver()
    assert world.there() == {(1, START): COMPLETED}
    assert [letter.reason for letter in world.store.letters("cc")] == ["repeat_of_earlier_run"]
    assert world.asked("/api/jobs/delete_job/") == []


async def test_an_earlier_run_that_has_not_ended_there_is_waited_for(
    world: World, sink: ReplacingSink
) -> None:
    """Its stop is on the way; until then nothing is removed, and the second is no dead letter."""
    world.begin(FIRST)
    await world.deliver(sink)
    world.begin(SECOND)
    await world.deliver(sink)
    assert world.there() == {(1, START): RUNNING}
    assert states(world)[SECOND.key.start_at] == ("start", "ready")
    world.end(FIRST)
    world.clock.at += 60
    await world.deliver(sink)
    world.clock.at += 60
    await world.deliver(sink)
    assert world.there() == {(1, SECOND.key.start_at): RUNNING}


async def test_a_row_that_shows_as_running_is_never_removed(world: World, sink: ReplacingSink) -> None:
    """Even if its stop was acknowledged (R1): first the audit has it stopped."""
    world.begin(FIRST)
    await world.deliver_uncommitted(sink)
    world.begin(job(2))
    await world.deliver_uncommitted(sink)
    world.end(FIRST)
    world.backend.knobs.race_stops = 1
    await world.deliver_uncommitted(sink)
    assert world.there()[1, START] == RUNNING
    world.begin(SECOND)
    await world.deliver(sink)
    assert world.there()[1, START] == RUNNING
    assert world.asked("/api/jobs/delete_job/") == []
    assert (await world.audit())["stop_lost"] == 1
    await world.deliver(sink)
    world.clock.at += 60
    await world.deliver(sink)
    assert world.there()[1, SECOND.key.start_at] == RUNNING
    assert (1, START) not in world.there()


async def test_a_foreign_row_is_never_removed(world: World, sink: ReplacingSink) -> None:
    """Somebody else told of the earlier run: the second is a dead letter."""
    await world.tell_as_other(FIRST, over=True)
    world.begin(SECOND)
    await world.deliver(sink)
    assert world.there() == {(1, START): COMPLETED}
    assert [letter.reason for letter in world.store.letters("cc")] == ["repeat_of_earlier_run"]
    assert world.asked("/api/jobs/delete_job/") == []


async def test_a_later_run_does_not_give_way_to_an_earlier_one(world: World, sink: ReplacingSink) -> None:
    """The backend refuses any earlier run of an id; what it holds is the newer."""
    world.begin(SECOND)
    world.end(SECOND)
    await world.deliver(sink)
    world.begin(FIRST)
    world.end(FIRST)
    await world.deliver(sink)
    assert world.there() == {(1, SECOND.key.start_at): COMPLETED}
    assert [letter.key for letter in world.store.letters("cc")] == [FIRST.key]


async def test_several_earlier_runs_give_way_one_after_the_other(world: World, sink: ReplacingSink) -> None:
    """As after an outage, in which a job was requeued twice and all its starts were told at once."""
    world.begin(FIRST, SECOND)
    await world.deliver_uncommitted(sink)  # both are in the backend's cache: it takes them
    world.end(FIRST, SECOND)
    await world.deliver(sink)
    assert len(world.there()) == 2
    world.begin(THIRD)
    await world.deliver(sink)
    assert world.there() == {(1, THIRD.key.start_at): RUNNING}


async def test_j2_a_removal_that_fails_loses_nothing(world: World, sink: ReplacingSink) -> None:
    """The second waits and is tried again; the first stays until then."""
    world.begin(FIRST)
    world.end(FIRST)
    await world.deliver(sink)
    forbidding = Forbidding(world)
    strict = ReplacingSink(world.sink, forbidding, world.store, world.thread, world.clock)
    outcome = await strict.deliver(Entry(id=2, sink="cc", step=Step.START, start=SECOND))
    assert outcome.result is Result.FAILED
    assert world.there() == {(1, START): COMPLETED}
    world.begin(SECOND)
    await world.deliver(sink)
    assert world.there() == {(1, SECOND.key.start_at): RUNNING}


class Forbidding:
    """The backend's inventory, from which nothing may be removed just now."""

    def __init__(self, world: World) -> None:
        self.name = world.sink.name
        self.running = world.sink.running
        self.presence = world.sink.presence
        self.doubtful_since = world.sink.doubtful_since
        self._world = world

    async def remove(self, key: RunKey) -> Outcome:
        self._world.backend.knobs.bad_gateways = 1
        return await self._world.sink.remove(key)
