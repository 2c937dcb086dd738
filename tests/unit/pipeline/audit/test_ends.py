"""Finished runs that the backend shows with another end than it was sent, or cannot show at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from slurmsyncd.errors import DiskFull
from slurmsyncd.sinks.rest import listing as running
from tests.unit.pipeline.audit.world import GRACE_S, World, job
from tests.unit.sinks.parts import START

if TYPE_CHECKING:
    from slurmsyncd.model import Job

pytestmark = pytest.mark.anyio


async def finished(world: World, *runs: Job) -> None:
    """Deliver whole runs, each of 60 s."""
    world.begin(*runs)
    await world.deliver()
    world.end(*runs)
    await world.deliver()


def falsify(world: World, job_id: int, **values: Any) -> None:
    """Write another end into the backend's row."""
    columns = ", ".join(f"{name} = ?" for name in values)
    statement = f"UPDATE job SET {columns} WHERE job_id = ?"
    world.backend._core.database.link.execute(statement, (*values.values(), job_id))


def lists(world: World) -> int:
    return sum(request["method"] == "GET" for request in world.asked("/api/jobs/"))


@pytest.mark.parametrize(
    ("wrong", "shown"),
    [
        ({"duration": 597}, "'completed' after 597 s"),
        ({"job_state": "failed"}, "'failed' after 60 s"),
        ({"job_state": "failed", "duration": 0}, "'failed' after 0 s"),
    ],
)
async def test_h23_a_finished_run_with_a_wrong_end_is_reported_with_both_ends(
    world: World, wrong: dict[str, Any], shown: str
) -> None:
    """No request corrects it, so the report names what the backend shows and what it was sent, once."""
    await finished(world, job(1), job(2), job(3))
    falsify(world, 2, **wrong)
    with capture_logs() as logs:
        assert await world.audit() == {"ended_otherwise": 1}
    (said,) = [line for line in logs if line["event"] == "audit_finding"]
    assert (said["job"], said["log_level"]) == (2, "warning")
    assert shown in said["detail"]
    assert "sent was COMPLETED after 60 s" in said["detail"]
    assert world.auditor.tally.reports == dict(world.auditor.tally.findings)
    assert world.history(job(2)) == ["ended_otherwise"]
    world.auditor = world.audits(world.sink)  # restarted: compared again, and in the history already
    assert await world.audit() == {}


async def test_each_end_is_compared_once_and_neighbours_by_one_request(world: World) -> None:
    """Runs that began within a minute of each other are one list; the next audit asks for none of them."""
    await finished(world, *[job(n, START + n) for n in range(1, 101)], job(200, START + 5000))
    before = lists(world)
    assert await world.audit() == {}
    assert lists(world) == before + 3  # what runs, the hundred, the one
    assert await world.audit() == {}
    assert lists(world) == before + 4


async def test_h24_after_an_outage_the_ends_before_it_are_compared_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop that meets the first commit of a restarted backend may change a run that was found right before."""
    await finished(world, job(1))
    assert await world.audit() == {}
    falsify(world, 1, duration=597)
    assert await world.audit() == {}
    monkeypatch.setattr(world.sink, "_doubtful_since", world.clock.now())
    assert await world.audit() == {"ended_otherwise": 1}
    assert await world.audit() == {}


async def test_ends_that_were_settled_within_the_grace_wait_for_the_next_audit(world: World) -> None:
    """By NATS an end that was published a moment ago may still be under way."""
    await finished(world, job(1))
    falsify(world, 1, duration=597)
    assert await world.audit(after_s=GRACE_S - 1) == {}
    assert await world.audit() == {"ended_otherwise": 1}


async def test_d2_differences_that_could_not_be_recorded_are_found_again(world: World) -> None:
    """On a full disk nothing is reported, and the ends are compared by the next audit."""
    await finished(world, job(1))
    falsify(world, 1, duration=597)
    world.thread.failures["repair"] = [DiskFull("no room")]
    assert await world.audit() == {}
    assert not world.whole
    assert await world.audit() == {"ended_otherwise": 1}


async def test_h23_a_row_that_fails_its_page_is_found_by_halves_and_named(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All other runs of the page are compared; the run is reported, and the audit is complete."""
    monkeypatch.setattr(running, "PAGE", 16)
    await finished(world, *[job(n, START + n) for n in range(1, 61)])
    falsify(world, 50, duration=597)
    world.backend.knobs.unreadable_job_ids = [31]
    with capture_logs() as logs:
        assert await world.audit() == {"unreadable": 1, "ended_otherwise": 1}
    named = {line["finding"]: line["job"] for line in logs if line["event"] == "audit_finding"}
    assert named == {"unreadable": 31, "ended_otherwise": 50}
    assert world.whole


async def test_h23_an_unreadable_row_of_another_program_names_no_run(world: World) -> None:
    """A run that is gone is not called unreadable because another second cannot be listed."""
    await finished(world, job(1), job(2, START + 5))
    await world.tell_as_other(job(9, START + 9), over=True)
    world.remove(2)
    await finished(world, job(3, START + 12))
    world.backend.knobs.unreadable_job_ids = [9]
    assert await world.audit() == {}
    assert world.whole


async def test_h8_a_backend_that_fails_every_list_is_not_asked_for_each_row(world: World) -> None:
    """The audit is incomplete then, and the ends are compared by the next one."""
    runs = [job(n, START + n) for n in range(1, 61)]
    await finished(world, *runs)
    falsify(world, 50, duration=597)
    world.backend.knobs.unreadable_job_ids = [run.key.job_id for run in runs]
    before = lists(world)
    assert await world.audit() == {}
    assert not world.whole
    assert lists(world) - before < 40
    world.backend.knobs.unreadable_job_ids = []
    assert await world.audit() == {"ended_otherwise": 1}
    assert world.whole


async def test_a_removed_or_running_row_is_no_wrong_end(world: World) -> None:
    """An admin may delete finished runs; one that shows as running gets its stop again."""
    await finished(world, job(1), job(2))
    world.remove(1)
    falsify(world, 2, job_state="running")
    assert await world.audit() == {"stop_lost": 1}
