"""The protocols between the parts of the daemon. Types only."""

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
    """The queries of one Slurm cluster, few and in batches."""

    @property
    def cluster(self) -> str:
        """Slurm's name of the cluster."""

    @property
    def doubted_from(self) -> float | None:
        """
        The time since which accounting may have been incomplete when read (epoch seconds); None if never.

        The caller must move the accounting cursor back to this time.
        """

    @property
    def is_narrowest(self) -> bool:
        """Whether failures have narrowed the next accounting window to the minimum (``planner.gaps``)."""

    async def poll(
        self, since: int, until: int, *, listing: bool = True, accounting: bool = True
    ) -> Observation:
        """
        Read the job list, and the runs that ended since ``since`` (epoch seconds, inclusive).

        One call reads at most one accounting window. ``accounting_read_until`` is the end of what was read;
        poll again from there while it is before ``until``. Without ``listing`` only accounting is queried,
        without ``accounting`` only the controller. If one of the two fails, ``job_list`` or
        ``accounting_read_until`` is None and ``errors`` has the reason.

        Raises:
            SourceUnavailable: No query was answered.
        """

    async def query_jobs(self, questions: JobQuestions) -> JobAnswers:
        """
        Query single jobs by id, in batches; the controller's or accounting's part is None without an answer.

        Raises:
            SourceUnavailable: No query was answered.
        """

    async def detail_batch_size(self) -> int:
        """Return the number of jobs per query of job details, with few or no queries."""

    async def queued_messages(self) -> int | None:
        """Return the number of messages that slurmctld holds for slurmdbd; None if not reported."""

    async def node_states(self) -> tuple[NodeState, ...]:
        """
        Return the state of every node.

        Raises:
            SourceUnavailable: The controller does not answer.
        """


class OutboxReader(Protocol):
    """The outbox of the store, as the deliveries to one sink use it."""

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
        Return the due entries of one event kind that are not in flight, oldest due first.

        The starts of one job id are returned in order of start time. Each becomes due when the start before
        it is delivered or abandoned.
        """

    def next_due_at(
        self, sink: str, step: EventKind, now: float, in_flight: Iterable[int] = ()
    ) -> float | None:
        """Return when the next entry of that kind not in flight is due (epoch seconds); None if none."""

    def settle(self, verdicts: Sequence[tuple[OutboxEntry, Verdict]], now: float) -> None:
        """Record decisions, all in one transaction."""

    def hasten(self, ids: Iterable[int], now: float) -> None:
        """Make entries due now that are waiting for a later attempt; other entries do not change."""


class Store(OutboxReader, Protocol):
    """
    The recorded runs, deliveries and cursors. Synchronous; called from one worker thread only.

    Every method may raise StoreError.
    """

    def cursor(self, cluster: str) -> int | None:
        """Return the accounting cursor of the cluster (epoch seconds); None if accounting was never read."""

    def set_cursor(self, cluster: str, at: int) -> None:
        """Move the cursor; backwards if the operator requests that accounting is read again."""

    def gaps(self, cluster: str) -> tuple[Gap, ...]:
        """Return the spans of the cluster's accounting that could not be read, oldest first."""

    def settled_until(self, cluster: str) -> int | None:
        """Return the time up to which slurmctld and slurmdbd agreed (epoch seconds); None if not known."""

    def settle_until(self, cluster: str, at: int) -> None:
        """Record the time up to which slurmctld and slurmdbd agree. Unlike the cursor, it may move back."""

    def changed_job_ids(self, cluster: str, running: Iterable[tuple[int, int]]) -> frozenset[int]:
        """Return the job ids whose open runs differ from ``running``: (job id, start in epoch seconds)."""

    def end_times(self, cluster: str, job_ids: Iterable[int]) -> Mapping[RunKey, int | None]:
        """Return the end of each known run of ``job_ids`` (epoch seconds); None for an open run."""

    def record(self, plan: Plan, now: float) -> int:
        """
        Record events, runs, cursor and gaps in one durable transaction.

        Returns:
            Number of new events; a repeated event changes nothing.
        """

    def delivery_summaries(self, sink: str, keys: Iterable[RunKey]) -> Mapping[RunKey, DeliverySummary]:
        """Return the delivery state of each of these runs at a sink; runs without a delivery are missing."""

    def delivered_open_runs(self, sink: str, cluster: str, before: float) -> Iterator[tuple[int, int]]:
        """
        Return the open runs whose start the sink accepted before ``before`` (epoch s), with nothing due.

        Yields the start and job id of each, in order. Read all of them before the next call of the store.
        """

    def delivered_ended_runs(
        self, sink: str, cluster: str, since: float, before: float
    ) -> Iterator[tuple[int, int]]:
        """Return the runs whose stop was settled in that time, in order, without those resent too often."""

    def stops(self, keys: Iterable[RunKey]) -> Mapping[RunKey, Job]:
        """Return the recorded end of each of these runs; runs without a readable record are missing."""

    def repair(self, sink: str, wanted: Sequence[Repair], now: float) -> Sequence[Repair]:
        """
        Record the repairs of an audit in one durable transaction.

        Returns:
            Repairs that changed something. One for a delivery that changed meanwhile, or that was
            reported before, changes nothing.
        """

    def second_chance(self, sink: str, cluster: str, *, before: float, now: float, limit: int) -> int:
        """
        Queue dead letters again that became dead before ``before`` (epoch seconds), each once, oldest first.

        Returns:
            Number of dead letters queued again, at most ``limit``.
        """

    def add_history(self, sink: str, key: RunKey, reason: str, detail: str, now: float) -> bool:
        """Add an entry to a delivery's history; return False if it is present, or the delivery is unknown."""


class Sink(Protocol):
    """A configured destination of events."""

    @property
    def name(self) -> str:
        """The section of the configuration."""

    async def deliver(self, entry: OutboxEntry) -> Outcome:
        """Send one event of one run. A failure of the peer is an Outcome and never raised."""

    async def send_node_states(self, cluster: str, nodes: Sequence[NodeState]) -> Outcome:
        """Send the node state report of a cluster."""

    async def aclose(self) -> None:
        """Close all connections of the sink."""


class Inventory(Protocol):
    """A sink that can list its runs; used only by the audit."""

    @property
    def name(self) -> str:
        """The section of the configuration."""

    @property
    def doubtful_since(self) -> float | None:
        """
        The time of the last event that may have cost the sink runs (epoch seconds); None if there was none.

        Such an event is a recovery after an outage, or a stop that ended the wrong run.
        """

    async def list_running(
        self, cluster: str, each_page: Callable[[Sequence[RunKey]], Awaitable[None]]
    ) -> Outcome:
        """
        List the running jobs of the sink, page by page. Changes meanwhile may omit or repeat runs.

        Returns:
            ACCEPTED if the list is complete; otherwise why it is incomplete.
        """

    async def find_runs(self, cluster: str, start_at: int) -> Mapping[int, RemoteState] | Outcome:
        """Return the sink's runs that began at ``start_at``, by job id, or why they are not known."""

    async def differing(self, cluster: str, stops: Mapping[RunKey, Job]) -> Sequence[Differing] | Outcome:
        """
        Return the ended runs that the sink shows with another end than ``stops``.

        Runs that the sink does not have, or shows as running, are omitted. An Outcome states why the sink did
        not answer.
        """

    async def remove(self, key: RunKey) -> Outcome:
        """Remove one run. ALREADY_DELIVERED means that the sink has no such run."""


class Clock(Protocol):
    """The time of day, replaceable in tests."""

    def now(self) -> float:
        """Return epoch seconds."""
