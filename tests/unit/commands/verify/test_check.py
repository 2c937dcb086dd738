"""Whole checks over a scripted Slurm and a real store: slices, memory, what a backend says, repairs."""

from __future__ import annotations

import gc
import io
import json
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest

from slurmsyncd.commands.verify import backend as backend_module
from slurmsyncd.commands.verify.backend import BackendQuery
from slurmsyncd.commands.verify.checker import Verifier
from slurmsyncd.commands.verify.compare import RunStatus
from slurmsyncd.commands.verify.json_report import document
from slurmsyncd.commands.verify.report import NAMED, Report
from slurmsyncd.commands.verify.text_report import show
from slurmsyncd.config import Config, DaemonConfig, SinkConfig
from slurmsyncd.console.accounting_windows import DAY_S, slices
from slurmsyncd.console.terminal import Terminal
from slurmsyncd.delivery import Outcome, OutcomeKind, RemoteState
from slurmsyncd.errors import SourceUnavailable
from slurmsyncd.model import (
    Job,
    JobAnswers,
    JobQuestions,
    JobState,
    ListedJob,
    Observation,
    Plan,
    RunEnded,
    RunKey,
    RunStarted,
    Trigger,
)
from tests.unit.store.builders import opened, tell_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from slurmsyncd.model import NodeState
    from slurmsyncd.ports import Inventory

pytestmark = pytest.mark.anyio

SINK = "rest"
CLUSTER = "alpha"
#: All runs end well before what the daemon reads again.
NOW = int(time.time())
SINCE = NOW - 2 * DAY_S


class Slurm:
    """A source whose accounting is a function, and which counts the records that are alive at each look."""

    cluster = CLUSTER
    doubted_from: float | None = None
    is_narrowest = False

    def __init__(
        self, ended: Callable[[int, int], Iterable[Job]], *, runs: Iterable[Job] = (), slice_s: int = 3600
    ) -> None:
        self._ended = ended
        self._runs = tuple(runs)
        self._slice_s = slice_s
        self.alive: list[int] = []
        self.answers = True

    async def poll(
        self, since: int, until: int, *, listing: bool = True, accounting: bool = True
    ) -> Observation:
        self.alive.append(sum(type(each) is Job for each in gc.get_objects()))
        if not self.answers:
            raise SourceUnavailable("slurmdbd does not answer")
        through = min(until, since + self._slice_s)
        listed = tuple(ListedJob(job.key.job_id, job.state, job.key.start_at) for job in self._runs)
        return Observation(
            cluster=CLUSTER,
            observed_at=NOW,
            job_list=listed if listing else None,
            ended_runs=tuple(self._ended(since, through)),
            accounting_read_until=through,
            never_started=1,
        )

    async def query_jobs(self, questions: JobQuestions) -> JobAnswers:
        return JobAnswers(details=tuple(job for job in self._runs if job.key.job_id in questions.details))

    async def queued_messages(self) -> int | None:
        return None

    async def detail_batch_size(self) -> int:
        return 500

    async def node_states(self) -> tuple[NodeState, ...]:
        return ()


class Shelf:
    """What a backend shows: job id → how; asked by the second of the start."""

    name = SINK

    def __init__(self, shown: Mapping[int, RemoteState], answers: Iterable[Outcome] = ()) -> None:
        self._shown = shown
        self._failures = list(answers)

    async def find_runs(self, cluster: str, start_at: int) -> Mapping[int, RemoteState] | Outcome:
        assert cluster == CLUSTER
        return self._failures.pop(0) if self._failures else self._shown


def asking(shown: Mapping[int, RemoteState], answers: Iterable[Outcome] = ()) -> BackendQuery:
    return BackendQuery(cast("Inventory", Shelf(shown, answers)), 300.0, questions_per_s=1e6)


def job(job_id: int, end_at: int, **changes: Any) -> Job:
    state = JobState.COMPLETED
    made = Job(
        key=RunKey(CLUSTER, job_id, end_at - 60), state=state, end_at=end_at, user="anna", nodes=("n1",)
    )
    return replace(made, **changes)


def among(*jobs: Job) -> Callable[[int, int], Iterable[Job]]:
    """Return accounting of these, with both ends of a window in it, as sacct has them."""
    return lambda since, until: [each for each in jobs if since <= (each.end_at or 0) <= until]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    daemon = DaemonConfig(
        state_dir=tmp_path / "state",
        lastrun_file=tmp_path / "state" / "lastrun",
        pid_file=tmp_path / "run" / "slurmsyncd.pid",
    )
    return Config(daemon=daemon, sinks={SINK: SinkConfig(name=SINK, url="http://127.0.0.1:1")})


def written(config: Config, *jobs: Job, running: Iterable[Job] = (), ago_s: int = 10) -> None:
    """Write runs down and have them told, the position being ``ago_s`` ago."""
    store = opened(config.daemon.state_dir)
    begun = [RunStarted(each, Trigger.POLL) for each in (*jobs, *running)]
    ended = [RunEnded(each, Trigger.POLL) for each in jobs]
    store.record(Plan(cluster=CLUSTER, events=(*begun, *ended), cursor=NOW - ago_s), NOW - 5000)
    tell_all(store, NOW - 4000)
    store.close()


async def check(
    config: Config,
    slurm: Slurm,
    *,
    repair: bool = False,
    backend: BackendQuery | None = None,
    since: int = SINCE,
) -> Report:
    report = Report(since=since, until=NOW)
    backends = {} if backend is None else {SINK: backend}
    checker = Verifier(
        config, report, sinks=[SINK], backends=backends, repair=repair, progress=lambda *_: None
    )
    await checker.cluster(slurm, now_too=True)
    return report


def shown(report: Report) -> str:
    out = io.StringIO()
    show(report, Terminal(out, {}))
    return out.getvalue()


async def test_a_run_at_the_edge_of_two_windows_is_counted_once() -> None:
    """Windows have their ends in common; each run belongs to one, and no window is of two days."""
    midnight = NOW // DAY_S * DAY_S - DAY_S
    edges = [midnight + part for part in (-1, 0, 1, 1800, 3600)]
    slurm = Slurm(among(*(job(number, at) for number, at in enumerate(edges, 1))), slice_s=1800)
    found = [part async for part in slices(slurm, midnight - 2000, midnight + 3700)]
    counted = Counter(run.key.job_id for part in found for run in part.runs)
    assert counted == {1: 1, 2: 1, 3: 1, 4: 1, 5: 1}
    assert [part.until for part in found][-1] == midnight + 3700
    assert midnight in [part.until for part in found]


async def test_memory_holds_one_slice_of_20000_runs(config: Config) -> None:
    """However many runs there are, the records of one slice are all that is kept of them; all are counted."""
    a_slice, slices_ = 500, 40
    step = (NOW - SINCE) // slices_

    def accounting(since: int, until: int) -> Iterable[Job]:
        number = (since - SINCE) // step
        return (
            (job(1 + number * a_slice + each, since + 1) for each in range(a_slice)) if until > since else ()
        )

    written(config)
    before = sum(type(each) is Job for each in gc.get_objects())
    slurm = Slurm(accounting, slice_s=step)
    report = await check(config, slurm)
    looked = len(slurm.alive) - 1  # the last is for what runs now
    total = report.total()
    assert looked >= slices_
    assert sum(total.values()) == a_slice * looked >= 20_000
    assert total[RunStatus.MISSING] > 19_000
    assert (len(report.differences), report.unnamed) == (NAMED, total[RunStatus.MISSING] - NAMED)
    assert max(slurm.alive) - before <= 2 * a_slice


async def test_what_is_missing_is_found_named_and_repaired(config: Config) -> None:
    """Missing until --repair has it written down, then waiting; a second time there is nothing to do."""
    told, gone, runs = job(1, NOW - 5000), job(2, NOW - 90_000), job(3, NOW - 4000, state=JobState.RUNNING)
    runs = replace(runs, end_at=None)
    written(config, told)
    slurm = Slurm(among(told, gone), runs=[runs])
    report = await check(config, slurm)
    assert not report.complete
    assert [(each.job_id, each.fate.value) for each in report.differences] == [(2, "missing"), (3, "missing")]
    assert "2 missing" in shown(report)

    repaired = await check(config, slurm, repair=True)
    assert repaired.complete
    assert repaired.repaired == 2
    assert repaired.total() == {RunStatus.DELIVERED: 1, RunStatus.WAITING: 2}
    assert "2 runs repaired: written down, and sent when the daemon is started" in shown(repaired)

    again = await check(config, slurm, repair=True)
    assert (again.repaired, again.differences, again.complete) == (0, [], True)


async def test_a_sink_that_came_later_misses_what_was_before_it(config: Config) -> None:
    """Runs that were never for a sink are missing there, and --repair tells it of them."""
    run = job(1, NOW - 5000)
    written(config, run)
    late = replace(config, sinks={"late": SinkConfig(name="late", url="http://127.0.0.1:1")})
    for repair, complete in ((False, False), (True, True)):
        report = Report(since=SINCE, until=NOW)
        checker = Verifier(late, report, sinks=["late"], backends={}, repair=repair, progress=lambda *_: None)
        await checker.cluster(Slurm(among(run)), now_too=False)
        assert report.complete is complete
    assert report.total() == {RunStatus.WAITING: 1}


async def test_while_the_daemon_is_behind_nothing_is_missing(config: Config) -> None:
    """What ended after its position it reads itself; that is said, with how far it has read."""
    written(config, ago_s=30_000)
    report = await check(config, Slurm(among(job(1, NOW - 20_000), job(2, NOW - 31_000))))
    assert report.total() == {RunStatus.UNREAD: 1, RunStatus.MISSING: 1}
    assert "when it is started; it has read up to" in shown(report)


async def test_what_the_store_forgot_is_asked_of_the_backend(config: Config) -> None:
    """Beyond what is remembered nothing is missing unless the backend says so; that is said."""
    days = 10 * DAY_S
    slurm = Slurm(among(job(1, NOW - days), job(2, NOW - days)), slice_s=DAY_S)
    written(config)
    report = await check(config, slurm, since=NOW - days - 100)
    assert report.total() == {RunStatus.FORGOTTEN: 2}
    assert report.complete
    assert "--backend asks the backend itself" in shown(report)

    backend = asking({1: RemoteState.ENDED})
    report = await check(config, slurm, since=NOW - days - 100, backend=backend)
    assert report.total() == {RunStatus.DELIVERED: 1, RunStatus.MISSING: 1}
    assert backend.questions == 1, "one for each second in which runs began"


async def test_what_the_backend_lost_is_found_and_told_again(config: Config) -> None:
    """Acknowledged and absent, or still running there: lost, and sent again; other runs are left alone."""
    runs = [job(number, NOW - 6000) for number in (1, 2, 3)]
    written(config, *runs)
    backend = asking({1: RemoteState.ENDED, 2: RemoteState.RUNNING})
    report = await check(config, Slurm(among(*runs)), backend=backend)
    assert report.total() == {RunStatus.DELIVERED: 1, RunStatus.LOST: 2}
    report = await check(config, Slurm(among(*runs)), backend=backend, repair=True)
    assert report.total() == {RunStatus.DELIVERED: 1, RunStatus.WAITING: 2}
    assert {each.job_id: each.why.split()[0] for each in report.differences} == {2: "its", 3: "acknowledged,"}


async def test_what_the_backend_closed_wrongly_cannot_be_repaired(config: Config) -> None:
    """It shows a run as ended that Slurm runs: lost, and lost it stays; no request reopens it."""
    run = replace(job(1, NOW - 6000), state=JobState.RUNNING, end_at=None)
    written(config, running=[run])
    backend = asking({1: RemoteState.ENDED})
    report = await check(config, Slurm(among(), runs=[run]), backend=backend, repair=True)
    assert (report.total(), report.repaired) == ({RunStatus.LOST: 1}, 0)


async def test_who_does_not_answer_is_no_proof(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm or a backend that does not answer ends the check; a backend's hiccup does not."""
    monkeypatch.setattr(backend_module, "WAIT_S", 0.0)
    run = job(1, NOW - 6000)
    written(config, run)
    failed = Outcome(result=OutcomeKind.SINK_UNAVAILABLE, reason="timeout")
    hiccup = asking({1: RemoteState.ENDED}, [failed])
    assert (await check(config, Slurm(among(run)), backend=hiccup)).complete
    assert hiccup.questions == 2
    dead = asking({}, [failed] * 9)
    with pytest.raises(SourceUnavailable, match="timeout"):
        await check(config, Slurm(among(run)), backend=dead)
    alarm = Outcome(result=OutcomeKind.SINK_UNAVAILABLE, reason="credentials", action_required=True)
    refusing = asking({}, [alarm])
    with pytest.raises(SourceUnavailable, match="credentials"):
        await check(config, Slurm(among(run)), backend=refusing)
    assert refusing.questions == 1, "it is not asked again"
    slurm = Slurm(among(run))
    slurm.answers = False
    with pytest.raises(SourceUnavailable, match="slurmdbd"):
        await check(config, slurm)


async def test_a_run_that_the_backend_cannot_list_is_named_and_the_others_are_checked(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One missing file of the backend's archive fails the second of that run alone, and is no proof."""
    monkeypatch.setattr(backend_module, "WAIT_S", 0.0)
    runs = [job(number, NOW - 9000 + number) for number in range(1, 6)]
    written(config, *runs)
    broken = Outcome(result=OutcomeKind.FAILED, reason="http_500", detail="meta.json: no such file")

    class Archive(Shelf):
        async def find_runs(self, cluster: str, start_at: int) -> Mapping[int, RemoteState] | Outcome:
            return broken if start_at == runs[2].key.start_at else self._shown

    shelf = Archive(dict.fromkeys(range(1, 6), RemoteState.ENDED))
    for repair in (False, True):
        backend = BackendQuery(cast("Inventory", shelf), 300.0, questions_per_s=1e6)
        report = await check(config, Slurm(among(*runs)), backend=backend, repair=repair)
        assert report.total() == {RunStatus.DELIVERED: 4, RunStatus.UNREADABLE: 1}
        assert not report.complete
        assert report.repaired == 0
        (named,) = report.differences
        assert (named.job_id, named.fate.value) == (3, "unreadable")
        assert "meta.json: no such file" in named.why
        assert "1 unreadable" in shown(report)


async def test_a_backend_that_fails_at_every_question_does_not_answer(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not asked for each of thousands of seconds, and that no run can be read is no finding."""
    monkeypatch.setattr(backend_module, "WAIT_S", 0.0)
    runs = [job(number, NOW - 9000 + number) for number in range(1, 30)]
    written(config, *runs)
    backend = asking({}, [Outcome(result=OutcomeKind.FAILED, reason="http_500")] * 1000)
    with pytest.raises(SourceUnavailable, match="http_500"):
        await check(config, Slurm(among(*runs)), backend=backend)
    assert backend.questions == backend_module.ATTEMPTS * (backend_module.FAILED_IN_A_ROW + 1)


async def test_hostile_names_move_no_cursor(config: Config) -> None:
    """What users put into names is escaped where people read it, and whole in the JSON."""
    evil = "\x1b]0;owned\x07\x1b[2J\u202eevil\nrow"
    written(config)
    report = await check(config, Slurm(among(job(1, NOW - 6000, name=evil, user="u\r\x1b[1A"))))
    text = shown(report)
    assert all(char.isprintable() for char in text.replace("\n", ""))
    assert text.count("missing  alpha") == 1
    (named,) = json.loads(msgspec.json.encode(document(report)))["differences"]
    assert (named["name"], named["user"]) == (evil, "u\r\x1b[1A")
