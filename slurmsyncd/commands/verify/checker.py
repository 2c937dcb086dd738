"""Hold each run of Slurm's against what is written down of it, and have written down what is missing."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from slurmsyncd.commands.verify import compare
from slurmsyncd.commands.verify.backend import Unreadable
from slurmsyncd.commands.verify.compare import FAILING, REPAIRABLE, RunStatus
from slurmsyncd.commands.verify.report import ClusterReport, StatusCounts, missing_run
from slurmsyncd.console.accounting_windows import DAY_S, running, slices
from slurmsyncd.control.client import connect
from slurmsyncd.control.run_requests import CloseGaps, GetStoredRuns, RecordRuns, RepairSink
from slurmsyncd.delivery import RemoteState, Repair
from slurmsyncd.model import JobQuestions
from slurmsyncd.planner.gaps import merged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from slurmsyncd.commands.verify.backend import BackendQuery
    from slurmsyncd.commands.verify.compare import KnownRange
    from slurmsyncd.commands.verify.report import Report
    from slurmsyncd.config import Config
    from slurmsyncd.console.accounting_windows import Slice
    from slurmsyncd.control.run_requests import StoredRuns
    from slurmsyncd.delivery import DeliverySummary, StoredRun
    from slurmsyncd.model import Gap, Job, RunKey
    from slurmsyncd.ports import Source

#: Runs that are asked about at once: the daemon's store has others to serve between.
BATCH = 1000
#: Runs that are recorded at once; one on many nodes has a long list of them.
RECORDED = 50


@dataclass(slots=True)
class VerifiedRun:
    """
    One run.

    Attributes:
        written: What is written down of it.
        fates: Sink → what became of it.
        there: Sink → what it shows; only of those that were asked.
        unreadable: Sink → why it cannot say what it shows.
    """

    run: Job
    written: StoredRun | None
    fates: dict[str, RunStatus]
    there: dict[str, RemoteState] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)

    def told(self, sink: str) -> DeliverySummary | None:
        """Return how far a sink is with it, as it is written down."""
        return None if self.written is None else self.written.deliveries.get(sink)

    @property
    def failing(self) -> dict[str, RunStatus]:
        """Sinks that should have it and have not, so that it has to be sent there."""
        return {sink: fate for sink, fate in self.fates.items() if fate in REPAIRABLE}


class Verifier:
    """
    Checks clusters, one after the other.

    Args:
        sinks: Names of those that are checked.
        backends: Those that are asked themselves, by name of their sink.
        repair: Have written down what is missing.
        progress: Is told how far it came: cluster, until when (epoch seconds), runs so far.
    """

    def __init__(
        self,
        config: Config,
        report: Report,
        *,
        sinks: Sequence[str],
        backends: Mapping[str, BackendQuery],
        repair: bool,
        progress: Callable[[str, int, int], None],
    ) -> None:
        self._config = config
        self._report = report
        self._sinks = tuple(sinks)
        self._backends = backends
        self._repair = repair
        self._progress = progress
        self._gaps: Sequence[Gap] = ()

    async def cluster(self, source: Source, *, now_too: bool) -> None:
        """
        Check one cluster.

        Args:
            source: Its Slurm.
            now_too: Also what runs now.

        Raises:
            SourceUnavailable: Slurm, or a backend, does not answer.
            SlurmsyncdError: The daemon does not.
        """
        found = ClusterReport(cluster=source.cluster, sinks={sink: StatusCounts() for sink in self._sinks})
        self._report.clusters.append(found)
        self._judge([], found)  # who does not answer shall show at once
        runs = 0
        async for part in slices(source, self._report.since, self._report.until):
            day = (part.until - 1) // DAY_S * DAY_S
            found.never_started[day] += part.never_started
            found.set_aside[day] += part.set_aside
            runs += len(part.runs)
            self._progress(source.cluster, part.until, runs)
            if part.unread is not None:
                found.unread = merged(found.unread, part.unread)
                continue
            await self._check(source, part.runs, found, day)
            self._close_gaps(part, found)
        if now_too:
            await self._check(source, await running(source, int(time.time())), found, None)

    def _close_gaps(self, part: Slice, found: ClusterReport) -> None:
        """Close what the daemon could not read of a part whose missing runs are recorded now."""
        if self._repair and any(gap.since < part.until and gap.until > part.since for gap in self._gaps):
            with connect(self._config) as desk:
                desk.ask(CloseGaps(cluster=found.cluster, since=part.since - 1, until=part.until - 1))

    async def _check(
        self, source: Source, runs: Sequence[Job], found: ClusterReport, day: int | None
    ) -> None:
        judged = self._judge(runs, found) if runs else []
        await self._confirm(judged)
        failing = [each for each in judged if each.failing]
        after: dict[RunKey, VerifiedRun] = {}
        if failing and self._repair:
            await self._repair_missing(source, failing)
            again = self._judge([each.run for each in failing], found)
            after = {each.run.key: each for each in again}
        for each in judged:
            self._count(each, after.get(each.run.key), found, day)

    def _count(
        self, each: VerifiedRun, after: VerifiedRun | None, found: ClusterReport, day: int | None
    ) -> None:
        for sink, before in each.fates.items():
            fate = before
            if before in FAILING:
                fate = _repaired(before, each, after, sink)
                why = _why(each, sink)
                self._report.differs(missing_run(each.run, sink, before, why, repaired=fate is not before))
            tally = found.sinks[sink]
            counts = tally.running if day is None else tally.days[day]
            counts[fate] += 1

    def _judge(self, runs: Sequence[Job], found: ClusterReport) -> list[VerifiedRun]:
        """Ask what is written down, and judge by that."""
        judged: list[VerifiedRun] = []
        # Not held for longer: a daemon that starts meanwhile must not find the store taken.
        with connect(self._config) as desk:
            self._report.daemon = desk.running
            for batch in _batches(runs, BATCH):
                answer = desk.ask(self._question(batch, found))
                judged += self._by_answer(batch, answer, found)
        return judged

    def _question(self, runs: Sequence[Job], found: ClusterReport) -> GetStoredRuns:
        ids = {run.key.job_id for run in runs}
        return GetStoredRuns(cluster=found.cluster, job_ids=tuple(sorted(ids)), sinks=self._sinks)

    def _by_answer(
        self, runs: Sequence[Job], answer: StoredRuns, found: ClusterReport
    ) -> Iterator[VerifiedRun]:
        within = self._bounds(answer)
        self._gaps = answer.gaps
        found.cursor, found.known_from = answer.cursor, within.known_from
        by_id: dict[int, list[StoredRun]] = defaultdict(list)
        for written in answer.runs:
            by_id[written.key.job_id].append(written)
        return (self._judged(run, by_id[run.key.job_id], within) for run in runs)

    def _judged(self, run: Job, written: Sequence[StoredRun], within: KnownRange) -> VerifiedRun:
        fates = {sink: compare.status_of(run, written, sink, within) for sink in self._sinks}
        return VerifiedRun(run=run, written=compare.find_stored(run, written), fates=fates)

    def _bounds(self, answer: StoredRuns) -> KnownRange:
        daemon = self._config.daemon
        return compare.known_range(
            answer.cursor,
            time.time(),
            overlap_s=daemon.overlap,
            max_span_s=daemon.max_span,
            gaps=answer.gaps,
        )

    async def _confirm(self, judged: Sequence[VerifiedRun]) -> None:
        """Have the backends say for themselves what they have."""
        wanted = (RunStatus.DELIVERED, RunStatus.FORGOTTEN, RunStatus.MISSING)
        for sink, backend in self._backends.items():
            asked_at = time.time()
            those = [each for each in judged if each.fates[sink] in wanted]
            there = await backend.there({_key(each) for each in those})
            for each in those:
                shown = there[_key(each)]
                if isinstance(shown, Unreadable):
                    each.fates[sink], each.unreadable[sink] = RunStatus.UNREADABLE, shown.why
                    continue
                each.there[sink] = shown
                each.fates[sink] = compare.with_backend_state(
                    each.fates[sink],
                    each.there[sink],
                    each.told(sink),
                    asked_at=asked_at,
                    grace_s=backend.grace_s,
                )

    async def _repair_missing(self, source: Source, failing: Sequence[VerifiedRun]) -> None:
        """Have written down what is missing, and told again what is lost."""
        jobs = [each.run for each in failing if each.written is None]
        wanted = [job for job in jobs if job.end_at is not None]
        wanted += await _details(source, [job for job in jobs if job.end_at is None])
        with connect(self._config) as desk:
            for batch in _batches(wanted, RECORDED):
                desk.ask(RecordRuns(cluster=source.cluster, jobs=tuple(batch)))
            for sink in self._sinks:
                if repairs := tuple(_repairs(failing, sink)):
                    desk.ask(RepairSink(sink=sink, repairs=repairs))


def _batches(runs: Sequence[Job], size: int) -> Iterator[Sequence[Job]]:
    """Return runs in batches, one of none if there are none."""
    return (runs[at : at + size] for at in range(0, max(1, len(runs)), size))


def _key(each: VerifiedRun) -> RunKey:
    return each.run.key if each.written is None else each.written.key


def _repairs(failing: Sequence[VerifiedRun], sink: str) -> Iterator[Repair]:
    for each in failing:
        if each.written is not None and sink in each.failing:
            finding = compare.remedy(each.told(sink), each.there.get(sink))
            if finding is not None:
                yield Repair(each.written.key, finding)


async def _details(source: Source, listed: Sequence[Job]) -> list[Job]:
    """Return the controller's records of runs that it lists."""
    if not listed:
        return []
    keys = {job.key for job in listed}
    answers = await source.query_jobs(JobQuestions(details=frozenset(key.job_id for key in keys)))
    return [job for job in answers.details or () if job.key in keys and job.state.is_active]


def _repaired(fate: RunStatus, before: VerifiedRun, after: VerifiedRun | None, sink: str) -> RunStatus:
    """Return the fate after the repair; what only the backend knows is better once it has been told again."""
    if (
        after is None
        or fate not in REPAIRABLE
        or (fate is RunStatus.LOST and after.told(sink) == before.told(sink))
    ):
        return fate
    return after.fates[sink]


def _why(each: VerifiedRun, sink: str) -> str:
    if sink in each.unreadable:
        return (
            f"the backend cannot list this run, or one that began in the same second: {each.unreadable[sink]}"
        )
    if each.written is None:
        return "not written down"
    if each.told(sink) is None:
        return "written down, but not for this sink; it came later"
    match each.there.get(sink):
        case RemoteState.ABSENT:
            return "acknowledged, and the backend has no such run"
        case RemoteState.RUNNING:
            return "its stop was acknowledged, and the backend shows it as running"
    return "it runs, and the backend shows it as ended"
