from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
import structlog

from slurmsyncd.config import SlurmConfig
from slurmsyncd.errors import SourceUnavailable
from slurmsyncd.model import JobQuestions, JobState, RunKey, Sharing
from slurmsyncd.sandbox.slurm import install
from slurmsyncd.sandbox.slurm.faults import clear_faults, set_fault
from slurmsyncd.sources import accounting as accounting_source
from slurmsyncd.sources.command_source import CommandSource
from slurmsyncd.sources.controller import PORTION, WHOLE_PORTION
from slurmsyncd.sources.discovery import discover
from slurmsyncd.sources.executors.local import CommandFailed
from slurmsyncd.sources.slurm_cli import SlurmCli
from tests.unit.sandbox.slurm.lab import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slurmsyncd.model import Job

pytestmark = pytest.mark.anyio

SHAPES = ("22.05", "24.11", "26.05")


class Cluster(Lab):
    """A simulated cluster and our source on it."""

    def __init__(self, root: Path, shape: str, **slurm: Any) -> None:
        super().__init__(root, shape, min_job_age_s=300)
        self.began = int(self.now)
        settings: dict[str, Any] = {"bin_dir": str(self.bin), "command_timeout": 20.0, "output_limit": 16}
        self.config = SlurmConfig(**settings | slurm)
        self.source = CommandSource("sim", self.config, directory=root, now=lambda: self.now)

    def fault(self, name: str, value: str = "", command: str = "") -> None:
        set_fault(self.state, name, value, command)

    def heal(self) -> None:
        clear_faults(self.state)

    async def ask(self, *ids: int, accounting: bool = False) -> tuple[Job, ...] | None:
        wanted = frozenset(ids)
        if accounting:
            return (await self.source.query_jobs(JobQuestions(accounting=wanted))).accounting
        return (await self.source.query_jobs(JobQuestions(details=wanted))).details


@pytest.fixture(params=SHAPES)
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster in the shape of each release."""
    made = Cluster(tmp_path, request.param)
    yield made
    made.sim.close()


@pytest.fixture
def modern(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster in the shape of 24.11, for what does not depend on the release."""
    made = Cluster(tmp_path, "24.11")
    yield made
    made.sim.close()


async def test_what_runs_and_what_ended_is_seen(cluster: Cluster) -> None:
    """Each run that the cluster ever started is listed or finished, with its key; waiting jobs are not started."""
    cluster.submit(nodes=2, cores=3, gpus=2, duration_s=1000.0)
    cluster.submit(tasks=4, limit=2, duration_s=1000.0)
    cluster.submit(duration_s=3.0, outcome="FAILED", exit_code=3)
    held = cluster.submit(held=True)
    cluster.pass_(30)
    seen = await cluster.source.poll(cluster.began, int(cluster.now))
    ledger = {(run.job_id, run.start_at): run for run in cluster.sim.ledger()}
    assert len(ledger) == 4
    assert seen.job_list is not None
    running = {(job.job_id, job.start_at) for job in seen.job_list if job.state.is_active}
    assert running == {key for key, run in ledger.items() if run.end_at is None}
    assert {job.job_id for job in seen.job_list if job.state is JobState.PENDING} >= {held}
    (failed,) = seen.ended_runs
    assert (failed.state, failed.exit_code) == (JobState.FAILED, "3:0")
    assert failed.end_at == ledger[failed.key.job_id, failed.key.start_at].end_at
    assert (seen.accounting_read_until, seen.records_skipped, seen.errors) == (int(cluster.now), 0, ())


async def test_allocations_are_exact(cluster: Cluster) -> None:
    """Cores and devices of each node are those that the cluster handed out."""
    for cores, gpus in ((1, 0), (3, 2), (5, 1)):
        cluster.submit(nodes=2, cores=cores, gpus=gpus, duration_s=1000.0)
    cluster.submit(exclusive="node", duration_s=1000.0)
    cluster.pass_(5)
    ledger = {run.job_id: run for run in cluster.sim.ledger()}
    details = await cluster.ask(*ledger)
    assert details is not None
    assert {job.key.job_id for job in details} == ledger.keys()
    for job in details:
        run = ledger[job.key.job_id]
        assert job.key == RunKey("sim", run.job_id, run.start_at)
        assert job.nodes == run.nodes
        assert job.allocation
        assert tuple(node.cores for node in job.allocation) == run.cores
        held = tuple(tuple(index for gres in node.gres for index in gres.indexes) for node in job.allocation)
        assert held == run.gpus
    assert [job.sharing for job in details].count(Sharing.NONE) == 1


async def test_only_what_was_asked_for_is_answered(cluster: Cluster) -> None:
    """22.05 prints every job whatever it is asked; an array's id gives its tasks, too."""
    array = cluster.submit(tasks=3, duration_s=1000.0)
    other = cluster.submit(duration_s=1000.0)
    cluster.pass_(5)
    for accounting in (False, True):
        for wanted in (array, other):
            found = await cluster.ask(wanted, accounting=accounting)
            assert [job.key.job_id for job in found or ()] == [wanted]


async def test_s21_where_json_is_whole_whatever_is_asked_more_jobs_are_asked_for_at_once(
    cluster: Cluster,
) -> None:
    """Else 22.05 would print 10,000 jobs twenty times at a first look."""
    for _ in range(2):
        cluster.submit(duration_s=1000.0)
    cluster.pass_(5)
    wanted, _ = (run.job_id for run in cluster.sim.ledger())
    shown = await anyio.run_process([str(cluster.bin / "squeue"), "--json", "-j", str(wanted)])
    is_whole = len(json.loads(shown.stdout)["jobs"]) == 2
    assert await cluster.source.detail_batch_size() == (WHOLE_PORTION if is_whole else PORTION)


async def test_a_requeued_job_has_both_runs_in_accounting(cluster: Cluster) -> None:
    """And while its nodes are cleared, the controller's record is not taken for a run."""
    job_id = cluster.submit(duration_s=1000.0)
    cluster.pass_(5)
    first = next(run.start_at for run in cluster.sim.ledger())
    cluster.sim.requeue(job_id, cluster.now)
    assert await cluster.ask(job_id) == ()
    cluster.pass_(200)
    runs = await cluster.ask(job_id, accounting=True)
    assert runs
    assert [run.state for run in runs] == [JobState.REQUEUED, JobState.RUNNING]
    assert runs[0].key.start_at == first
    seen = await cluster.source.poll(cluster.began, int(cluster.now))
    assert [job.state for job in seen.ended_runs] == [JobState.REQUEUED]


async def test_s23_never_started_jobs_are_counted_only(cluster: Cluster) -> None:
    """Cancelled while it waited: no run, in neither half, and counted once however often it is read."""
    job_id = cluster.submit(held=True)
    cluster.pass_(3)
    cluster.sim.cancel(job_id, cluster.now)
    cluster.pass_(10)
    seen = await cluster.source.poll(cluster.began, int(cluster.now))
    assert (seen.ended_runs, seen.never_started, seen.records_skipped) == ((), 1, 0)
    cluster.pass_(600)
    later = await cluster.source.poll(int(cluster.now) - 60, int(cluster.now))
    again = await cluster.source.poll(cluster.began, int(cluster.now))  # for rows that are late
    assert (later.never_started, again.never_started) == (0, 0)
    assert await cluster.ask(job_id) == ()
    assert await cluster.ask(job_id, accounting=True) == ()


async def test_s15_hostile_names_stay_names(cluster: Cluster) -> None:
    """Newlines, delimiters and quotes in names shift nothing."""
    name = 'a\n7|8\t\x1f\x1b[31m "q" %A'
    job_id = cluster.submit(name=name, comment="\n1|COMPLETED|", duration_s=3.0)
    cluster.submit(duration_s=3.0)
    cluster.pass_(30)
    seen = await cluster.source.poll(cluster.began, int(cluster.now))
    assert len(seen.ended_runs) == 2
    assert seen.records_skipped == 0
    found = next(job for job in seen.ended_runs if job.key.job_id == job_id)
    assert found.name.replace("`", '"') == name


async def test_s25_a_forgotten_job_is_no_outage(cluster: Cluster) -> None:
    """A single unknown id makes squeue fail in 24.11 and later; it only means "not there"."""
    cluster.submit(duration_s=1000.0)
    cluster.pass_(5)
    assert await cluster.ask(4711) == ()
    assert await cluster.ask(4711, 4712) == ()
    assert await cluster.ask(4711, accounting=True) == ()
    assert cluster.source.tally.commands["squeue"].failures == 0


async def test_s25_a_forgotten_job_does_not_hide_the_others(modern: Cluster) -> None:
    """Should a release refuse a list because of one id in it, all jobs are asked for instead."""
    job_id = modern.submit(duration_s=1000.0)
    modern.pass_(5)
    real = modern.bin / "squeue.real"
    (modern.bin / "squeue").rename(real)
    refuse = 'echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1'
    (modern.bin / "squeue").write_text(f'#!/bin/sh\ncase "$*" in *4711*) {refuse};; esac\nexec {real} "$@"\n')
    (modern.bin / "squeue").chmod(0o755)
    assert [job.key.job_id for job in await modern.ask(job_id, 4711) or ()] == [job_id]


async def test_s1_accounting_may_fail_alone(cluster: Cluster) -> None:
    """The listing is there, nothing is said to be complete, and the reason is given."""
    cluster.submit(duration_s=1000.0)
    cluster.pass_(5)
    cluster.fault("dbd", "down:0")
    seen = await cluster.source.poll(cluster.began, int(cluster.now))
    assert seen.job_list
    assert (seen.accounting_read_until, seen.ended_runs) == (None, ())
    assert len(seen.errors) == 1
    assert "sacct" in seen.errors[0]
    answers = await cluster.source.query_jobs(JobQuestions(details=frozenset({1}), accounting=frozenset({1})))
    assert answers.accounting is None
    assert answers.details is not None


async def test_s2_the_controller_may_fail_alone(cluster: Cluster) -> None:
    """A dead slurmctld is an outage and no empty cluster, also where it looks like one."""
    job_id = cluster.submit(duration_s=2.0)
    cluster.pass_(30)
    cluster.fault("ctld", "down:0")
    seen = await cluster.source.poll(cluster.began, int(cluster.now))
    assert seen.job_list is None
    assert len(seen.ended_runs) == 1
    answers = await cluster.source.query_jobs(
        JobQuestions(details=frozenset({job_id}), accounting=frozenset({job_id}))
    )
    assert answers.details is None
    assert answers.accounting
    with pytest.raises(SourceUnavailable):
        await cluster.ask(job_id)
    with pytest.raises(SourceUnavailable):
        await cluster.source.node_states()


async def test_s1_when_nothing_answers_the_look_fails_and_recovers(cluster: Cluster) -> None:
    """And the next look after the outage is whole."""
    cluster.fault("munge", "down:0")
    with pytest.raises(SourceUnavailable):
        await cluster.source.poll(cluster.began, int(cluster.now))
    with pytest.raises(SourceUnavailable):
        await cluster.source.query_jobs(JobQuestions(details=frozenset({1}), accounting=frozenset({1})))
    cluster.heal()
    seen = await cluster.source.poll(cluster.began, int(cluster.now))
    assert seen.job_list is not None
    assert seen.accounting_read_until is not None


@pytest.mark.parametrize("fault", ["garbage", "truncated", "endless"])
async def test_s7_s8_s9_a_spoilt_answer_is_no_answer(cluster: Cluster, fault: str) -> None:
    """Cut, senseless or endless output: that half is unavailable, nothing is concluded."""
    ids = frozenset(cluster.submit(duration_s=float(time)) for time in (2, 3, 1000, 1000))
    cluster.pass_(30)
    for command in ("squeue", "sacct"):
        cluster.fault(fault, "150" if fault == "truncated" else "", command)
        seen = await cluster.source.poll(cluster.began, int(cluster.now))
        assert (seen.job_list is None) == (command == "squeue")
        assert (seen.accounting_read_until is None) == (command == "sacct")
        answers = await cluster.source.query_jobs(JobQuestions(details=ids, accounting=ids))
        assert (answers.details is None) == (command == "squeue")
        assert (answers.accounting is None) == (command == "sacct")
        cluster.heal()


async def test_s8_json_that_is_not_there_is_no_empty_cluster(cluster: Cluster) -> None:
    """Exit code 0 and nothing printed is not a document."""
    job_id = cluster.submit(duration_s=1000.0)
    cluster.pass_(5)
    await cluster.source.poll(cluster.began, int(cluster.now))
    cluster.fault("empty", command="squeue")
    with pytest.raises(SourceUnavailable):
        await cluster.ask(job_id)


async def test_a_data_version_that_prints_nothing_is_not_insisted_on(modern: Cluster) -> None:
    """Some releases offer a version and print nothing for it; their own is taken then."""
    job_id = modern.submit(duration_s=1000.0)
    modern.pass_(5)
    modern.fault("mute", "v0.0.42")
    found = await modern.ask(job_id)
    assert [job.key.job_id for job in found or ()] == [job_id]


async def test_s11_a_warning_beside_a_good_answer_is_logged_once(modern: Cluster) -> None:
    """The answer counts; the log does not fill."""
    modern.submit(duration_s=2.0)
    modern.pass_(30)
    modern.fault("stderr", "sacct: warning: something")
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            seen = await modern.source.poll(modern.began, int(modern.now))
            assert seen.accounting_read_until is not None
    warnings = [entry for entry in logs if entry["event"] == "slurm_warns" and entry["command"] == "sacct"]
    assert len(warnings) == 1


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("command", ["squeue", "sacct", "scontrol", "sinfo", "sacctmgr"])
async def test_s12_an_error_and_nothing_else_is_no_answer_whatever_the_exit_code(
    tmp_path: Path, shape: str, command: str
) -> None:
    """sacct is known to exit with 0 beside "error:"; from no command does an empty answer follow then."""
    cluster = Cluster(tmp_path, shape)
    cluster.fault("stderr", "Problem talking to the database", command)
    cluster.fault("empty", command=command)
    cluster.sim.close()
    with pytest.raises(CommandFailed, match="nothing but an error, with exit code 0"):
        await SlurmCli(cluster.config).run(command)


async def test_s12_accounting_is_not_read_up_to_where_an_error_came_with_exit_code_0(modern: Cluster) -> None:
    """Only a positive answer moves the cursor."""
    modern.fault("stderr", "Problem talking to the database", "sacct")
    modern.fault("empty", command="sacct")
    seen = await modern.source.poll(modern.began, int(modern.now))
    assert seen.job_list is not None
    assert seen.accounting_read_until is None
    assert "Problem talking to the database" in seen.errors[0]


@pytest.mark.parametrize("kind", ["types", "utf8"])
async def test_s13_s14_one_poisoned_record_hurts_only_itself(cluster: Cluster, kind: str) -> None:
    """The others are answered; the bad one is counted, or read with replacement characters."""
    bad, good = (cluster.submit(duration_s=1000.0) for _ in range(2))
    cluster.pass_(5)
    cluster.fault("poison", f"{kind}:{bad}")
    answers = await cluster.source.query_jobs(JobQuestions(details=frozenset({bad, good})))
    found = {job.key.job_id for job in answers.details or ()}
    assert good in found
    assert (bad in found) == (kind == "utf8")
    assert answers.records_skipped == (kind == "types")


async def test_s16_an_unknown_state_word_is_held_back(cluster: Cluster) -> None:
    """It is listed, as neither running nor over."""
    job_id = cluster.submit(duration_s=1000.0)
    cluster.pass_(5)
    cluster.fault("poison", f"state:{job_id}")
    seen = await cluster.source.poll(cluster.began, int(cluster.now))
    assert seen.job_list is not None
    assert [job.state for job in seen.job_list if job.job_id == job_id] == [JobState.UNKNOWN]


async def test_s4_a_hanging_command_ends_at_the_deadline(tmp_path: Path) -> None:
    """One half hangs, the other answers."""
    cluster = Cluster(tmp_path, "24.11", command_timeout=2.0)
    cluster.fault("slow", "600", "sacct")
    seen = await cluster.source.poll(cluster.began, int(cluster.now))
    cluster.sim.close()
    assert seen.job_list is not None
    assert seen.accounting_read_until is None
    assert "slurm.command_timeout" in seen.errors[0]


async def test_s4_a_slurmdbd_that_hangs_holds_up_one_look_and_not_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second look gives it a short time only, and has the listing; when it answers, all is asked again."""
    monkeypatch.setattr(accounting_source, "_SOON_S", 1.0)
    cluster = Cluster(tmp_path, "24.11", command_timeout=4.0)
    cluster.fault("dbd", "frozen")
    for patience in ("4 s", "1 s", "1 s"):
        seen = await cluster.source.poll(cluster.began, int(cluster.now))
        assert seen.job_list is not None
        assert seen.accounting_read_until is None
        assert f"within {patience}" in seen.errors[0]
    cluster.heal()
    seen = await cluster.source.poll(cluster.began, int(cluster.now))
    cluster.sim.close()
    assert seen.accounting_read_until == int(cluster.now)


async def test_s5_a_grandchild_does_not_hold_the_answer_back(modern: Cluster) -> None:
    """The answer is there when the command is over."""
    modern.fault("grandchild", "600", "squeue")
    with anyio.fail_after(15):
        seen = await modern.source.poll(modern.began, int(modern.now))
    assert seen.job_list is not None


async def test_s17_an_upgrade_while_we_run_is_followed(tmp_path: Path) -> None:
    """22.05's commands are replaced by 26.05's: shapes are seen from the records, options asked anew."""
    cluster = Cluster(tmp_path, "22.05")
    job_id = cluster.submit(nodes=2, gpus=2, duration_s=1000.0)
    cluster.pass_(5)
    before = await cluster.ask(job_id)
    nodes = await cluster.source.node_states()
    install(cluster.bin, cluster.state, "26.05")
    after = await cluster.ask(job_id)
    assert before
    assert after
    assert before[0].allocation
    assert after[0].allocation
    assert [(node.cores, node.gres) for node in before[0].allocation] == [
        (node.cores, node.gres) for node in after[0].allocation
    ]
    with pytest.raises(SourceUnavailable):
        await cluster.source.node_states()  # what it prints now is no longer what was asked for
    assert await cluster.source.node_states() == nodes
    cluster.sim.close()


async def test_s18_missing_commands_name_the_setting(tmp_path: Path) -> None:
    """The look fails with words that say what to do."""
    source = CommandSource("sim", SlurmConfig(bin_dir=str(tmp_path)))
    with pytest.raises(SourceUnavailable, match=r"squeue cannot be started.*slurm\.bin_dir"):
        await source.poll(0, 10)
    with pytest.raises(SourceUnavailable, match=r"scontrol cannot be started.*slurm\.bin_dir"):
        await discover(SlurmConfig(bin_dir=str(tmp_path)))


async def test_a_wide_window_is_read_in_slices(tmp_path: Path) -> None:
    """Each look reads one slice and says how far it came; together they see every run once."""
    cluster = Cluster(tmp_path, "24.11", slice=20.0)
    ids = []
    for _ in range(5):
        ids.append(cluster.submit(duration_s=2.0))
        cluster.pass_(13)
    until, since = int(cluster.now), cluster.began
    found: dict[RunKey, Job] = {}
    looks = 0
    while since < until:
        seen = await cluster.source.poll(since, until, listing=looks == 0)
        assert (seen.job_list is None) == (looks > 0)
        assert seen.accounting_read_until is not None
        assert since < seen.accounting_read_until <= until
        assert looks or seen.accounting_read_until == since + 20
        since = seen.accounting_read_until
        found |= {job.key: job for job in seen.ended_runs}
        looks += 1
    cluster.sim.close()
    assert looks >= 2
    assert sorted(key.job_id for key in found) == ids


@pytest.mark.parametrize("how", ["echo Too wide of a date range in query >&2; exit 1", "exec sleep 600"])
async def test_s4_a_window_that_is_too_wide_is_halved(tmp_path: Path, how: str) -> None:
    """Each look that fails narrows the next one, until slurmdbd answers; then windows become wider again."""
    cluster = Cluster(tmp_path, "24.11", command_timeout=1.5)
    job_id = cluster.submit(duration_s=2.0)
    cluster.pass_(600)
    real = (cluster.bin / "sacct").rename(cluster.bin / "sacct.real")
    window = "for word; do case $word in uts*) from=${to:-${word#uts}} to=${word#uts};; esac; done"
    check = f'if [ "$to" ] && [ $((to - from)) -gt 200 ]; then {how}; fi'
    (cluster.bin / "sacct").write_text(f'#!/bin/sh\n{window}\n{check}\nexec {real} "$@"\n')
    (cluster.bin / "sacct").chmod(0o755)
    since, until, found, failures = cluster.began, int(cluster.now), set(), 0
    while since < until:
        seen = await cluster.source.poll(since, until)
        failures += seen.accounting_read_until is None
        since = since if seen.accounting_read_until is None else seen.accounting_read_until
        found |= {job.key.job_id for job in seen.ended_runs}
    cluster.sim.close()
    assert found == {job_id}
    assert 2 <= failures <= 6


async def test_many_ids_are_asked_in_batches(tmp_path: Path) -> None:
    """No question is longer than the batch, and none is lost."""
    cluster = Cluster(tmp_path, "24.11", batch=2)
    ids = {cluster.submit(duration_s=1000.0) for _ in range(5)}
    cluster.pass_(5)
    answers = await cluster.source.query_jobs(JobQuestions(details=frozenset(ids), accounting=frozenset(ids)))
    cluster.sim.close()
    assert {job.key.job_id for job in answers.details or ()} == ids
    assert {job.key.job_id for job in answers.accounting or ()} == ids
    assert cluster.source.tally.commands["squeue"].calls == 3 + 2  # and two for what it offers
    assert cluster.source.tally.commands["sacct"].calls == 3 + 1


def _fail_for(cluster: Cluster, command: str, job_id: int, how: str) -> None:
    """Have a command fail whenever one job is among those that it is asked for."""
    real = cluster.bin / f"{command}.real"
    (cluster.bin / command).rename(real)
    script = f'for word; do case ",$word," in *,{job_id},*) {how};; esac; done\nexec {real} "$@"\n'
    (cluster.bin / command).write_text(f"#!/bin/sh\n{script}")
    (cluster.bin / command).chmod(0o755)


@pytest.mark.parametrize("how", ["kill -SEGV $$", "echo fatal: no >&2; exit 1", "echo error: no >&2; exit 0"])
async def test_s14_a_job_that_makes_squeue_fail_is_set_aside_alone(modern: Cluster, how: str) -> None:
    """The others of its batch are asked for without it, and its record counts as one that cannot be read."""
    bad, *good = (modern.submit(duration_s=1000.0) for _ in range(9))
    modern.pass_(5)
    _fail_for(modern, "squeue", bad, how)
    answers = await modern.source.query_jobs(JobQuestions(details=frozenset({bad, *good})))
    assert sorted(job.key.job_id for job in answers.details or ()) == good
    assert (answers.unanswered, answers.records_skipped, answers.errors) == (JobQuestions(), 1, ())


@pytest.mark.parametrize("how", ["kill -SEGV $$", "echo fatal: no >&2; exit 1", "echo error: no >&2; exit 0"])
async def test_s14_a_job_that_makes_sacct_fail_is_left_unanswered_alone(modern: Cluster, how: str) -> None:
    """Of a run that accounting does not tell of, nothing may be concluded."""
    bad, *good = (modern.submit(duration_s=2.0) for _ in range(9))
    modern.pass_(30)
    _fail_for(modern, "sacct", bad, how)
    answers = await modern.source.query_jobs(JobQuestions(accounting=frozenset({bad, *good})))
    assert sorted(job.key.job_id for job in answers.accounting or ()) == good
    assert answers.unanswered == JobQuestions(accounting=frozenset({bad}))
    assert len(answers.errors) == 1


async def test_s1_of_what_is_away_only_one_batch_is_asked_for(tmp_path: Path) -> None:
    """Halves of a batch, and other batches, are asked for only of a source that answers another question."""
    cluster = Cluster(tmp_path, "24.11", batch=2)
    ids = frozenset(cluster.submit(duration_s=1000.0) for _ in range(6))
    cluster.pass_(5)
    await cluster.source.query_jobs(
        JobQuestions(details=ids, accounting=ids)
    )  # what they offer is known from then on
    cluster.fault("munge", "down:0")
    before = {name: tally.calls for name, tally in cluster.source.tally.commands.items()}
    with pytest.raises(SourceUnavailable):
        await cluster.source.query_jobs(JobQuestions(details=ids, accounting=ids))
    after = {name: tally.calls for name, tally in cluster.source.tally.commands.items()}
    cluster.sim.close()
    assert after["squeue"] - before["squeue"] <= 1 + 1 + 2  # and what it offers, which may have changed
    assert after["sacct"] - before["sacct"] <= 1 + 1


async def test_an_idle_look_is_two_commands(cluster: Cluster) -> None:
    """Once it is known what the commands offer."""
    await cluster.source.poll(cluster.began, int(cluster.now))
    before = {name: tally.calls for name, tally in cluster.source.tally.commands.items()}
    await cluster.source.poll(cluster.began, int(cluster.now))
    after = {name: tally.calls for name, tally in cluster.source.tally.commands.items()}
    asked = {name: after[name] - before[name] for name in after}
    assert {name: calls for name, calls in asked.items() if calls} == {"squeue": 1, "sacct": 1}


@pytest.mark.parametrize("wanted", [True, False])
async def test_scripts_are_fetched_if_wanted(tmp_path: Path, wanted: bool) -> None:
    """Of batch jobs only."""
    cluster = Cluster(tmp_path, "24.11", job_script=wanted)
    batch = cluster.submit(script="#!/bin/sh\necho hällo\n", duration_s=1000.0)
    inter = cluster.submit(batch=False, duration_s=1000.0)
    cluster.pass_(5)
    scripts = {job.key.job_id: job.script for job in await cluster.ask(batch, inter) or ()}
    cluster.sim.close()
    assert scripts == {batch: "#!/bin/sh\necho hällo\n" if wanted else None, inter: None}


async def test_s12_a_script_that_cannot_be_had_is_unknown(tmp_path: Path) -> None:
    """scontrol says so with exit code 0 and nothing printed; the run goes on without."""
    cluster = Cluster(tmp_path, "24.11", job_script=True)
    job_id = cluster.submit(duration_s=1000.0)
    cluster.pass_(5)
    await cluster.ask(job_id)  # the cluster's name is known from then on
    cluster.fault("empty", command="scontrol")
    found = await cluster.ask(job_id)
    cluster.sim.close()
    assert [job.script for job in found or ()] == [None]


async def test_node_states(cluster: Cluster) -> None:
    """CPUs, memory, GPUs and running jobs of each node agree with what is allocated."""
    for gpus in (0, 2):
        cluster.submit(nodes=2, cores=2, gpus=gpus, duration_s=1000.0)
    cluster.pass_(5)
    states = {node.host: node for node in await cluster.source.node_states()}
    ledger = list(cluster.sim.ledger())
    assert len(states) == len(cluster.sim.nodes)
    for host, state in states.items():
        runs = [run for run in ledger if host in run.nodes]
        assert state.jobs == len(runs)
        assert state.gpus == sum(len(run.gpus[run.nodes.index(host)]) for run in runs)
        assert (state.cpus > 0) == bool(runs)
        assert state.state == ("mixed" if runs else "idle")


async def test_the_cluster_says_who_it_is(cluster: Cluster) -> None:
    """Name, release, and how long jobs are remembered."""
    found = await discover(cluster.config)
    assert found.cluster == "sim"
    assert found.version.startswith(cluster.shape)
    assert found.min_job_age_s == 300


async def test_s10_the_loop_goes_on_while_a_long_answer_is_decoded(tmp_path: Path) -> None:
    """Other tasks get their turn within an answer of thousands of records."""
    turns = 0
    rows = 5000
    bin_dir = tmp_path
    (bin_dir / "squeue").write_text(
        "#!/bin/sh\n"
        "for last; do :; done; token=${last#%A}; token=${token%%%*}\n"
        f'seq 1 {rows} | sed "s/$/${{token}}RUNNING${{token}}1800000000${{token}}1900000000${{token}}n1${{token}}/"\n'
    )
    (bin_dir / "squeue").chmod(0o755)
    (bin_dir / "sacct").write_text("#!/bin/sh\nexit 1\n")
    (bin_dir / "sacct").chmod(0o755)
    (bin_dir / "scontrol").write_text("#!/bin/sh\necho 'ClusterName = sim'\n")
    (bin_dir / "scontrol").chmod(0o755)
    source = CommandSource("sim", SlurmConfig(bin_dir=str(bin_dir)))
    counts = []

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(count)
        seen = await source.poll(0, 10)
        counts.append(turns)
        group.cancel_scope.cancel()
    assert seen.job_list is not None
    assert len(seen.job_list) == rows
    assert counts[0] >= rows // 200


def anonymous_kib() -> int:
    """Return the memory that is this process's own, without what it maps of files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


async def test_s10_a_document_of_64_mb_is_never_in_memory(modern: Cluster, tmp_path: Path) -> None:
    """It is read from its file: while 640 jobs with texts of 100 kB are decoded, and after it."""
    modern.submit(duration_s=1000.0)
    modern.pass_(5)
    document = modern.json("squeue", "--json")
    (record,) = document["jobs"]
    record["admin_comment"] = "x" * 100_000
    head, tail = json.dumps({**document, "jobs": ["HERE"]}).split('"HERE"')
    long = tmp_path / "long.json"
    with long.open("w") as file:
        file.write(head)
        for n in range(1, 641):
            file.write(("," if n > 1 else "") + json.dumps({**record, "job_id": n}))
        file.write(tail)
    source = CommandSource("sim", replace(modern.config, output_limit=512), directory=tmp_path)
    await source.query_jobs(JobQuestions(details=frozenset({1})))  # what is imported and probed once
    squeue = modern.bin / "squeue"
    real = squeue.rename(tmp_path / "real-squeue")
    squeue.write_text(
        f'#!/bin/sh\ncase "$*" in *=list*) ;; *--json*) exec cat {long};; esac\nexec {real} "$@"\n'
    )
    squeue.chmod(0o755)
    before = most = anonymous_kib()
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, anonymous_kib())
                await anyio.lowlevel.checkpoint()

        group.start_soon(watch)
        answers = await source.query_jobs(JobQuestions(details=frozenset(range(1, 641))))
        group.cancel_scope.cancel()
    assert [job.key.job_id for job in answers.details or ()] == list(range(1, 641))
    assert most - before < long.stat().st_size // 1024 // 2
    assert anonymous_kib() - before < long.stat().st_size // 1024 // 4


@pytest.mark.parametrize(
    ("script", "queued"),
    [
        ("echo 'DBD Agent queue size: 12'", 12),
        ("echo 'DBD Agent queue size: 0'; exit 1", None),
        ("echo 'slurm_get_statistics: Unable to contact slurm controller' >&2; exit 1", None),
        ("exit 0", None),
        (None, None),
    ],
)
async def test_s1_what_sdiag_does_not_count_is_not_guessed_and_costs_no_other_question(
    cluster: Cluster, script: str | None, queued: int | None
) -> None:
    """It may be missing, and what the other commands offer is not asked again for that."""
    if script is not None:
        (cluster.bin / "sdiag").write_text(f"#!/bin/sh\n{script}\n")
        (cluster.bin / "sdiag").chmod(0o755)
    await cluster.source.detail_batch_size()
    calls = {name: each.calls for name, each in cluster.source.tally.commands.items()}
    assert await cluster.source.queued_messages() == queued
    await cluster.source.detail_batch_size()
    asked = {name: each.calls for name, each in cluster.source.tally.commands.items()}
    assert {name: count for name, count in asked.items() if name != "sdiag"} == calls
