"""
Decisions about a delivery after an attempt. Pure: clock and randomness are arguments.

A sink translates the response of its backend to an ``Outcome``. ``decide`` turns the outcome into a
``Verdict``, which the store records. Nothing is lost: a verdict settles the event, schedules another attempt,
or parks the delivery or makes it a dead letter, where an operator finds it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Union

from slurmsyncd.model import EventKind, Job, OutboxEntry, RunKey

#: A sink rejects a run because it has one of the same job id that began less than a day earlier.
REPEAT = "repeat_of_earlier_run"
#: A sink rejects a run because it has one of the same job id that began later.
OVERTAKEN = "later_run_is_there"
#: Reasons for an unusable list of a backend: that backend is not queried for another one.
NO_LIST = frozenset({"repeats_itself", "too_many_rows", "without_end"})
#: Reason of a delivered, ended run that a later run of its job id has replaced at the sink.
REPLACED = "replaced_by_requeue"


class OutcomeKind(enum.Enum):
    """The result of an attempt, in terms common to all sinks."""

    ACCEPTED = "accepted"
    ALREADY_DELIVERED = "already_there"  # success: the sink already has the event
    FAILED = "failed"  # this attempt failed, result perhaps unknown: repeat it later
    REJECTED_UNTIL_FIXED = "curable"  # rejected until the sink is changed (a node missing in its list)
    REJECTED = "refused"  # will never be accepted
    REPEATED = "repeated"  # replaced by another run of its job id by the requeue policy: not an error
    START_MISSING = "start_missing"  # a stop for a run that the sink does not know
    TOO_EARLY = "not_yet"  # the sink accepts this event later (commit interval)
    SINK_UNAVAILABLE = "sink_down"  # a failure of the sink, charged to no entry


@dataclass(frozen=True, slots=True)
class OtherRun:
    """
    A run of the same job id that a sink has.

    Attributes:
        running: Whether the run is still running at the sink.
        archived: Whether the sink has archived the metrics of the run.
    """

    key: RunKey
    running: bool
    archived: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """
    The outcome of one attempt, in terms common to all sinks.

    Attributes:
        reason: A short constant for grouping and metrics, e.g. ``http_500``, ``no_subcluster``.
        detail: Message of the sink, cut and printable.
        retry_after_s: Wait that the sink requested, in seconds; None if it requested none.
        action_required: Whether the operator must act (credentials, wrong URL).
        other: The run because of which a start was rejected.
        certain: Whether a rejection needs no proof: the record cannot be sent, or the other run was seen.
        hold_s: Seconds from an accepted start to the attempt of its stop; None to use the policy.
    """

    result: OutcomeKind
    reason: str
    detail: str = ""
    status: int | None = None
    retry_after_s: float | None = None
    action_required: bool = False
    other: OtherRun | None = None
    certain: bool = False
    hold_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryPolicy:
    """
    Waits and limits of attempts for one sink. Waits are in seconds.

    Attributes:
        backoff_s: First wait after a failed attempt; doubles up to ``backoff_max_s``.
        park_interval_s: Wait between attempts of a parked entry.
        park_after: Failed attempts after which an entry is parked.
        stop_hold_s: A stop is not sent before its start has been acknowledged this long.
        not_yet_s: Wait after TOO_EARLY.
        start_resends: Attempts of a stop up to which its start is resent immediately if the stop finds none;
            after that it is sent again as slowly as what is parked.
        park_rejected_after: Attempts of one entry after which it is parked if it was rejected, and the sink
            accepted nothing else in between.
        dead_after: Attempts after which such a rejection counts all the same: another day.
    """

    backoff_s: float = 1.0
    backoff_max_s: float = 300.0
    park_interval_s: float = 3600.0
    park_after: int = 12
    stop_hold_s: float = 150.0
    not_yet_s: float = 60.0
    start_resends: int = 5
    park_rejected_after: int = 3
    dead_after: int = 27


@dataclass(frozen=True, slots=True)
class Delivered:
    """The event is delivered. After a start, the stop may be sent from ``next_at`` on."""

    at: float
    next_at: float
    reason: str


@dataclass(frozen=True, slots=True)
class Retry:
    """The same event is attempted again at ``at``. ``charged``: it counts as an attempt of the entry."""

    at: float
    reason: str
    detail: str
    charged: bool = True


@dataclass(frozen=True, slots=True)
class Park:
    """The delivery is parked: attempted again at ``at``, or when the operator requests it."""

    at: float
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class ResendStart:
    """The sink has lost the run, so its start is sent again at ``at``."""

    at: float
    reason: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """The event is permanently rejected and not retried automatically. A dead start makes its stop dead."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Drop:
    """A policy settles the event without delivery. A dropped start also drops its stop."""

    reason: str
    detail: str


Verdict = Union[Delivered, Retry, Park, ResendStart, DeadLetter, Drop]


class Standing(enum.Enum):
    """How a sink that rejects an entry treated other entries of the same event kind."""

    UNPROVEN = "unproven"  # it accepted none since it first rejected this one: entry or sink may be at fault
    PROVEN = "proven"  # it accepted another one in between: the rejection concerns this entry alone
    SUSPECTED = "suspected"  # it rejects one after the other: the sink is at fault


class RemoteState(enum.Enum):
    """The state of a run in the list of a sink."""

    RUNNING = "running"
    ENDED = "ended"
    ABSENT = "absent"  # within the commit interval of its start this proves nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverySummary:
    """
    The recorded state of a run's delivery to a sink.

    Attributes:
        kind: Kind of the next event, or of the last one if all are delivered.
        state: ready, parked, idle (start delivered, run still open), dead, dropped or done.
        since: When this event was queued, or acknowledged if it is done (epoch seconds).
        start_acknowledged_at: When the start was acknowledged (epoch seconds); None if it was not.
        reason: Reason of the last outcome.
    """

    kind: EventKind
    state: str
    since: float
    start_acknowledged_at: float | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """
    A run that is recorded in the store.

    Attributes:
        end_at: End of the run (epoch seconds); None while the run is open.
        deliveries: Delivery state by sink; a sink without a delivery of the run is missing.
    """

    key: RunKey
    end_at: int | None
    deliveries: dict[str, DeliverySummary]


class Discrepancy(enum.Enum):
    """A difference between the runs of a sink and what was delivered, or what Slurm has."""

    STOP_LOST = "stop_lost"  # it acknowledged the stop and shows the run as running: the stop again
    START_LOST = "start_lost"  # it acknowledged the start and has no such run: the start again
    REJECTED_BUT_PRESENT = (
        "refused_yet_there"  # we gave its start up, and it runs there: only the stop is left
    )
    UNREPORTED_RUN = "never_told"  # it runs there, we know nothing of it, Slurm says that it ended: the stop
    ENDED_TOO_EARLY = "closed_wrongly"  # it ended there and Slurm runs it: no request reopens it, so a report
    ENDED_OTHERWISE = (
        "ended_otherwise"  # it shows another end than it was sent: no request corrects it, a report
    )
    UNREADABLE = "unreadable"  # it ended, and the sink answers 500 for each list with it: a report
    UNKNOWN_RUN = "unheard_of"  # it runs there and Slurm knows no such run: a report
    RUN_LOST = "run_lost"  # it acknowledged start and stop and has no such run: both again
    NOT_REPORTED = "not_told"  # written down, but before there was this sink: it is told


@dataclass(frozen=True, slots=True)
class Differing:
    """
    An ended run whose end at a sink differs from the end that was sent.

    Attributes:
        detail: Both ends as text.
    """

    key: RunKey
    finding: Discrepancy
    detail: str


@dataclass(frozen=True, slots=True)
class Repair:
    """
    The repair of a discrepancy.

    Attributes:
        ended: The run as it ended in Slurm, under the sink's key; only for UNREPORTED_RUN.
        detail: What the sink shows, for a report; empty if the discrepancy is sufficient.
    """

    key: RunKey
    discrepancy: Discrepancy
    ended: Job | None = None
    detail: str = ""


def decide(
    entry: OutboxEntry,
    outcome: Outcome,
    policy: DeliveryPolicy,
    *,
    now: float,
    dice: float,
    standing: Standing = Standing.UNPROVEN,
) -> Verdict:
    """
    Return what happens to a delivery after an attempt.

    An unproven rejection makes a dead letter only if the sink accepts others, or after ``dead_after`` tries.
    A backend that rejects everything for a while (read-only database, message limit) must not cost a run.

    Args:
        entry: The entry as it was when the attempt began.
        outcome: Outcome of the attempt.
        policy: Policy of the sink.
        now: Current time (epoch seconds).
        dice: Random number, uniform in [0, 1), for the jitter.
        standing: How the sink treated other entries; used for rejections only.
    """
    reason, detail = outcome.reason, outcome.detail
    match outcome.result:
        case OutcomeKind.ACCEPTED | OutcomeKind.ALREADY_DELIVERED:
            return Delivered(at=now, next_at=now + _hold_s(entry, outcome, policy), reason=reason)
        case OutcomeKind.SINK_UNAVAILABLE:
            return Retry(now, reason, detail, charged=False)
        case OutcomeKind.TOO_EARLY if entry.attempts + 1 < policy.park_after:
            wait_s = min(outcome.retry_after_s or policy.not_yet_s, policy.park_interval_s)
            return Retry(now + wait_s, reason, detail)
        case OutcomeKind.TOO_EARLY:
            return Park(now + _spread(policy.park_interval_s, dice), reason, detail)
        case OutcomeKind.START_MISSING if entry.attempts < policy.start_resends:
            return ResendStart(now, reason)
        case OutcomeKind.START_MISSING:
            # Resending may become slow but never ends: an outage uses up attempts too, and the backend
            # may be restored without the run. If only the stop were parked, the run would stay missing.
            return ResendStart(now + _spread(policy.park_interval_s, dice), reason)
        case OutcomeKind.REPEATED:
            return Drop(reason, detail)
        case OutcomeKind.REJECTED | OutcomeKind.REJECTED_UNTIL_FIXED:
            return _after_rejection(entry, outcome, policy, now=now, dice=dice, standing=standing)
        case OutcomeKind.FAILED:
            return _after_failure(entry, outcome, policy, now=now, dice=dice)


def _after_rejection(
    entry: OutboxEntry,
    outcome: Outcome,
    policy: DeliveryPolicy,
    *,
    now: float,
    dice: float,
    standing: Standing,
) -> Verdict:
    reason, detail = outcome.reason, outcome.detail
    if standing is Standing.SUSPECTED:
        return Retry(now + backoff(entry.attempts, policy, dice=dice), reason, detail, charged=False)
    if outcome.result is OutcomeKind.REJECTED_UNTIL_FIXED:
        return Park(now + _spread(policy.park_interval_s, dice), reason, detail)
    if outcome.certain or standing is Standing.PROVEN or entry.attempts + 1 >= policy.dead_after:
        return DeadLetter(reason, detail)
    if entry.attempts + 1 >= policy.park_rejected_after:
        return Park(now + _spread(policy.park_interval_s, dice), reason, detail)
    return _after_failure(entry, outcome, policy, now=now, dice=dice)


def _hold_s(entry: OutboxEntry, outcome: Outcome, policy: DeliveryPolicy) -> float:
    """Return the wait between the acknowledgement of a start and its stop, in seconds."""
    hold = policy.stop_hold_s if entry.kind is EventKind.START else 0.0
    return hold if outcome.hold_s is None else min(hold, outcome.hold_s)


def _after_failure(
    entry: OutboxEntry, outcome: Outcome, policy: DeliveryPolicy, *, now: float, dice: float
) -> Verdict:
    if entry.attempts + 1 >= policy.park_after:
        return Park(now + _spread(policy.park_interval_s, dice), outcome.reason, outcome.detail)
    wait = backoff(entry.attempts, policy, dice=dice)
    if outcome.retry_after_s is not None:
        wait = max(wait, min(outcome.retry_after_s, policy.backoff_max_s))
    return Retry(now + wait, outcome.reason, outcome.detail)


def backoff(failures: int, policy: DeliveryPolicy, *, dice: float) -> float:
    """
    Return the seconds to wait after ``failures`` earlier failures: exponential, full jitter, capped.

    Full jitter spreads callers best; the floor of a tenth keeps a lucky zero from becoming a busy loop.
    """
    ceiling = min(policy.backoff_max_s, policy.backoff_s * 2.0 ** min(failures, 32))
    return ceiling * (0.1 + 0.9 * dice)


def _spread(seconds: float, dice: float) -> float:
    # Entries parked for one cause become due over half an interval, not in one burst.
    return seconds * (0.75 + 0.5 * dice)
