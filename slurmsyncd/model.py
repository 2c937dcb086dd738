"""The values that flow. Pure: frozen, no I/O, no clock."""

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
    COMPLETING = "COMPLETING"  # over, but Slurm did not say how yet
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"
    TIMEOUT = "TIMEOUT"
    NODE_FAIL = "NODE_FAIL"
    PREEMPTED = "PREEMPTED"
    BOOT_FAIL = "BOOT_FAIL"
    DEADLINE = "DEADLINE"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    REQUEUED = "REQUEUED"  # this run is over; the same job id may start again
    REVOKED = "REVOKED"
    UNKNOWN = "UNKNOWN"  # a word of a release younger than we are: held back, asked again

    @property
    def is_final(self) -> bool:
        """Whether a run in this state is over for good."""
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
    """What made us look."""

    HOOK = "hook"
    POLL = "poll"


class EventKind(str, enum.Enum):
    """What a sink has to be told of a run next."""

    START = "start"
    STOP = "stop"


class RunPhase(str, enum.Enum):
    """How far a run has been written down."""

    STARTED = "started"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, order=True)
class RunKey:
    """
    Identity of a run. Slurm starts the same id again after a requeue, and ids wrap.

    Attributes:
        cluster: Slurm's name of the cluster.
        job_id: Raw job id; array tasks and het components have their own.
        start_at: Epoch seconds, as Slurm's accounting has it.
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
        count: How many.
        indexes: Device indexes on the node, ascending; empty when Slurm did not say.
    """

    name: str
    type: str | None
    count: int
    indexes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """
    What a node is, as Slurm is configured.

    Attributes:
        sockets: (sockets, cores per socket); None if not said.
        devices: Its generic resources; None if not understood.
    """

    sockets: tuple[int, int] | None
    devices: tuple[Gres, ...] | None


@dataclass(frozen=True, slots=True)
class NodeAllocation:
    """
    What a run holds on one node.

    Attributes:
        host: Slurm's NodeName.
        cores: (socket, core within the socket), ascending; empty when Slurm did not say.
        cpus: Slurm CPUs (hardware threads as Slurm counts them), None if not said.
        memory_mib: Allocated memory in MiB, None if not said.
        gres: What ``gres_detail`` says for this node.
        sockets: Shape of the node by which ``cores`` are numbered: (sockets, cores per socket) as Slurm is
            configured, which may count NUMA nodes or caches as sockets. None if not known.
        devices: All that the node has of the kinds in ``gres``, held or not; None if not known.
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
    A run, as one look at Slurm showed it. Fields that Slurm did not give are None or empty.

    Attributes:
        key: Identity.
        state: Base state at the time of the look.
        end_at: Epoch seconds; only for a run that is over (Slurm's forecast of a running
            job's end is dropped where it is read).
        time_limit_s: Seconds; None means unlimited or unknown.
        nodes: Host names, expanded, in allocation order; shape ``(num_nodes,)``.
        tres: Allocated TRES, e.g. ``(("cpu", 4), ("gres/gpu", 2))``; memory in MiB.
        allocation: Per node, in the order of ``nodes``; None when Slurm no longer knows.
            Perishable: GPU indexes vanish when the job ends, cores MinJobAge later.
        exit_code: ``code:signal`` as sacct prints it.
        sluid: Slurm's own unique id as text, from 24.11 on.
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
    One line of the controller's listing: enough to see what is new and what is gone.

    Attributes:
        start_at: Epoch seconds; None while it never started (Slurm's forecast is dropped).
    """

    job_id: int
    state: JobState
    start_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """
    A span of a cluster's accounting that cannot be read, though what follows it can.

    Attributes:
        since: Accounting is read up to here (epoch seconds).
        until: Its last second; reading continues behind it.
        reason: Why its first window failed.
        recorded_at: When it was found (epoch seconds).
    """

    cluster: str
    since: int
    until: int
    reason: str
    recorded_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """
    What one look at one cluster showed.

    Attributes:
        observed_at: Epoch seconds of our clock when the look began.
        job_list: The controller's memory; None if not asked or no answer: conclude nothing.
        ended_runs: Runs of accounting whose end lies in the window that was asked for.
        accounting_read_until: Accounting is complete up to here (epoch seconds); None if it did not answer.
        never_started: Jobs in the window that ended without ever starting (counted only).
        records_skipped: Records that were not understood (counted only).
        errors: What did not answer, a line each; empty when everything did.
        disk_full: An answer found no room on a disk of this host.
        gap: What cannot be read and ends at ``accounting_read_until``; nothing is known of it.
        filled: A span of a gap that has been read now: since, until (epoch seconds).
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
    What has to be asked of Slurm by job id.

    Attributes:
        details: Ask the controller for the allocation (perishable).
        accounting: Ask slurmdbd how it stands.
        again: Ids that an earlier observation left open.
    """

    details: frozenset[int] = frozenset()
    accounting: frozenset[int] = frozenset()
    again: frozenset[int] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.details or self.accounting)

    @property
    def job_ids(self) -> frozenset[int]:
        """All ids that are asked for."""
        return self.details | self.accounting


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAnswers:
    """
    What Slurm said to the questions.

    Attributes:
        details: Runs with their allocation; None if the controller did not answer.
        accounting: Runs as accounting has them, all runs of an id; None if no answer.
        unanswered: Ids of which nothing is known, though the source answered for others.
        disk_full: An answer found no room on a disk of this host.
    """

    details: tuple[Job, ...] | None = ()
    accounting: tuple[Job, ...] | None = ()
    unanswered: JobQuestions = JobQuestions()
    records_skipped: int = 0
    errors: tuple[str, ...] = ()
    disk_full: bool = False

    def left(self, asked: JobQuestions) -> JobQuestions:
        """Return the questions that were not answered, and are asked again."""
        return JobQuestions(
            details=asked.details if self.details is None else self.unanswered.details,
            accounting=asked.accounting if self.accounting is None else self.unanswered.accounting,
        )


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run has begun. ``job`` is frozen here: what was seen at the start is what is sent."""

    job: Job
    trigger: Trigger


@dataclass(frozen=True, slots=True)
class RunEnded:
    """A run is over: ``job.state`` is final and ``job.end_at`` is set."""

    job: Job
    trigger: Trigger


Event = Union[RunStarted, RunEnded]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    What a look leads to; recorded in one transaction.

    Attributes:
        events: A run's start before its stop.
        cursor: New position in accounting (epoch seconds), None to leave it.
        rechecks: Job ids to ask about again soon.
        moved_starts: Open runs whose start moved: (as Slurm shows it now, as it was announced).
        gap: What is skipped as the cursor moves.
        filled: What is no gap any more, its runs being among the events: since, until (epoch seconds).
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
    What one sink has to be told next of one run.

    Attributes:
        id: Of the delivery in the store; one per (sink, run), so never two in flight.
        start: The run as it was announced.
        stop: The run as it ended; None while it runs.
        attempts: How many were charged to this step so far.
        start_acknowledged_at: When the sink acknowledged the start (epoch seconds).
        recorded_at: When this step was written down (epoch seconds, our clock).
        trigger: What made us look then.
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
    What a hook says: look at this job. Never a fact about it.

    Attributes:
        context: ``prolog``, ``epilog`` or ``test``.
    """

    cluster: str
    job_id: int
    context: str
    restarts: int = 0
