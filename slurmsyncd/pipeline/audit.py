"""The one return arrow: compare what a sink holds with what it was told, and put right what was lost."""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import dataclass, field
from heapq import merge
from itertools import groupby, islice
from operator import attrgetter
from typing import TYPE_CHECKING, NoReturn

import anyio
import structlog

from slurmsyncd.delivery import NO_LIST, Discrepancy, Outcome, OutcomeKind, RemoteState
from slurmsyncd.errors import DiskFull, SourceUnavailable
from slurmsyncd.model import JobQuestions
from slurmsyncd.pipeline.ends import EndComparison
from slurmsyncd.pipeline.expected_runs import ExpectedRuns
from slurmsyncd.planner.audit import RunEvidence, find_discrepancy, needs_accounting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from slurmsyncd.delivery import DeliverySummary, Repair
    from slurmsyncd.model import Job, RunKey
    from slurmsyncd.pipeline.store_thread import StoreThread
    from slurmsyncd.ports import Clock, Inventory, Source, Store

log = structlog.get_logger(__name__)

#: After an audit that could not be finished, unless the interval is shorter.
RETRY_S = 300.0
#: Between two looks at whether an audit is due before its time.
WATCH_S = 15.0
#: Job ids of one audit that accounting is asked about; what is left the next one asks.
ASKED = 5000
#: Runs that one audit remembers, and all reports together, or a backend could fill the daemon's memory; the
#: next audit finds the others.
DOUBTFUL = 50_000
#: Runs that are named one by one in the log; the rest is counted.
NAMED = 20
#: Seconds since its last outage, and since a run became a dead letter, after which it is delivered once more.
WELL_S = 3600.0
#: Dead letters of one cluster that one audit has delivered once more.
CHANCES = 100
#: Ids from here on no Slurm gives to a job, and sacct refuses the whole question.
_ID_LIMIT = 0xFFFF_FFFD
_start_at = attrgetter("start_at")
_REPORTS = frozenset(
    {
        Discrepancy.ENDED_TOO_EARLY,
        Discrepancy.ENDED_OTHERWISE,
        Discrepancy.UNREADABLE,
        Discrepancy.UNKNOWN_RUN,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPolicy:
    """
    When to audit a sink, in seconds.

    Attributes:
        interval_s: From the end of one audit to the next.
        grace_s: For so long what has just been started may be missing there.
        settled_s: How far back runs whose stop was settled are looked up, too: where a settled step
            proves nothing (NATS). Each is, once; 0: none.
    """

    interval_s: float
    grace_s: float
    settled_s: float = 0.0


@dataclass(slots=True)
class AuditResults:
    """
    What the audits of one sink came to; read by status and metrics.

    Attributes:
        trouble: Why the last audit of a cluster could not be finished, by cluster; none that could.
        trouble_since: Since when not all clusters could be audited (epoch seconds).
        findings: How often each kind of difference was found.
        reports: Kinds that no request can correct, as the last audit that found some counted them.
        reported_at: When that was (epoch seconds).
    """

    audits: int = 0
    failures: int = 0
    last_audit_at: float | None = None
    trouble: dict[str, str] = field(default_factory=dict)
    trouble_since: float | None = None
    findings: Counter[Discrepancy] = field(default_factory=Counter)
    reports: Mapping[Discrepancy, int] = field(default_factory=dict)
    reported_at: float | None = None


class Auditor:
    """
    Audits one sink.

    Args:
        repaired: Called when the sink has something to do.
        heard: Called when the sink answered all that it was asked.
    """

    def __init__(
        self,
        inventory: Inventory,
        store: Store,
        thread: StoreThread,
        policy: AuditPolicy,
        clock: Clock,
        *,
        repaired: Callable[[], None],
        heard: Callable[[], None] = lambda: None,
    ) -> None:
        self.tally = AuditResults()
        self._inventory = inventory
        self._store = store
        self._thread = thread
        self._policy = policy
        self._clock = clock
        self._repaired = repaired
        self._heard = heard
        self._reported: frozenset[RunKey] = frozenset()  # of which nothing is written down
        self._looked_up: dict[str, float] = {}  # cluster → what was settled before has been
        self._doubted: float | None = None
        self._ends = EndComparison(inventory, store, thread)

    async def run(self, sources: Sequence[Source], has_looked: Callable[[str], bool]) -> NoReturn:
        """
        Audit for ever, the first time once what was told before we began can be expected to be listed.

        Args:
            sources: Of all clusters.
            has_looked: Whether the first look at a cluster is over; before, much there is strange to us.
        """
        interval_s = self._policy.interval_s
        await anyio.sleep(self._policy.grace_s)
        while True:
            done = [has_looked(source.cluster) and await self.audit(source) for source in sources]
            await self._rest(interval_s if all(done) else min(RETRY_S, interval_s))

    async def _rest(self, seconds: float) -> None:
        """Wait for the next audit; less if something happened that may have cost the sink runs."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            await anyio.sleep(min(left, WATCH_S))
            if (since := self._inventory.doubtful_since) != self._doubted:
                self._doubted = since
                until = min(until, time.monotonic() + self._policy.grace_s)

    async def audit(self, source: Source) -> bool:
        """Audit one cluster; return whether all queries were answered."""
        audit = _Audit(
            self._inventory,
            self._store,
            self._thread,
            source,
            began_at=self._clock.now(),
            reported=self._reported,
        )
        try:
            trouble = await audit.collect(self._policy.grace_s, self._settled_from(source.cluster))
            differing, broken = await self._ends.compare(
                source.cluster, audit.began_at - self._policy.grace_s
            )
            if broken is not None:
                trouble = trouble or _said(broken)
            await self._carry_out(source.cluster, audit, differing)
            self._ends.keep(source.cluster)
            if not trouble:
                self._heard()
                await self._give_second_chances(source.cluster)
                self._looked_up[source.cluster] = audit.began_at - self._policy.grace_s
        except DiskFull as err:
            trouble = str(err)
        self.tally.audits += 1
        self.tally.failures += bool(trouble)
        self.tally.last_audit_at = self._clock.now()
        self._note_trouble(source.cluster, trouble)
        return not trouble

    async def _give_second_chances(self, cluster: str) -> None:
        """
        Have dead letters delivered once more when the sink has been well for a time.

        A sink that rejects, accepts and rejects in turn makes dead letters of runs that nothing is wrong
        with. A run that is rejected for its own sake becomes a dead letter again.
        """
        now, doubted = self._clock.now(), self._inventory.doubtful_since
        if doubted is not None and now - doubted < WELL_S:
            return
        name = self._inventory.name
        count = await self._thread(
            lambda: self._store.second_chance(name, cluster, before=now - WELL_S, now=now, limit=CHANCES)
        )
        if count:
            log.info("dead_letters_retried", sink=name, cluster=cluster, count=count)
            self._repaired()

    def _settled_from(self, cluster: str) -> float | None:
        """Return the time since which settled runs were not looked up, None if they never are."""
        if not self._policy.settled_s:
            return None
        return max(self._looked_up.get(cluster, 0.0), self._clock.now() - self._policy.settled_s)

    async def _carry_out(self, cluster: str, audit: _Audit, differing: Sequence[Repair]) -> None:
        repairs = [*audit.find_discrepancies(self._policy.grace_s), *differing]
        done = [each for each in repairs if each.discrepancy is Discrepancy.UNKNOWN_RUN]
        unheard = {each.key for each in done}
        if written := [each for each in repairs if each.discrepancy is not Discrepancy.UNKNOWN_RUN]:
            now = self._clock.now()
            done += await self._thread(self._store.repair, self._inventory.name, written, now)
        self._remember(cluster, audit.reported, unheard)
        self._report(cluster, done)
        if any(each.discrepancy not in _REPORTS for each in done):
            self._repaired()

    def _remember(self, cluster: str, reported: set[RunKey], unheard: set[RunKey]) -> None:
        kept = {key for key in self._reported if key.cluster != cluster} | reported
        kept.update(islice(unheard, max(0, DOUBTFUL - len(kept))))
        self._reported = frozenset(kept)

    def _report(self, cluster: str, done: Sequence[Repair]) -> None:
        found = Counter(each.discrepancy for each in done)
        self.tally.findings.update(found)
        if reports := {finding: count for finding, count in found.items() if finding in _REPORTS}:
            self.tally.reports, self.tally.reported_at = reports, self._clock.now()
        for each in done[:NAMED]:
            level = logging.WARNING if each.discrepancy in _REPORTS else logging.INFO
            key = each.key
            log.log(
                level,
                "audit_finding",
                finding=each.discrepancy.value,
                sink=self._inventory.name,
                cluster=cluster,
                job=key.job_id,
                start_at=key.start_at,
                **({"detail": each.detail} if each.detail else {}),
            )
        counts = {finding.value: number for finding, number in found.items()}
        level = logging.WARNING if found else logging.INFO
        log.log(level, "audited", sink=self._inventory.name, cluster=cluster, **counts)

    def _note_trouble(self, cluster: str, trouble: str | None) -> None:
        before = self.tally.trouble.pop(cluster, None)
        if not trouble:
            self.tally.trouble_since = self.tally.trouble_since if self.tally.trouble else None
            return
        self.tally.trouble[cluster] = trouble
        self.tally.trouble_since = self.tally.trouble_since or self._clock.now()
        if trouble != before:
            log.warning("audit_incomplete", sink=self._inventory.name, cluster=cluster, reason=trouble)


class _Audit:
    """
    One audit of one cluster: what was found out, page by page; nothing is kept of runs that are all right.

    Args:
        reported: Strangers that an earlier audit reported; Slurm is not asked about them again.

    Attributes:
        began_at: When (epoch seconds).
        reported: Those of them that are still there.
    """

    def __init__(
        self,
        inventory: Inventory,
        store: Store,
        thread: StoreThread,
        source: Source,
        *,
        began_at: float,
        reported: frozenset[RunKey],
    ) -> None:
        self.reported: set[RunKey] = set()
        self._reported_before = reported
        self._inventory = inventory
        self._store = store
        self._thread = thread
        self._source = source
        self.began_at = began_at
        self._missing: list[ExpectedRuns] = []
        self._doubtful: dict[RunKey, tuple[RemoteState, DeliverySummary | None]] = {}
        self._rows: dict[int, list[Job]] = {}  # of accounting, by job id; missing: not known
        self._elsewhere: dict[int, list[int]] = {}

    async def collect(self, grace_s: float, settled_from: float | None = None) -> str | None:
        """
        Find out all that has to be known.

        Args:
            grace_s: See AuditPolicy.
            settled_from: Look up also what was settled since (epoch seconds); None: nothing of that.

        Returns:
            What did not answer, None if everything did. What is known all the same can be judged.
        """
        cluster, name = self._source.cluster, self._inventory.name
        before = self.began_at - grace_s
        store = self._store
        self._missing = [
            await self._thread(
                lambda: ExpectedRuns(cluster, store.delivered_open_runs(name, cluster, before))
            )
        ]
        if settled_from is not None:
            self._missing.append(
                await self._thread(
                    lambda since: ExpectedRuns(
                        cluster, store.delivered_ended_runs(name, cluster, since, before)
                    ),
                    settled_from,
                )
            )
        outcome = await self._inventory.list_running(cluster, self._read_page)
        trouble = None if outcome.result is OutcomeKind.ACCEPTED else _said(outcome)
        if trouble is None:
            trouble = await self._look_up_missing()
        return await self._ask_slurm() or trouble

    def find_discrepancies(self, grace_s: float) -> list[Repair]:
        """Judge what is doubtful."""
        repairs = []
        for key, (there, told) in self._doubtful.items():
            seen = RunEvidence(
                key=key,
                remote=there,
                asked_at=self.began_at,
                told=told,
                accounting=self._rows.get(key.job_id),
                other_starts=self._elsewhere.get(key.job_id, ()),
            )
            if (repair := find_discrepancy(seen, grace_s=grace_s)) is not None:
                repairs.append(repair)
        return repairs

    async def _read_page(self, keys: Sequence[RunKey]) -> None:
        for each in self._missing:
            each.remove_found(keys)
        self.reported.update(self._reported_before.intersection(keys))
        told = await self._told(keys)
        self._keep(((key, RemoteState.RUNNING) for key in keys), told)

    def _keep(
        self, found: Iterable[tuple[RunKey, RemoteState]], told: Mapping[RunKey, DeliverySummary]
    ) -> None:
        """Keep what can come to a finding; most runs are as they should be."""
        for key, there in found:
            if len(self._doubtful) >= DOUBTFUL:
                break
            at = told.get(key)
            seen = RunEvidence(key=key, remote=there, asked_at=self.began_at, told=at)
            if needs_accounting(there, at) or find_discrepancy(seen, grace_s=0.0) is not None:
                self._doubtful[key] = there, at

    async def _look_up_missing(self) -> str | None:
        """Ask for each run that is missing from a list: pages of a changing set may skip some."""
        trouble = None
        for start_at, runs in groupby(merge(*self._missing, key=_start_at), key=_start_at):
            keys = list(runs)
            there = await self._inventory.find_runs(self._source.cluster, start_at)
            if isinstance(there, Outcome):
                trouble = _said(there)
                if there.result is OutcomeKind.SINK_UNAVAILABLE or there.reason in NO_LIST:
                    break
                continue
            found = [(key, there.get(key.job_id, RemoteState.ABSENT)) for key in keys]
            self._keep(found, await self._told(keys))
        return trouble

    async def _ask_slurm(self) -> str | None:
        """Ask accounting about runs that only Slurm can explain."""
        wanted = {key for key, (there, told) in self._doubtful.items() if needs_accounting(there, told)}
        asked = {key.job_id for key in wanted - self.reported}
        self._rows = {job_id: [] for job_id in asked if job_id >= _ID_LIMIT}
        ids = sorted(asked - self._rows.keys())[:ASKED]
        if not ids:
            return None
        try:
            answers = await self._source.query_jobs(JobQuestions(accounting=frozenset(ids)))
        except SourceUnavailable as err:
            return str(err)
        if answers.accounting is None:
            return "; ".join(answers.errors) or "accounting does not answer"
        self._rows.update({job_id: [] for job_id in ids if job_id not in answers.unanswered.accounting})
        for row in answers.accounting:
            if row.key.job_id in self._rows:
                self._rows[row.key.job_id].append(row)
        for key in await self._told(row.key for row in answers.accounting):
            self._elsewhere.setdefault(key.job_id, []).append(key.start_at)
        return None

    async def _told(self, keys: Iterable[RunKey]) -> Mapping[RunKey, DeliverySummary]:
        return await self._thread(self._store.delivery_summaries, self._inventory.name, tuple(keys))


def _said(outcome: Outcome) -> str:
    return f"{outcome.reason} {outcome.detail}".strip()
