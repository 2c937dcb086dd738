"""The values that pass between the parts of the daemon. Pure: frozen, no I/O, no clock."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Union

if TYPE_CHECKING:
    from collections.abc import Collection


class JobState(str, enum.Enum):
    """Slurm's base states, as accounting spells them; flags such as CONFIGURING are folded in."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"  # with CONFIGURING, SIGNALING, STAGE_OUT, RESIZING, STOPPED
    SUSPENDED = "SUSPENDED"
    COMPLETING = "COMPLETING"  # ended, but Slurm has not reported the final state
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"
    TIMEOUT = "TIMEOUT"
    NODE_FAIL = "NODE_FAIL"
    PREEMPTED = "PREEMPTED"
    BOOT_FAIL = "BOOT_FAIL"
    DEADLINE = "DEADLINE"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    REQUEUED = "REQUEUED"  # this run has ended; the same job id may start again
    REVOKED = "REVOKED"
    UNKNOWN = "UNKNOWN"  # a state of a newer Slurm release: not reported yet, queried again

    @property
    def is_final(self) -> bool:
        """Whether a run in this state has ended."""
        return self in _FINAL

    @property
    def is_active(self) -> bool:
        """Whether a run in this state holds an allocation."""
        return self in _ACTIVE


_ACTIVE = frozenset({JobState.RUNNING, JobState.SUSPENDED, JobState.COMPLETING})
_FINAL = frozenset(JobState) - _ACTIVE - {JobState.PENDING, JobState.UNKNOWN}


class Sharing(str, enum.Enum):
    """Who else may be on the nodes of a run; the backend's three words."""

    NONE = "none"
    SINGLE_USER = "single_user"
    MULTI_USER = "multi_user"


class Trigger(str, enum.Enum):
    """What caused an observation."""

    HOOK = "hook"
    POLL = "poll"


class EventKind(str, enum.Enum):
    """The kind of an event: the start or the end of a run."""

    START = "start"
    STOP = "stop"


class RunPhase(str, enum.Enum):
    """The last event of a run that is recorded in the store."""

    STARTED = "started"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, order=True)
class RunKey:
    """
    Identity of a run. A job id alone is ambiguous: a requeue starts it again, and ids wrap.

    Attributes:
        cluster: Slurm's name of the cluster.
        job_id: Raw job id; array tasks and het components have their own.
        start_at: Start time in accounting (epoch seconds).
    """

    cluster: str
    job_id: int
    start_at: int


@dataclass(frozen=True, slots=True)
class Gres:
    """
    Generic resources of one name and type that a run holds on one node.

    Attributes:
        name: ``gpu``, ``shard``, …
        type: ``a100``, a MIG profile, or None if untyped.
        count: Number of devices.
        indexes: Device indexes on the node, ascending; empty if Slurm did not report them.
    """

    name: str
    type: str | None
    count: int
    indexes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """
    Properties of a node in Slurm's configuration.

    Attributes:
        sockets: (sockets, cores per socket); None if not reported.
        devices: Generic resources of the node; None if they cannot be parsed.
    """

    sockets: tuple[int, int] | None
    devices: tuple[Gres, ...] | None


@dataclass(frozen=True, slots=True)
class NodeAllocation:
    """
    Resources that a run holds on one node.

    Attributes:
        host: Slurm's NodeName.
        cores: (socket, core within the socket), ascending; empty if Slurm did not report them.
        cpus: Slurm CPUs (hardware threads as Slurm counts them), None if not reported.
        memory_mib: Allocated memory in MiB, None if not reported.
        gres: Generic resources that ``gres_detail`` lists for this node.
        sockets: Shape of the node by which ``cores`` are numbered: (sockets, cores per socket) as Slurm is
            configured, which may count NUMA nodes or caches as sockets. None if not known.
        devices: All devices of the node of the kinds in ``gres``, allocated or not; None if not known.
    """

    host: str
    cores: tuple[tuple[int, int], ...] = ()
    cpus: int | None = None
    memory_mib: int | None = None
    gres: tuple[Gres, ...] = ()
    sockets: tuple[int, int] | None = None
    devices: tuple[Gres, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """
    A run as one observation shows it. A field that Slurm did not report is None or empty.

    Attributes:
        key: Identity of the run.
        state: Base state at the time of the observation.
        end_at: Epoch seconds; set only for a run that has ended (the parser drops Slurm's forecast
            of the end of a running job).
        time_limit_s: Seconds; None means unlimited or unknown.
        nodes: Host names, expanded, in allocation order; shape ``(num_nodes,)``.
        tres: Allocated TRES, e.g. ``(("cpu", 4), ("gres/gpu", 2))``; memory in MiB.
        allocation: Resources per node, in the order of ``nodes``; None if Slurm no longer knows them.
            Perishable: Slurm forgets GPU indexes at the end of the job and cores after MinJobAge.
        exit_code: ``code:signal`` as sacct prints it.
        sluid: Slurm's unique id of the job as text, since release 24.11.
        script: Batch script, None if not fetched.

    Source:
        ``squeue --json`` or ``sacct -P``; see ``slurmsyncd.slurm``.
    """

    key: RunKey
    state: JobState
    user: str = ""
    account: str = ""
    partition: str = ""
    qos: str = ""
    name: str = ""
    submit_at: int | None = None
    end_at: int | None = None
    time_limit_s: int | None = None
    num_nodes: int = 0
    num_cpus: int = 0
    nodes: tuple[str, ...] = ()
    tres: tuple[tuple[str, int], ...] = ()
    allocation: tuple[NodeAllocation, ...] | None = None
    sharing: Sharing | None = None
    threads_per_core: int | None = None
    array_job_id: int | None = None
    array_task_id: int | None = None
    het_job_id: int | None = None
    het_offset: int | None = None
    restarts: int | None = None
    exit_code: str = ""
    reservation: str = ""
    wckey: str = ""
    comment: str = ""
    work_dir: str = ""
    features: str = ""
    licenses: str = ""
    submit_line: str = ""
    sluid: str = ""
    script: str | None = None


class ListedJob(NamedTuple):
    """
    One line of the controller's job list: sufficient to detect new and missing runs.

    Attributes:
        start_at: Epoch seconds; None for a job that has not started (Slurm's forecast is dropped).
    """

    job_id: int
    state: JobState
    start_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """
    A span of a cluster's accounting that cannot be read, although later accounting can.

    Attributes:
        since: Time up to which accounting was read before the gap (epoch seconds).
        until: Last second of the gap (epoch seconds); reading continues after it.
        reason: Why the first window of the gap failed.
        recorded_at: When the gap was found (epoch seconds).
    """

    cluster: str
    since: int
    until: int
    reason: str
    recorded_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """
    The result of a poll or of a targeted query of one cluster.

    Attributes:
        observed_at: When the query began, by the daemon's clock (epoch seconds).
        job_list: The controller's job list; None if not queried or not answered: conclude nothing.
        ended_runs: Runs whose end lies in the queried accounting window.
        accounting_read_until: Accounting is complete up to here (epoch seconds); None without an answer.
        never_started: Number of jobs in the window that ended without starting.
        records_skipped: Number of records that could not be parsed.
        errors: Failed queries, a line each; empty if all succeeded.
        disk_full: Whether a full disk of this host prevented reading an answer.
        gap: Span that cannot be read and ends at ``accounting_read_until``; its runs are unknown.
        filled: Span of a gap that has now been read: since, until (epoch seconds).
    """

    cluster: str
    observed_at: int
    job_list: Collection[ListedJob] | None = None
    ended_runs: tuple[Job, ...] = ()
    accounting_read_until: int | None = None
    never_started: int = 0
    records_skipped: int = 0
    errors: tuple[str, ...] = ()
    disk_full: bool = False
    gap: Gap | None = None
    filled: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobQuestions:
    """
    Job ids that must be queried individually.

    Attributes:
        details: Ids to query from the controller, for the perishable allocation.
        accounting: Ids to query from accounting, for all runs of the id.
        again: Ids that an earlier observation did not settle.
    """

    details: frozenset[int] = frozenset()
    accounting: frozenset[int] = frozenset()
    again: frozenset[int] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.details or self.accounting)

    @property
    def job_ids(self) -> frozenset[int]:
        """All ids in the questions to the controller and to accounting."""
        return self.details | self.accounting


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAnswers:
    """
    Slurm's answers to the questions.

    Attributes:
        details: Runs with their allocation; None if the controller did not answer.
        accounting: All runs of each id in accounting; None if accounting did not answer.
        unanswered: Ids without an answer, although the source answered for others.
        disk_full: Whether a full disk of this host prevented reading an answer.
    """

    details: tuple[Job, ...] | None = ()
    accounting: tuple[Job, ...] | None = ()
    unanswered: JobQuestions = JobQuestions()
    records_skipped: int = 0
    errors: tuple[str, ...] = ()
    disk_full: bool = False

    def left(self, asked: JobQuestions) -> JobQuestions:
        """Return the questions that were not answered and must be repeated."""
        return JobQuestions(
            details=asked.details if self.details is None else self.unanswered.details,
            accounting=asked.accounting if self.accounting is None else self.unanswered.accounting,
        )


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The start of a run. ``job`` keeps the state at the start, and sinks send exactly that."""

    job: Job
    trigger: Trigger


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The end of a run: ``job.state`` is final and ``job.end_at`` is set."""

    job: Job
    trigger: Trigger


Event = Union[RunStarted, RunEnded]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    The result of the planner for one observation; recorded in one transaction.

    Attributes:
        events: New events, the start of a run before its stop.
        cursor: New accounting cursor (epoch seconds); None to keep the present one.
        rechecks: Job ids to query again soon.
        moved_starts: Open runs whose start moved: (key that Slurm shows now, key that was reported).
        gap: Span that the new cursor skips.
        filled: Span of a gap whose runs are now among the events: since, until (epoch seconds).
    """

    cluster: str
    events: tuple[Event, ...] = ()
    cursor: int | None = None
    rechecks: frozenset[int] = frozenset()
    moved_starts: tuple[tuple[RunKey, RunKey], ...] = ()
    gap: Gap | None = None
    filled: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxEntry:
    """
    The next due event of one run for one sink.

    Attributes:
        id: Id of the delivery in the store; one per (sink, run), so two are never in flight.
        start: The run as its start was reported.
        stop: The run as it ended; None while it runs.
        attempts: Number of attempts charged to this event.
        start_acknowledged_at: When the sink acknowledged the start (epoch seconds); None if it did not.
        recorded_at: When this event was recorded, by the daemon's clock (epoch seconds).
        trigger: What caused the observation of this event.
    """

    id: int
    sink: str
    kind: EventKind
    start: Job
    stop: Job | None = None
    attempts: int = 0
    start_acknowledged_at: float | None = None
    recorded_at: float | None = None
    trigger: Trigger | None = None


@dataclass(frozen=True, slots=True)
class NodeState:
    """
    One node, as the node-state upload wants it.

    Attributes:
        state: One of allocated, reserved, idle, down, mixed, unknown.
        memory_mib: Allocated memory.
    """

    host: str
    state: str
    cpus: int
    memory_mib: int
    gpus: int
    jobs: int


@dataclass(frozen=True, slots=True)
class Notification:
    """
    A hook's request to query one job. A notification carries no facts about the job.

    Attributes:
        context: ``prolog``, ``epilog`` or ``test``.
    """

    cluster: str
    job_id: int
    context: str
    restarts: int = 0
