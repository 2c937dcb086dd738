"""How the daemon is doing: what is written down, in numbers, and what only the running process knows."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from slurmsyncd.control.store_requests import ControlRequest, GetTotals, Totals
from slurmsyncd.pipeline.minute_counters import Minute  # noqa: TC001 - decoding needs the type

if TYPE_CHECKING:
    from slurmsyncd.store.sqlite_store import SqliteStore


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandCost:
    """What one of Slurm's commands has cost since the start; ``seconds`` of waiting for it."""

    calls: int
    failures: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnouncedStatus:
    """
    One of slurmctld's hooks; see ``pipeline.announced``.

    Attributes:
        hook: Its setting in slurm.conf.
        unannounced: Starts (or ends) that polls saw since its last hint.
        heard_at: When that came (epoch seconds), None if none came since the daemon's start.
        silent: It is configured, and its hints do not come.
    """

    hook: str
    unannounced: int
    heard_at: float | None
    silent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BlindStatus:
    """Why other users' jobs are hidden, and what to do; see ``sources.sight``."""

    reason: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    """
    One cluster, since the start of the daemon. Times are epoch seconds.

    Attributes:
        unavailable: Why it did not answer last time, None if it did.
        unavailable_since: When that began.
        partly: Only one half did not answer: the controller, or accounting.
        behind: Accounting is still being read to catch up.
        behind_s: How long ago is what accounting was read up to, also while it does not answer; None if it
            was never read.
        incomplete: Starts that were written down without their allocation.
        never_started: Jobs that ended without ever starting.
        set_aside: Records of Slurm that were not understood.
        rechecks: Jobs that are asked for again soon.
        queued_messages: What slurmctld held for slurmdbd when it was asked last; None if it did not say.
        queued_since: Since when it held some each time; None if it held none.
        blind: What the user that asks Slurm does not see; None if nothing is known to be hidden.
        failures: Looks that came to nothing.
        commands: What was asked of Slurm, by command.
        hooks: Whether slurmctld's hooks announce what polls see.
        disk_full: Slurm's answer cannot be recorded, since a disk of this host is full.
    """

    cluster: str
    last_look_at: float | None
    unavailable: str | None
    unavailable_since: float | None
    partly: bool
    behind: bool
    looks: int
    failures: int
    hints: int
    starts: int
    stops: int
    incomplete: int
    never_started: int
    set_aside: int
    rechecks: int
    behind_s: float | None = None
    queued_messages: int | None = None
    queued_since: float | None = None
    blind: BlindStatus | None = None
    commands: dict[str, CommandCost] = field(default_factory=dict)
    hooks: tuple[AnnouncedStatus, ...] = ()
    disk_full: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyStatus:
    """
    From what was seen to what the sink took, of one step; see ``pipeline.latency``.

    Attributes:
        trigger: What made us look: ``hook`` or ``poll``.
        counts: How many were within each of ``BOUNDS`` and above the one before; then the rest.
    """

    step: str
    trigger: str
    counts: tuple[int, ...]
    sum_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditStatus:
    """
    What the audits of one sink came to; see ``pipeline.audit``. Times are epoch seconds.

    Attributes:
        failures: Audits that could not be finished.
        trouble: Why the last audit of a cluster could not be finished, by cluster; none that could.
        trouble_since: Since when not all clusters could be audited.
        findings: How often each kind of difference was found.
        reports: Kinds that no request can correct, as the last audit that found some counted them.
        reported_at: When that was.
    """

    audits: int
    failures: int
    last_at: float | None
    trouble: dict[str, str] = field(default_factory=dict)
    trouble_since: float | None = None
    findings: dict[str, int] = field(default_factory=dict)
    reports: dict[str, int] = field(default_factory=dict)
    reported_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkStatus:
    """
    One sink, since the start of the daemon. Times are epoch seconds.

    Attributes:
        kind: ``rest`` or ``nats``.
        address: Where it is.
        trouble: Reason for which it is paused, None if it is not.
        detail: What it said then.
        trouble_since: When that began.
        alarm: Somebody has to act (credentials, wrong URL).
        nodes_trouble: Reason for which node states were not taken last time, if it is the sink as a whole
            that is in trouble; None if not. While no job starts or ends, nothing else shows it.
        nodes_detail: What it said then.
        disk_full: Results wait for room on the disk.
        pause_s: Seconds until it is tried again.
        answers: Attempts that came to a proper answer, whatever it was.
        results: How often each reason was given.
        told: Step → how many it has taken, or had already.
        in_hand: Step → how many are under way or about to be.
        workers: Step → how many may be under way at once.
        audit: What its audits came to; None if there are none.
        token_expires_at: When its token expires; None if that is not known, or it has none.
    """

    name: str
    kind: str
    address: str
    trouble: str | None
    detail: str
    trouble_since: float | None
    alarm: bool
    disk_full: bool
    pause_s: float
    last_answer_at: float | None
    answers: int
    results: dict[str, int] = field(default_factory=dict)
    told: dict[str, int] = field(default_factory=dict)
    in_hand: dict[str, int] = field(default_factory=dict)
    workers: dict[str, int] = field(default_factory=dict)
    nodes_trouble: str | None = None
    nodes_detail: str = ""
    latency: tuple[LatencyStatus, ...] = ()
    audit: AuditStatus | None = None
    token_expires_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HookStatus:
    """Hints since the start of the daemon; ``refused`` by reason."""

    received: int
    accepted: int
    refused: dict[str, int] = field(default_factory=dict)
    accepted_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LagStatus:
    """Event-loop lag in seconds; see ``pipeline.loop_lag``."""

    recent_s: float
    max_s: float
    stalls: int
    stalling: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveStatus:
    """
    What only the running daemon knows.

    Attributes:
        started_at: Of the process (epoch seconds).
        ready: Every cluster was looked at, as far back as it goes.
        poll_s: From one look to the next.
        waiting_for_slurm: Why not even the cluster's name is known yet, None if it is.
        minutes: The last hours by the minute, oldest first; minutes in which nothing happened are left out.
        stopping: It was told to stop, and finishes what is under way.
        reload_refused: Why the last reload kept the settings before, empty if it did not.
    """

    version: str
    pid: int
    started_at: float
    ready: bool
    rss_bytes: int
    cpu_s: float
    poll_s: float
    waiting_for_slurm: str | None
    sources: tuple[SourceStatus, ...]
    sinks: tuple[SinkStatus, ...]
    hook: HookStatus
    loop_lag: LagStatus
    minutes: tuple[Minute, ...] = ()
    stopping: bool = False
    reload_refused: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """
    How it is doing.

    Attributes:
        now: When this was put together (epoch seconds).
        totals: What is written down.
        live: None if no daemon runs.
    """

    now: float
    totals: Totals
    live: LiveStatus | None = None


@dataclass(frozen=True, slots=True)
class GetStatus(ControlRequest[Status]):
    """
    Ask how it is doing.

    Attributes:
        minutes: How many of the last minutes to tell of.
    """

    response_type: ClassVar[Any] = Status

    minutes: int = 15

    def run(self, store: SqliteStore) -> Status:
        """Return the stored part of the status, for use while no daemon is running."""
        return Status(now=time.time(), totals=GetTotals().run(store))


REQUESTS: tuple[type[ControlRequest[Any]], ...] = (GetStatus,)
