"""A modelled Slurm, and sinks and clocks in memory: little real programs, with faults on demand."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from slurmsyncd.delivery import Outcome, OutcomeKind
from slurmsyncd.errors import SourceUnavailable
from slurmsyncd.model import (
    Job,
    JobAnswers,
    JobQuestions,
    JobState,
    ListedJob,
    NodeAllocation,
    Notification,
    Observation,
    RunKey,
)
from slurmsyncd.planner.gaps import FLOOR_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from slurmsyncd.model import NodeState, OutboxEntry

CLUSTER = "alpha"
NOW = 1_800_000_000
ACCEPTED = Outcome(result=OutcomeKind.ACCEPTED, reason="accepted")


class FakeClock:
    """A clock that stands until it is turned."""

    def __init__(self, at: float = NOW) -> None:
        self.at = at

    def now(self) -> float:
        return self.at


@dataclass(eq=False)
class TrueRun:
    """
    What really happens. ``starts`` are all that Slurm ever claimed, the last one counts.

    ``row`` is what slurmdbd has of it: (start, state, end), None as long as it has nothing.
    """

    job_id: int
    starts: list[int]
    state: JobState = JobState.RUNNING
    end_at: int | None = None
    row: tuple[int, JobState, int | None] | None = None

    def job(self, start_at: int, state: JobState, end_at: int | None, **more: object) -> Job:
        key = RunKey(CLUSTER, self.job_id, start_at)
        more["submit_at"] = self.starts[0]
        return Job(key=key, state=state, end_at=end_at, user="ada", nodes=("n1",), num_nodes=1, **more)  # type: ignore[arg-type]

    @property
    def begun(self) -> tuple[int, JobState, int | None]:
        return self.starts[-1], self.state, self.end_at


@dataclass
class FakeSlurm:
    """
    One cluster's truth, its controller's memory, and accounting that follows behind.

    Attributes:
        memory: What slurmctld holds, by job id: the run and the state that it shows; None: pending.
        letters: What slurmctld has not yet told slurmdbd, oldest first.
        listing: None, or what becomes of a listing: whole, part of it, nothing.
        poisoned: Jobs whose detail records are not readable.
        mute: Questions that are not answered, while others are.
        windows: Windows of accounting have their rows; else they are empty, as if slurmdbd knew of no end.
        counts: sdiag counts what slurmctld holds for slurmdbd.
        unreadable: Seconds whose windows fail; after each failure the slice is halved.
    """

    now: int = NOW
    slice_s: int = 86400
    runs: list[TrueRun] = field(default_factory=list)
    memory: dict[int, tuple[TrueRun, JobState] | None] = field(default_factory=dict)
    letters: deque[tuple[TrueRun, tuple[int, JobState, int | None]]] = field(default_factory=deque)
    hints: list[Notification] = field(default_factory=list)
    listing: Callable[[Sequence[ListedJob]], Sequence[ListedJob]] | None = tuple
    details: Callable[[Sequence[Job]], Sequence[Job]] | None = tuple
    accounting_up: bool = True
    rows_by_id: bool = True
    linked: bool = True
    poisoned: set[int] = field(default_factory=set)
    mute: JobQuestions = field(default_factory=JobQuestions)
    windows: bool = True
    unreadable: frozenset[int] = frozenset()
    counts: bool = True
    counted: int = 0
    widest_s: int = 0
    looks: list[tuple[int, int, bool]] = field(default_factory=list)
    asked: list[JobQuestions] = field(default_factory=list)

    # What happens on the cluster

    def start(self, job_id: int) -> TrueRun:
        run = TrueRun(job_id, [self.now])
        self.runs.append(run)
        self.memory[job_id] = run, JobState.RUNNING
        self._tell(run)
        self._hook(run, "prolog")
        return run

    def move(self, run: TrueRun) -> None:
        """Nodes have booted: the start becomes now."""
        run.starts.append(self.now)
        self._tell(run)

    def end(self, run: TrueRun, state: JobState = JobState.COMPLETED) -> None:
        run.state, run.end_at = state, self.now
        self.memory[run.job_id] = None if state is JobState.REQUEUED else (run, JobState.COMPLETING)
        self._tell(run)
        self._hook(run, "epilog")

    def _hook(self, run: TrueRun, context: str) -> None:
        before = sum(1 for each in self.runs if each.job_id == run.job_id and each is not run)
        self.hints.append(
            Notification(CLUSTER, run.job_id, context, before + (run.state is JobState.REQUEUED))
        )

    def complete(self, job_id: int) -> None:
        if (held := self.memory[job_id]) and held[1] is JobState.COMPLETING:
            self.memory[job_id] = held[0], held[0].state

    def forget(self, job_id: int) -> None:
        """MinJobAge is over."""
        del self.memory[job_id]

    def finished_long_ago(self, job_id: int, start_at: int, end_at: int) -> TrueRun:
        """Return accounting a run of another age, of which slurmctld knows nothing."""
        run = TrueRun(job_id, [start_at], JobState.COMPLETED, end_at)
        run.row = run.begun
        self.runs.append(run)
        return run

    def _tell(self, run: TrueRun) -> None:
        self.letters.append((run, run.begun))
        if self.linked:
            self.catch_up()

    def catch_up(self) -> None:
        """Let slurmdbd hear all that slurmctld has to tell."""
        while self.letters:
            run, row = self.letters.popleft()
            run.row = row

    # What its commands say

    def listed(self) -> list[ListedJob]:
        return [
            ListedJob(job_id, held[1], held[0].starts[-1])
            if held
            else ListedJob(job_id, JobState.PENDING, None)
            for job_id, held in self.memory.items()
        ]

    def shown(self, job_ids: Iterable[int]) -> list[Job]:
        held = [self.memory[job_id] for job_id in job_ids if self.memory.get(job_id)]
        return [
            run.job(run.starts[-1], state, run.end_at, allocation=(NodeAllocation("n1", ((0, 1),)),))
            for run, state in (pair for pair in held if pair)
            if run.job_id not in self.poisoned
        ]

    def rows(self) -> list[Job]:
        return [run.job(*run.row) for run in self.runs if run.row]

    def observe(
        self, since: int, until: int, *, listing: bool = True, accounting: bool = True
    ) -> Observation:
        self.looks.append((since, until, listing))
        through = max(since, min(until, since + self.slice_s))
        shown = tuple(self.listing(self.listed())) if listing and self.listing else None
        fails = accounting and any(since <= at <= through for at in self.unreadable)
        self._adapt(through - since, fails=fails)
        read = accounting and self.accounting_up and not fails
        trouble = (
            *(("squeue does not answer",) if listing and shown is None else ()),
            *(("sacct does not answer",) if accounting and not read else ()),
        )
        if len(trouble) == listing + accounting:
            raise SourceUnavailable("nothing answers")
        rows = self.rows() if self.windows and read else []
        ended = [row for row in rows if row.end_at is not None and since <= row.end_at <= through]
        return Observation(
            cluster=CLUSTER,
            observed_at=self.now,
            job_list=shown,
            ended_runs=tuple(ended),
            accounting_read_until=through if read else None,
            errors=trouble,
        )

    def _adapt(self, span_s: int, *, fails: bool) -> None:
        """Halve the slice after a window that fails; widen it after one that answers."""
        if fails and span_s > FLOOR_S:
            self.widest_s = max(self.widest_s, self.slice_s)
            self.slice_s = max(FLOOR_S, min(self.slice_s, span_s // 2))
        elif not fails and span_s >= self.slice_s < self.widest_s:
            self.slice_s *= 2

    def answer(self, questions: JobQuestions) -> JobAnswers:
        self.asked.append(questions)
        answers = self.accounting_up and self.rows_by_id
        if self.details is None and not answers:
            raise SourceUnavailable("nothing answers")
        shown = self.shown(sorted(questions.details - self.mute.details))
        asked = questions.accounting - self.mute.accounting
        left = JobQuestions(
            details=questions.details & self.mute.details,
            accounting=questions.accounting & self.mute.accounting,
        )
        silent = (questions.details and self.details is None) or (questions.accounting and not answers)
        return JobAnswers(
            details=tuple(self.details(shown)) if self.details else None,
            accounting=tuple(row for row in self.rows() if row.key.job_id in asked) if answers else None,
            unanswered=left,
            errors=("some do not answer",) if silent or left else (),
        )


class FakeSource:
    """A modelled Slurm behind the port."""

    cluster = CLUSTER
    doubted_from: float | None = None

    @property
    def is_narrowest(self) -> bool:
        return self.slurm.slice_s <= FLOOR_S

    def __init__(self, slurm: FakeSlurm) -> None:
        self.slurm = slurm
        self.at_once = 500

    async def poll(
        self, since: int, until: int, *, listing: bool = True, accounting: bool = True
    ) -> Observation:
        return self.slurm.observe(since, until, listing=listing, accounting=accounting)

    async def query_jobs(self, questions: JobQuestions) -> JobAnswers:
        return self.slurm.answer(questions)

    async def queued_messages(self) -> int | None:
        self.slurm.counted += 1
        return len(self.slurm.letters) if self.slurm.counts and self.slurm.listing else None

    async def detail_batch_size(self) -> int:
        return self.at_once

    async def node_states(self) -> tuple[NodeState, ...]:
        return ()


class FakeSink:
    """
    A sink in memory.

    Args:
        outcomes: What becomes of an attempt; None lets it pass.
        hold: Attempts wait until this is set; None: they do not wait.

    Attributes:
        attempts: Every entry that was tried, in order.
        taken: Entries that were accepted, in order.
        most: How many attempts were under way at once, at most.
    """

    name = "rest"

    def __init__(
        self,
        outcomes: Callable[[OutboxEntry], Outcome | None] = lambda _: None,
        hold: anyio.Event | None = None,
    ) -> None:
        self.attempts: list[OutboxEntry] = []
        self.taken: list[OutboxEntry] = []
        self.most = 0
        self.closed = False
        self.under_way: list[OutboxEntry] = []
        self.outcomes = outcomes
        self.hold = hold

    async def deliver(self, entry: OutboxEntry) -> Outcome:
        self.attempts.append(entry)
        assert entry.start.key not in {other.start.key for other in self.under_way}, "one in flight per run"
        self.under_way.append(entry)
        self.most = max(self.most, len(self.under_way))
        try:
            await (self.hold.wait() if self.hold else anyio.lowlevel.checkpoint())
        finally:
            self.under_way.remove(entry)
        outcome = self.outcomes(entry) or ACCEPTED
        if outcome.result is OutcomeKind.ACCEPTED:
            self.taken.append(entry)
        return outcome

    async def send_node_states(self, cluster: str, nodes: Sequence[NodeState]) -> Outcome:
        return ACCEPTED

    async def aclose(self) -> None:
        self.closed = True
