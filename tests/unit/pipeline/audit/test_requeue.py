"""``requeue = "replace"`` against the embedded backend and the real store (J2, H6)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from slurmsyncd.config import ClusterConfig
from slurmsyncd.delivery import Discrepancy, Outcome, OutcomeKind, Repair
from slurmsyncd.model import EventKind, OutboxEntry
from slurmsyncd.pipeline.replacing_sink import ReplacingSink
from slurmsyncd.sinks.bodies import edit_body
from slurmsyncd.sinks.dialect import V1_5
from slurmsyncd.sinks.rest.duplicates import moment
from slurmsyncd.sinks.rest.sink import RestSink
from tests.unit.pipeline.audit.world import World, job
from tests.unit.sinks.parts import START, sink_on, token_file

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from slurmsyncd.model import Job, RunKey
    from slurmsyncd.sinks.bodies import RequestBody

pytestmark = pytest.mark.anyio

FIRST, SECOND, THIRD = job(1), job(1, START + 200), job(1, START + 400)
RUNNING = ("running", None)
COMPLETED = ("completed", 60)


@pytest.fixture
def sink(world: World) -> ReplacingSink:
    return ReplacingSink(world.sink, world.sink, world.store, world.thread, world.clock)


def states(world: World) -> dict[int, tuple[str, str]]:
    """Return start → (step, state) of the job's deliveries."""
    return {
        story.key.start_at: (story.deliveries[0].step.value, story.deliveries[0].state)
        for story in world.store.run_histories(1)
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
    """keep-first: the second is left out, which is no trouble, and no row is removed."""
    world.begin(FIRST)
    world.end(FIRST)
    await world.deliver()
    world.begin(SECOND)
    await world.deliver()
    assert world.there() == {(1, START): COMPLETED}
    assert world.store.list_deliveries("cc") == ()
    assert left_out(world) == {SECOND.key: "repeat_of_earlier_run"}
    assert world.asked("/api/jobs/delete_job/") == []


def left_out(world: World) -> dict[RunKey, str]:
    return {each.key: each.reason for each in world.store.list_deliveries("cc", state="dropped")}


def note_at(world: World, run: Job) -> str:
    """Return the note that the backend's page shows first."""
    (row,) = [row for row in world.backend.rows() if row["start_time"] == run.key.start_at]
    message: str = json.loads(row["meta_data"])["message"]
    return message


@pytest.fixture
async def keeping(world: World, tmp_path: Path) -> AsyncIterator[RestSink]:
    """Return a sink that keeps the first run, as the configuration has it."""
    token = token_file(tmp_path / "keeping", world.backend.token())
    sink = sink_on(world.backend.url, token, {}, requeue="keep-first")
    yield sink
    await sink.aclose()


@pytest.mark.parametrize("over", [True, False])
async def test_j2_later_runs_are_noted_at_the_one_that_is_kept(
    world: World, keeping: RestSink, *, over: bool
) -> None:
    """Each once, whether that has ended or not, beside what an admin noted; all else of its record stays."""
    world.begin(FIRST)
    if over:
        world.end(FIRST)
    await world.deliver(keeping)
    await keeping._edit(edit_body(FIRST.key, "message", "broken fan", ClusterConfig(name="demo")))
    before = [{**row, "meta_data": None} for row in world.backend.rows()]
    world.begin(SECOND, THIRD)
    await world.deliver(keeping)
    ids = [each.id for each in world.store.list_deliveries("cc", state="dropped")]
    world.store.retry(ids, world.clock.now())
    await world.deliver(keeping)
    assert left_out(world) == dict.fromkeys((SECOND.key, THIRD.key), "repeat_of_earlier_run")
    admin, *lines = note_at(world, FIRST).split("\n")
    assert admin == "broken fan"
    assert [line.split(" on.")[0] for line in lines] == [
        f"Slurm ran this job again from {moment(run.key.start_at)}" for run in (SECOND, THIRD)
    ]
    assert [{**row, "meta_data": None} for row in world.backend.rows()] == before


async def test_j2_a_note_that_cannot_be_made_keeps_no_run_waiting(world: World, keeping: RestSink) -> None:
    """The archive is busy, which answers 500 though the database has the note; or something in between fails."""
    world.begin(FIRST)
    await world.deliver(keeping)
    world.backend.knobs.archive_delay_s = 3600.0
    world.end(FIRST)
    await world.deliver(keeping)
    world.begin(SECOND)
    await world.deliver(keeping)
    assert left_out(world) == {SECOND.key: "repeat_of_earlier_run"}
    assert "again from" in note_at(world, FIRST)

    class NoEdits(RestSink):
        async def _edit(self, body: RequestBody) -> Outcome:
            return Outcome(result=OutcomeKind.FAILED, reason="http_502")

    failing = NoEdits(keeping._config, {}, world.clock)
    world.begin(THIRD)
    for _ in range(4):
        world.clock.at += 60
        await world.deliver(failing)
    assert left_out(world).keys() == {SECOND.key, THIRD.key}
    await failing.aclose()


async def test_j2_a_backend_without_edits_is_not_asked_for_one(world: World, tmp_path: Path) -> None:
    """Before 1.5 the run is left out all the same."""
    token = token_file(tmp_path / "old", world.backend.token())
    sink = sink_on(world.backend.url, token, {}, requeue="keep-first", dialect=replace(V1_5, edits=False))
    world.begin(FIRST)
    await world.deliver(sink)
    world.begin(SECOND)
    await world.deliver(sink)
    assert left_out(world) == {SECOND.key: "repeat_of_earlier_run"}
    assert not [each for each in world.backend.requests if each["method"] == "PATCH"]
    await sink.aclose()


async def test_j2_the_earlier_run_is_removed_only_once_its_metrics_are_archived(
    world: World, sink: ReplacingSink
) -> None:
    """The archive outlives the removal; a run that never gets there is waited for an hour, not for ever."""
    world.backend.knobs.archive_delay_s = 3600.0
    world.begin(FIRST)
    await world.deliver(sink)
    world.end(FIRST)
    await world.deliver(sink)
    world.begin(SECOND)
    await world.deliver(sink)
    assert world.there() == {(1, START): COMPLETED}
    assert states(world)[SECOND.key.start_at] == ("start", "ready")
    world.clock.at += 3600
    await world.deliver(sink)
    assert world.there() == {(1, SECOND.key.start_at): RUNNING}


async def test_j1_a_run_that_a_later_one_keeps_out_is_a_dead_letter_whose_remedy_works(
    world: World, sink: ReplacingSink
) -> None:
    """It names the later run. Without that one there it is accepted, and the later one is sent again after it."""
    early, late = job(1), job(1, START + 26 * 3600)
    world.clock.at = START + 30 * 3600
    world.begin(late)
    world.end(late)
    await world.deliver(sink)
    world.begin(early)
    world.end(early)
    await world.deliver(sink)
    (letter,) = world.store.list_deliveries("cc")
    assert (letter.key, letter.reason) == (early.key, "later_run_is_there")
    assert moment(late.key.start_at) in letter.detail
    world.remove(1)
    world.store.retry([letter.id], world.clock.now())
    await world.deliver(sink)
    assert world.there() == {(1, START): COMPLETED}
    world.store.repair("cc", [Repair(late.key, Discrepancy.RUN_LOST)], world.clock.now())
    await world.deliver(sink)
    assert world.there() == {(1, START): COMPLETED, (1, late.key.start_at): COMPLETED}


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
    assert [letter.reason for letter in world.store.list_deliveries("cc")] == ["repeat_of_earlier_run"]
    assert world.asked("/api/jobs/delete_job/") == []


async def test_a_later_run_does_not_give_way_to_an_earlier_one(world: World, sink: ReplacingSink) -> None:
    """The backend has what it would have in the end anyway: within a day the earlier one is left out."""
    world.begin(SECOND)
    world.end(SECOND)
    await world.deliver(sink)
    world.begin(FIRST)
    world.end(FIRST)
    await world.deliver(sink)
    assert world.there() == {(1, SECOND.key.start_at): COMPLETED}
    assert left_out(world) == {FIRST.key: "later_run_is_there"}
    assert world.store.list_deliveries("cc") == ()


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
    outcome = await strict.deliver(OutboxEntry(id=2, sink="cc", kind=EventKind.START, start=SECOND))
    assert outcome.result is OutcomeKind.FAILED
    assert world.there() == {(1, START): COMPLETED}
    world.begin(SECOND)
    await world.deliver(sink)
    assert world.there() == {(1, SECOND.key.start_at): RUNNING}


class Forbidding:
    """The backend's inventory, from which nothing may be removed just now."""

    def __init__(self, world: World) -> None:
        self.name = world.sink.name
        self.list_running = world.sink.list_running
        self.find_runs = world.sink.find_runs
        self.differing = world.sink.differing
        self.doubtful_since = world.sink.doubtful_since
        self._world = world

    async def remove(self, key: RunKey) -> Outcome:
        self._world.backend.knobs.bad_gateways = 1
        return await self._world.sink.remove(key)
