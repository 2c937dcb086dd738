"""
What becomes of a delivery after an attempt. Pure: the clock and the dice are arguments.

A sink turns whatever its backend said into an ``Outcome``; ``decide`` turns that into a ``Verdict``
that the store carries out. Nothing is ever dropped: a verdict either settles the step, plans another
attempt, or puts the entry where an operator finds it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Union

from slurmsyncd.model import EventKind, Job, OutboxEntry, RunKey

#: Why a sink rejects a run: it has one of the job id that began less than a day before it.
REPEAT = "repeat_of_earlier_run"
#: Why a sink rejects a run: it has one of the job id that began after it.
OVERTAKEN = "later_run_is_there"
#: Reasons of a list that no backend gives: the same backend is not asked for another one.
NO_LIST = frozenset({"repeats_itself", "too_many_rows", "without_end"})
#: Of a run that was told and ended, and has given way there to a later run of its job id.
REPLACED = "replaced_by_requeue"


class OutcomeKind(enum.Enum):
    """What an attempt came to."""

    ACCEPTED = "accepted"
    ALREADY_DELIVERED = "already_there"  # success: the sink had it
    FAILED = "failed"  # this attempt failed, outcome perhaps unknown: the same again later
    REJECTED_UNTIL_FIXED = "curable"  # refused until somebody changes the sink (a node missing in its list)
    REJECTED = "refused"  # will never be taken
    REPEATED = "repeated"  # gives way to another run of its job id, as the requeue policy has it: no trouble
    START_MISSING = "start_missing"  # a stop for a run that the sink does not know
    TOO_EARLY = "not_yet"  # the sink needs a moment before this step (commit interval)
    SINK_UNAVAILABLE = "sink_down"  # the sink's trouble, charged to no entry


@dataclass(frozen=True, slots=True)
class OtherRun:
    """
    A run of the same job id that a sink has.

    Attributes:
        running: It has not ended there.
        archived: Its metrics are archived.
    """

    key: RunKey
    running: bool
    archived: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """
    One attempt's end, in words common to all sinks.

    Attributes:
        reason: A short constant for grouping and metrics, e.g. ``http_500``, ``no_subcluster``.
        detail: What the sink said, cut and printable.
        retry_after_s: What the sink asked for, None if it did not.
        action_required: The operator has to act (credentials, wrong URL).
        other: The run because of which a start was rejected.
        certain: A rejection that needs no proof: the record cannot be sent, or the run in its way was seen.
        hold_s: Of an accepted start: seconds until its stop is tried; None: as the policy has it.
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
    How patient we are with one sink. All in seconds but the counts.

    Attributes:
        backoff_s: First wait after a failed attempt; doubles up to ``backoff_max_s``.
        park_interval_s: Between attempts of a parked entry.
        park_after: Attempts of one entry without success after which it is parked.
        stop_hold_s: A stop is not sent before its start has been acknowledged this long.
        not_yet_s: Wait after NOT_YET.
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
    """The step is settled. For a start: its stop may be sent from ``next_at`` on."""

    at: float
    next_at: float
    reason: str


@dataclass(frozen=True, slots=True)
class Retry:
    """The same step again at ``at``. ``charged``: counts as an attempt of this entry."""

    at: float
    reason: str
    detail: str
    charged: bool = True


@dataclass(frozen=True, slots=True)
class Park:
    """Out of the way: tried again slowly, or when the operator says so."""

    at: float
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class ResendStart:
    """Back to the start: the sink has lost the run. The start is sent again at ``at``."""

    at: float
    reason: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Never tried again by itself. A dead start takes its stop along."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Drop:
    """Left out as a policy has it: settled without being accepted. A start takes its stop along."""

    reason: str
    detail: str


Verdict = Union[Delivered, Retry, Park, ResendStart, DeadLetter, Drop]


class Standing(enum.Enum):
    """What a sink that rejects an entry did with other entries of the same step."""

    UNPROVEN = "unproven"  # it accepted none since it first rejected this one: entry or sink may be at fault
    PROVEN = "proven"  # it accepted another one in between: the rejection concerns this entry alone
    SUSPECTED = "suspected"  # it rejects one after the other: the sink is at fault


class RemoteState(enum.Enum):
    """What a sink that can list its runs says of one."""

    RUNNING = "running"
    ENDED = "ended"
    ABSENT = "absent"  # within the commit interval of its start this proves nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverySummary:
    """
    How far a sink is with a run, as it is written down.

    Attributes:
        kind: The next one, or the last one if all is told.
        state: ready, parked, idle (runs, its start told), dead, dropped or done.
        since: When this step came up, or was acknowledged if it is done (epoch seconds).
        start_acknowledged_at: When the start was acknowledged, None if it was not.
        reason: Of the last outcome.
    """

    kind: EventKind
    state: str
    since: float
    start_acknowledged_at: float | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """
    A run that is written down.

    Attributes:
        end_at: Epoch seconds; None while it is not known to have ended.
        deliveries: How far each sink is with it; one it was never to be told of is missing.
    """

    key: RunKey
    end_at: int | None
    deliveries: dict[str, DeliverySummary]


class Discrepancy(enum.Enum):
    """How what a sink holds differs from what it was told, or from Slurm."""

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
    A finished run whose end a sink shows otherwise than it was sent.

    Attributes:
        detail: Both ends in words.
    """

    key: RunKey
    finding: Discrepancy
    detail: str


@dataclass(frozen=True, slots=True)
class Repair:
    """
    What is done about a finding.

    Attributes:
        ended: The run as Slurm ended it, under the key that the sink has; only for NEVER_TOLD.
        detail: Of a report: what the sink shows. Empty if the finding says it all.
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
    Decide what becomes of an entry.

    A rejection makes a dead letter only if the sink accepts other runs: a backend that rejects everything for
    a while (read-only database, message limit) must not cost a single one.

    Args:
        entry: As it was when the attempt began.
        outcome: How the attempt ended.
        policy: The sink's.
        now: Epoch seconds.
        dice: Uniform in [0, 1), for the jitter.
        standing: Of the sink; matters for rejections only.
    """
    reason, detail = outcome.reason, outcome.detail
    match outcome.result:
        case OutcomeKind.ACCEPTED | OutcomeKind.ALREADY_DELIVERED:
            return Delivered(at=now, next_at=now + _hold_s(entry, outcome, policy), reason=reason)
        case OutcomeKind.SINK_UNAVAILABLE:
            return Retry(now, reason, detail, charged=False)
        case OutcomeKind.TOO_EARLY if entry.attempts + 1 < policy.park_after:
            return Retry(now + (outcome.retry_after_s or policy.not_yet_s), reason, detail)
        case OutcomeKind.TOO_EARLY:
            return Park(now + _spread(policy.park_interval_s, dice), reason, detail)
        case OutcomeKind.START_MISSING if entry.attempts < policy.start_resends:
            return ResendStart(now, reason)
        case OutcomeKind.START_MISSING:
            # Slowly, but never not at all: an outage uses up attempts too, and what comes back after it
            # may be a backup without the run. Parking the stop alone would keep it missing for ever.
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
    """Return for how many seconds after its start the stop of a run is not sent."""
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
    # Parked entries of one cause come back spread over half an interval, not as one burst.
    return seconds * (0.75 + 0.5 * dice)
