"""The audit against the embedded backend and the real store."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import pytest
from structlog.testing import capture_logs

from slurmsyncd.delivery import NO_LIST, Outcome, OutcomeKind
from slurmsyncd.errors import DiskFull
from slurmsyncd.model import JobState
from slurmsyncd.pipeline import audit
from slurmsyncd.sinks.rest import listing as running
from tests.unit.pipeline.audit.world import GRACE_S, Skipping, World, ended, job, key, world_in
from tests.unit.sinks.parts import START, entry

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

RUNNING = ("running", None)
COMPLETED = ("completed", 60)


async def test_all_is_well_costs_two_requests_and_no_question_to_slurm(world: World) -> None:
    """Runs that are as they should be lead to nothing: a list of what runs, and one of what has ended."""
    runs = [job(n) for n in range(1, 21)]
    world.begin(*runs)
    await world.deliver()
    world.end(*runs[:5])
    await world.deliver()
    before = len(world.backend.requests)
    assert await world.audit() == {}
    assert world.whole
    assert len(world.backend.requests) == before + 2
    assert (world.slurm.asked, world.rings) == ([], 0)


async def test_h22_runs_whose_rows_are_gone_are_started_again(world: World) -> None:
    """Deleted rows of running jobs come back, with their own start, and end as they ended; once each."""
    runs = [job(n) for n in (1, 2, 3)]
    world.begin(*runs)
    await world.deliver()
    world.remove(1, 3)
    assert await world.audit() == {"start_lost": 2}
    assert world.rings == 1
    await world.deliver()
    assert world.there() == {(n, START): RUNNING for n in (1, 2, 3)}
    assert world.history(runs[0]) == ["start_lost"]
    assert await world.audit() == {}
    world.end(*runs)
    await world.deliver()
    assert world.there() == {(n, START): COMPLETED for n in (1, 2, 3)}


async def test_h22_a_restored_backup_is_brought_up_to_date(world: World) -> None:
    """What ended since is stopped again, what began since is started again."""
    old, new = job(1), job(2, START + 500)
    world.begin(old)
    await world.deliver()
    world.begin(new)
    world.end(old)
    await world.deliver()
    world.backend._core.database.wipe()
    await world.tell_as_other(old)  # as it was at the time of the backup
    assert await world.audit() == {"stop_lost": 1, "start_lost": 1}
    await world.deliver()
    assert world.there() == {(1, START): COMPLETED, (2, START + 500): RUNNING}
    assert await world.audit() == {}


async def test_h22_absence_within_the_grace_proves_nothing(world: World) -> None:
    """What the backend has not committed is not in its list; nothing is sent again."""
    world.begin(job(1))
    await world.deliver_uncommitted()
    sent = len(world.asked("/api/jobs/start_job/"))
    assert await world.audit(after_s=GRACE_S - 1) == {}
    await world.deliver_uncommitted()
    assert len(world.asked("/api/jobs/start_job/")) == sent


async def test_a_commit_that_takes_longer_than_the_grace_does_no_harm(world: World) -> None:
    """The start is sent again, is there already, and is one row."""
    world.begin(job(1))
    await world.deliver_uncommitted()
    assert await world.audit() == {"start_lost": 1}
    await world.deliver_uncommitted()
    await world.backend.tick()
    assert world.there() == {(1, START): RUNNING}


async def test_n2_a_run_that_was_settled_and_never_arrived_is_told_anew(world: World) -> None:
    """Where a settled step proves nothing: looked up once, sent whole; three times at most if it never comes."""
    world.auditor = world.audits(world.sink, settled_s=86400.0)
    there, lost = job(1), job(2, START + 500)
    world.begin(there, lost)
    await world.deliver()
    world.end(there, lost)
    await world.deliver()
    world.remove(2)
    assert await world.audit(after_s=GRACE_S - 1) == {}  # absence within the grace proves nothing
    assert await world.audit() == {"run_lost": 1}
    await world.deliver()
    assert world.there() == {(1, START): COMPLETED, (2, START + 500): COMPLETED}
    asked = len(world.asked("/api/jobs/"))
    assert await world.audit() == {}
    assert len(world.asked("/api/jobs/")) == asked + 3  # the list, the run that was sent anew, and its end
    assert await world.audit() == {}
    assert len(world.asked("/api/jobs/")) == asked + 4
    for left in (1, 1, 0):
        world.remove(2)
        world.auditor = world.audits(world.sink, settled_s=86400.0)  # restarted
        assert sum((await world.audit()).values()) == left
        await world.deliver()
    world.remove(1)
    world.auditor = world.audits(world.sink, settled_s=86400.0)
    assert await world.audit(after_s=90_000.0) == {}  # too long ago


async def test_h23_h24_the_commit_race_is_undone_and_its_victim_reported(world: World) -> None:
    """The stop that was acknowledged and lost is sent again; the run it closed instead is reported once."""
    ours, victim = job(1), job(2)
    world.begin(ours)
    await world.deliver_uncommitted()
    world.begin(victim)
    await world.deliver_uncommitted()
    world.end(ours)
    world.backend.knobs.race_stops = 1
    await world.deliver_uncommitted()
    assert world.there() == {(1, START): RUNNING, (2, START): COMPLETED}
    world.slurm.rows = [victim, ended(ours)]
    assert await world.audit() == {"stop_lost": 1, "closed_wrongly": 1}
    assert world.history(victim) == ["closed_wrongly"]
    assert world.history(ours) == ["stop_lost"]
    await world.deliver()
    assert world.there()[1, START] == COMPLETED
    assert await world.audit() == {}  # reported once, repaired once


async def test_h23_what_the_backend_closed_wrongly_is_reported_once_and_never_stopped_or_started(
    world: World,
) -> None:
    """No request could reopen it; the report is in the run's history, and later audits are silent."""
    run = job(1)
    world.begin(run)
    await world.deliver()
    world.backend._core.database.link.execute("UPDATE job SET job_state = 'failed', duration = 0")
    world.slurm.rows = [run]
    with capture_logs() as logs:
        assert await world.audit() == {"closed_wrongly": 1}
    (said,) = [line for line in logs if line["event"] == "audit_finding"]
    assert (said["finding"], said["job"], said["log_level"]) == ("closed_wrongly", 1, "warning")
    sent = len(world.backend.requests)
    assert await world.audit() == {}
    await world.deliver()
    assert {request["method"] for request in world.backend.requests[sent:]} == {"GET"}
    assert world.history(run) == ["closed_wrongly"]
    world.remove(1)  # the operator deletes the row: the way back
    assert await world.audit() == {"start_lost": 1}
    await world.deliver()
    assert world.there() == {(1, START): RUNNING}


async def test_what_ended_there_and_in_slurm_is_not_called_wrong(world: World) -> None:
    """Somebody else told of the end before we did; our own stop follows and meets it."""
    run = job(1)
    world.begin(run)
    await world.deliver()
    await world.tell_as_other(run, over=True)
    world.slurm.rows = [ended(run)]
    assert await world.audit() == {}
    world.slurm.rows = []  # and a Slurm that says nothing proves nothing
    assert await world.audit() == {}


async def test_a_run_that_we_never_told_of_and_slurm_ended_is_stopped(tmp_path: Path) -> None:
    """Of a store that was lost, or of another sender: the end is accounting's. No other sink is told."""
    async with world_in(tmp_path, "cc", "other") as world:
        stranger = job(50)
        await world.tell_as_other(stranger)
        world.slurm.rows = [ended(stranger, state=JobState.TIMEOUT)]
        assert await world.audit() == {"never_told": 1}
        assert world.slurm.asked == [frozenset({50})]
        await world.deliver()
        assert world.there() == {(50, START): ("timeout", 60)}
        assert [each.sink for each in world.store.run_histories(50)[0].deliveries] == ["cc"]
        assert await world.audit() == {}


async def test_j4_a_run_told_under_a_start_that_slurm_corrected_is_stopped_under_its_own(
    world: World,
) -> None:
    """The record keeps the start under which it was announced, and ends when Slurm says."""
    await world.tell_as_other(job(50))
    corrected = job(50, START + 90)
    world.slurm.rows = [ended(corrected, after_s=510)]
    assert await world.audit() == {"never_told": 1}
    await world.deliver()
    assert world.there() == {(50, START): ("completed", 600)}


async def test_a_second_record_of_a_run_that_we_told_of_is_reported_and_not_closed(world: World) -> None:
    """Slurm's run is told under its start; the row beside it is none of Slurm's."""
    run = job(50, START + 90)
    world.begin(run)
    await world.deliver_uncommitted()
    await world.sink.deliver(entry(run=job(50)))
    await world.backend.tick()
    world.end(run)
    await world.deliver()
    world.slurm.rows = [ended(run)]
    assert await world.audit() == {"unheard_of": 1}
    assert world.there()[50, START] == RUNNING


async def test_a_run_that_slurm_runs_and_we_do_not_know_is_left_to_the_next_look(world: World) -> None:
    """It is neither stopped nor reported."""
    await world.tell_as_other(job(50))
    world.slurm.rows = [job(50)]
    assert await world.audit() == {}
    assert world.there() == {(50, START): RUNNING}


async def test_a_run_that_slurm_never_heard_of_is_reported_once_and_left_alone(world: World) -> None:
    """Again only if it went and came back."""
    await world.tell_as_other(job(50))
    assert await world.audit() == {"unheard_of": 1}
    assert await world.audit() == {}
    assert world.slurm.asked == [frozenset({50})]
    assert world.there() == {(50, START): RUNNING}
    world.remove(50)
    assert await world.audit() == {}
    await world.tell_as_other(job(50))
    assert await world.audit() == {"unheard_of": 1}


async def test_rows_of_other_clusters_are_not_ours(world: World) -> None:
    """A backend serves many clusters, each with its own sender."""
    await world.tell_as_other(replace(job(50), key=replace(key(50), cluster="star")))
    assert await world.audit() == {}
    assert world.slurm.asked == []


async def test_rows_that_no_slurm_can_have_harm_nothing(world: World) -> None:
    """The backend takes any number; none of them reaches sacct, whose whole answer would fail."""
    run = job(1)
    world.begin(run)
    await world.deliver()
    insert = "INSERT INTO job SELECT ?, ?, cluster, subcluster, ? "
    columns = [row["name"] for row in world.backend._core.database.all("PRAGMA table_info(job)")]
    rest = ", ".join(columns[columns.index("start_time") + 1 :])
    assert columns[:5] == ["id", "job_id", "cluster", "subcluster", "start_time"], columns
    for dbid, (job_id, start_at) in enumerate(
        [(0, START), (-5, START), (2**62, START), (7, 0), (8, -1)], 100
    ):
        sql = f"{insert}, {rest} FROM job WHERE job_id = 1"
        world.backend._core.database.link.execute(sql, (dbid, job_id, start_at))
    assert await world.audit() == {"unheard_of": 1}
    assert world.slurm.asked == []
    assert world.whole


async def test_j2_a_run_refused_as_a_repeat_is_not_repaired(world: World) -> None:
    """It is left out and not in the backend; that is known and stays so."""
    first, second = job(1), job(1, START + 3600)
    world.begin(first)
    world.end(first)
    await world.deliver()
    world.begin(second)
    await world.deliver()
    (letter,) = world.store.list_deliveries("cc", state="dropped")
    assert (letter.key, letter.reason) == (second.key, "repeat_of_earlier_run")
    sent = len(world.asked("/api/jobs/start_job/"))
    assert await world.audit() == {}
    await world.deliver()
    assert len(world.asked("/api/jobs/start_job/")) == sent
    assert world.store.list_deliveries("cc", state="dropped") == (letter,)


async def test_a_run_that_was_given_up_and_is_there_after_all_gets_its_stop(world: World) -> None:
    """Its start was refused by us, somebody else told of it: only the end is left to tell."""
    run = job(1)
    world.begin(replace(run, user=""))
    await world.deliver()
    assert [letter.reason for letter in world.store.list_deliveries("cc")] == ["no_user"]
    await world.tell_as_other(run)
    assert await world.audit() == {"refused_yet_there": 1}
    assert world.store.list_deliveries("cc") == ()
    world.end(run)
    await world.deliver()
    assert world.there() == {(1, START): COMPLETED}


async def test_runs_on_ignored_hosts_are_not_missed(tmp_path: Path) -> None:
    """They were settled without being sent."""
    async with world_in(tmp_path, ignore=("cn*",)) as world:
        world.begin(job(1))
        await world.deliver()
        assert await world.audit() == {}
        assert world.asked("/api/jobs/start_job/") == []


async def test_a_list_of_many_pages_is_read_to_its_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when rows of one page share their start with the next, and the last page is full."""
    monkeypatch.setattr(running, "PAGE", 7)
    runs = [job(n, START + n // 10) for n in range(1, 50)]
    world.begin(*runs)
    await world.deliver()
    world.remove(13, 40)
    assert await world.audit() == {"start_lost": 2}
    await world.deliver()
    assert list(world.there().values()) == [RUNNING] * 49
    assert await world.audit() == {}


async def test_a_run_that_a_page_boundary_skipped_is_looked_up_and_left_alone(world: World) -> None:
    """Paging over a changing set proves nothing."""
    world.begin(job(1), job(2))
    await world.deliver()
    world.auditor = world.audits(Skipping(world.sink, skipped=[key(2)]))
    sent = len(world.asked("/api/jobs/start_job/"))
    assert await world.audit() == {}
    await world.deliver()
    assert len(world.asked("/api/jobs/start_job/")) == sent


async def test_h8_a_list_that_broke_off_proves_no_absence(world: World) -> None:
    """What it shows counts, what it lacks does not; the next audit finds it."""
    world.begin(job(1))
    await world.deliver()
    world.remove(1)
    world.backend.knobs.bad_gateways = 1
    assert await world.audit() == {}
    assert not world.whole
    assert set(world.auditor.tally.trouble) == {"demo"}
    assert await world.audit() == {"start_lost": 1}
    assert world.auditor.tally.trouble == {}


async def test_a_second_that_cannot_be_read_holds_up_no_other(world: World) -> None:
    """An unreadable archive file fails one look-up; the others are repaired."""
    world.begin(job(1), job(2, START + 1))
    await world.deliver()
    world.remove(1, 2)
    broken = Outcome(result=OutcomeKind.FAILED, reason="http_500")
    inventory = Skipping(world.sink, broken=broken)
    inventory.unreadable = {START}
    world.auditor = world.audits(inventory)
    assert await world.audit() == {"start_lost": 1}
    assert not world.whole
    inventory.unreadable = set()
    assert await world.audit() == {"start_lost": 1}


@pytest.mark.parametrize("reason", sorted(NO_LIST))
async def test_h16_a_backend_whose_lists_are_none_is_not_asked_for_each_second(
    world: World, reason: str
) -> None:
    """A list without end takes long, so the audit ends with the first and names it."""
    world.begin(*(job(n, START + n) for n in range(1, 30)))
    await world.deliver()
    world.remove(*range(1, 30))
    inventory = Skipping(world.sink, broken=Outcome(result=OutcomeKind.FAILED, reason=reason))
    inventory.unreadable = {START + 2}
    world.auditor = world.audits(inventory)
    assert await world.audit() == {"start_lost": 1}
    assert world.auditor.tally.trouble == {"demo": reason}


async def test_i6_runs_that_nobody_knows_are_remembered_up_to_a_bound(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond it they are reported again, and other runs of the cluster are remembered as before."""
    monkeypatch.setattr(audit, "DOUBTFUL", 2)
    for n in (1, 2, 3):
        await world.tell_as_other(job(n))
        await world.audit()
    assert len(world.auditor._reported) == 2


async def test_without_slurm_only_what_needs_it_waits(world: World) -> None:
    """A lost start is repaired; a stranger is judged by nobody but accounting."""
    world.begin(job(1))
    await world.deliver()
    world.remove(1)
    await world.tell_as_other(job(50))
    world.slurm.rows = None
    assert await world.audit() == {"start_lost": 1}
    assert not world.whole
    world.slurm.rows = [ended(job(50))]
    assert await world.audit() == {"never_told": 1}


async def test_d2_on_a_full_disk_nothing_is_repaired_and_the_next_audit_does(world: World) -> None:
    """The findings are not lost: they are found again."""
    world.begin(job(1))
    await world.deliver()
    world.remove(1)
    world.thread.failures["repair"] = [DiskFull("no room")]
    assert await world.audit() == {}
    assert not world.whole
    assert await world.audit() == {"start_lost": 1}


async def test_many_runs_of_one_second_are_looked_up_once(world: World) -> None:
    """A wiped backend does not cost one request for each task of an array."""
    world.begin(*[job(n) for n in range(1, 301)])
    await world.deliver()
    world.backend._core.database.wipe()
    before = len(world.asked("/api/jobs/"))
    assert await world.audit() == {"start_lost": 300}
    assert len(world.asked("/api/jobs/")) == before + 2
    await world.deliver()
    assert len(world.there()) == 300


async def test_what_is_kept_of_one_audit_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is for the audits that follow."""
    monkeypatch.setattr(audit, "DOUBTFUL", 4)
    monkeypatch.setattr(audit, "ASKED", 3)
    strangers = [job(n) for n in range(50, 60)]
    for run in strangers:
        await world.sink.deliver(entry(run=run))
    await world.backend.tick()
    world.slurm.rows = [ended(run) for run in strangers]
    found = []
    for _ in range(4):
        found.append((await world.audit())["never_told"])
        await world.deliver()
    assert found == [3, 3, 3, 1]
    assert all(len(asked) <= 3 for asked in world.slurm.asked)
    assert set(world.there().values()) == {COMPLETED}


async def test_the_first_audit_waits_for_the_first_look_and_others_follow(world: World) -> None:
    """A cluster that was not looked at yet is not audited; then it is, again and again."""
    policy = audit.AuditPolicy(interval_s=0.01, grace_s=0.0)
    auditor = audit.Auditor(world.sink, world.store, world.thread, policy, world.clock, repaired=lambda: None)
    looked: set[str] = set()
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(auditor.run, [world.slurm], looked.__contains__)
            await anyio.wait_all_tasks_blocked()
            assert auditor.tally.audits == 0
            looked.add("demo")
            while auditor.tally.audits < 3:  # noqa: ASYNC110 - the state has no event
                await anyio.sleep(0.01)
            group.cancel_scope.cancel()
