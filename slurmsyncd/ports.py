"""What the parts expect of each other. Types only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence

    from slurmsyncd.delivery import DeliverySummary, Differing, Outcome, RemoteState, Repair, Verdict
    from slurmsyncd.model import (
        EventKind,
        Gap,
        Job,
        JobAnswers,
        JobQuestions,
        NodeState,
        Observation,
        OutboxEntry,
        Plan,
        RunKey,
    )


class Source(Protocol):
    """One Slurm cluster, asked little and in batches."""

    @property
    def cluster(self) -> str:
        """Slurm's name of the cluster."""

    @property
    def doubted_from(self) -> float | None:
        """
        From when on accounting may have been incomplete when it was read (epoch seconds); None: never.

        The position in accounting has to be set back to it.
        """

    @property
    def is_narrowest(self) -> bool:
        """Whether the next window of accounting is as narrow as failures make it (``reconcile.gaps``)."""

    async def poll(
        self, since: int, until: int, *, listing: bool = True, accounting: bool = True
    ) -> Observation:
        """
        List what the controller holds, and what ended from ``since`` on (epoch seconds, inclusive).

        At most one slice of accounting is read: ``through`` says how far; look again from there
        while it is before ``until``. Without ``listing`` only accounting is asked, without ``accounting``
        only the controller. One half may fail alone: ``listed`` or ``through`` is then None and
        ``trouble`` says why.

        Raises:
            SourceUnavailable: Nothing that was asked for answered.
        """

    async def query_jobs(self, questions: JobQuestions) -> JobAnswers:
        """
        Answer questions by job id, in batches; a half that does not answer is None.

        Raises:
            SourceUnavailable: Nothing answered.
        """

    async def detail_batch_size(self) -> int:
        """Return how many jobs' details to ask for at once; asks little or nothing."""

    async def queued_messages(self) -> int | None:
        """Return how many messages slurmctld holds for slurmdbd, None if it does not say."""

    async def node_states(self) -> tuple[NodeState, ...]:
        """
        Return the state of every node.

        Raises:
            SourceUnavailable: The controller does not answer.
        """


class OutboxReader(Protocol):
    """What a delivery drains: the store's part for one sink at a time."""

    def due(
        self,
        sink: str,
        step: EventKind,
        now: float,
        limit: int,
        in_flight: Iterable[int] = (),
        *,
        newest_first: bool = False,
    ) -> Sequence[OutboxEntry]:
        """
        Return the steps of one kind that the sink may be told now, oldest due first, not in flight.

        The starts of one job id are given in order of start, each when the one before is told or given up.
        """

    def next_due_at(
        self, sink: str, step: EventKind, now: float, in_flight: Iterable[int] = ()
    ) -> float | None:
        """Return when the sink's next entry of that kind not in flight is due, None if nothing waits."""

    def settle(self, verdicts: Sequence[tuple[OutboxEntry, Verdict]], now: float) -> None:
        """Carry out verdicts, as a group in one transaction."""

    def hasten(self, ids: Iterable[int], now: float) -> None:
        """Make entries due that wait for a later attempt; others stay as they are."""


class Store(OutboxReader, Protocol):
    """
    What is written down. Synchronous; called through one worker thread, never from two at once.

    Every method may raise StoreError.
    """

    def cursor(self, cluster: str) -> int | None:
        """Return the position in the cluster's accounting, None if it was never looked at."""

    def set_cursor(self, cluster: str, at: int) -> None:
        """Put the position elsewhere, backwards too: the operator wants accounting read again."""

    def gaps(self, cluster: str) -> tuple[Gap, ...]:
        """Return the spans of the cluster's accounting that could not be read, oldest first."""

    def settled_until(self, cluster: str) -> int | None:
        """Return up to where slurmctld and slurmdbd agreed (epoch seconds), None if that is not known."""

    def settle_until(self, cluster: str, at: int) -> None:
        """Record up to where slurmctld and slurmdbd agree. Unlike the cursor it may also move back."""

    def changed_job_ids(self, cluster: str, running: Iterable[tuple[int, int]]) -> frozenset[int]:
        """Return the job ids of which the open runs are not what runs: (job id, start in epoch seconds)."""

    def end_times(self, cluster: str, job_ids: Iterable[int]) -> Mapping[RunKey, int | None]:
        """Return when each known run of ``job_ids`` ended (epoch seconds), None while it is open."""

    def record(self, plan: Plan, now: float) -> int:
        """
        Write events, runs, cursor and gaps in one durable transaction.

        Returns:
            How many events were new; a repeated event changes nothing.
        """

    def delivery_summaries(self, sink: str, keys: Iterable[RunKey]) -> Mapping[RunKey, DeliverySummary]:
        """Return how far a sink is with each of these runs; one it was never to be told of is missing."""

    def delivered_open_runs(self, sink: str, cluster: str, before: float) -> Iterator[tuple[int, int]]:
        """
        Return the open runs whose start the sink took before (epoch seconds), and has nothing more to do.

        Start and job id of each, in order; to be taken before anything else is asked.
        """

    def delivered_ended_runs(
        self, sink: str, cluster: str, since: float, before: float
    ) -> Iterator[tuple[int, int]]:
        """Return, likewise, runs whose stop was settled within that time, but those sent anew too often."""

    def stops(self, keys: Iterable[RunKey]) -> Mapping[RunKey, Job]:
        """Return the recorded end of each of these runs; one without a readable record is missing."""

    def repair(self, sink: str, wanted: Sequence[Repair], now: float) -> Sequence[Repair]:
        """
        Carry out an audit's repairs in one durable transaction.

        Returns:
            Those that changed something: what moved on meanwhile, or was reported before, does not.
        """

    def second_chance(self, sink: str, cluster: str, *, before: float, now: float, limit: int) -> int:
        """
        Make dead letters due again that died before (epoch seconds), each once, the oldest first.

        Returns:
            Their number, at most ``limit``.
        """

    def add_history(self, sink: str, key: RunKey, reason: str, detail: str, now: float) -> bool:
        """Add to the history of a sink's run; False if it says so already, or there is no such run."""


class Sink(Protocol):
    """Somebody who is told of runs."""

    @property
    def name(self) -> str:
        """The section of the configuration."""

    async def deliver(self, entry: OutboxEntry) -> Outcome:
        """Tell of one step of one run. Never raises for what the other side does."""

    async def send_node_states(self, cluster: str, nodes: Sequence[NodeState]) -> Outcome:
        """Tell the states of a cluster's nodes."""

    async def aclose(self) -> None:
        """Let go of connections."""


class Inventory(Protocol):
    """A sink that can list what it holds; the audit's, and nobody else's."""

    @property
    def name(self) -> str:
        """The section of the configuration."""

    @property
    def doubtful_since(self) -> float | None:
        """
        When something last happened that may have cost the sink runs (epoch seconds); None: nothing did.

        It answers again after an outage, or ended another run than it was told to.
        """

    async def list_running(
        self, cluster: str, each_page: Callable[[Sequence[RunKey]], Awaitable[None]]
    ) -> Outcome:
        """
        List what runs there, page by page. A set that changes meanwhile may be missing or repeating some.

        Returns:
            ACCEPTED if the list came to its end; else it is incomplete, and why.
        """

    async def find_runs(self, cluster: str, start_at: int) -> Mapping[int, RemoteState] | Outcome:
        """Return what is there of the runs that began at ``start_at``, by job id; or why it is not known."""

    async def differing(self, cluster: str, stops: Mapping[RunKey, Job]) -> Sequence[Differing] | Outcome:
        """
        Return the finished runs that the sink shows with another end than ``stops``.

        A run that the sink does not have, or shows as running, is not among them. An Outcome: why the sink
        did not answer.
        """

    async def remove(self, key: RunKey) -> Outcome:
        """Remove one run. ALREADY_THERE: there is none."""


class Clock(Protocol):
    """Time of day, so that tests can turn it."""

    def now(self) -> float:
        """Return epoch seconds."""
