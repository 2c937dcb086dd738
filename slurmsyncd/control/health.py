"""
Whether all is well, and if not, what is wrong and what to do. Pure.

One function judges for the command, the status page and the health check alike.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from slurmsyncd.text import counted, duration, moment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from slurmsyncd.control.status import (
        AnnouncedStatus,
        AuditStatus,
        LiveStatus,
        SinkStatus,
        SourceStatus,
        Status,
    )
    from slurmsyncd.control.store_requests import SinkTotals
    from slurmsyncd.model import Gap

#: A run that was given up is news for so long; after that it is a number in a table.
NEWS_S = 86400.0
#: What waits longer than this in a sink that takes runs has to do with more than a stop's hold.
BEHIND_S = 1800.0
#: An audit that cannot be finished for so long is a problem of its own; before, what keeps it from that is.
AUDIT_LATE_S = 1800.0
#: A token that expires within this time needs a new one now.
TOKEN_WARNING_S = 7 * 86400.0
#: Accounting that was read up to before this is worth a word where Slurm does not answer.
ACCOUNTING_BEHIND_S = 900.0
#: How far back `slurmsyncd verify` goes unless it is told otherwise, less a day.
VERIFIED_S = 6 * 86400.0
#: Looks that are late by so many intervals are looks that do not happen.
LATE_POLLS = 3.0


class HealthLevel(enum.IntEnum):
    """How it stands; the value is the exit status of ``slurmsyncd status``."""

    WELL = 0
    DEGRADED = 1
    STOPPED = 3


@dataclass(frozen=True, slots=True)
class Problem:
    """
    One thing that is not as it should be.

    Attributes:
        subject: What it concerns, e.g. ``sink cc``.
        text: What is wrong, since when, and the constant that logs and metrics use.
        remedy: What to do.
    """

    subject: str
    text: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Health:
    """How it stands, and every problem, the gravest first."""

    level: HealthLevel
    problems: tuple[Problem, ...] = ()


def assess(status: Status) -> Health:
    """Return the health of the daemon: its level and all problems."""
    problems = tuple(_problems(status))
    if status.live is None:
        return Health(HealthLevel.STOPPED, problems)
    return Health(HealthLevel.DEGRADED if problems else HealthLevel.WELL, problems)


def summary_line(verdict: Health) -> str:
    """Say it in one line: the gravest problem, and how many more there are."""
    if not verdict.problems:
        return "all is well" if verdict.level is HealthLevel.WELL else "does not run"
    first, more = verdict.problems[0], len(verdict.problems) - 1
    also = f"; and {counted(more, 'more problem')}: slurmsyncd status" if more else ""
    return f"{first.subject}: {first.text}; do: {first.remedy}{also}"


def _problems(status: Status) -> Iterator[Problem]:
    now, live, totals = status.now, status.live, status.totals
    if live is not None and live.stopping:
        yield Problem("daemon", "is stopping: it finishes what is under way", "nothing; ask again soon")
    if live is not None and live.reload_refused:
        yield Problem(
            "configuration",
            f"was not reloaded, and the one before stays in force: {live.reload_refused}",
            "correct it before the next start (`slurmsyncd config check`), then reload again",
        )
    sinks = () if live is None else live.sinks
    for sink in sinks:
        yield from _of_sink(sink, now)
    if live is not None:
        yield from _of_slurm(live, now)
    for name, left in totals.sinks.items():
        trouble = any(sink.trouble or sink.disk_full for sink in sinks if sink.name == name)
        yield from _of_queue(name, left, now, waits_for_sink=trouble or live is None)
    for cluster in dict.fromkeys(gap.cluster for gap in totals.gaps):
        yield _of_gaps(cluster, [gap for gap in totals.gaps if gap.cluster == cluster], now)
    if totals.incident is not None:
        at, why = totals.incident
        yield Problem(
            "store",
            f"lost what was written down: {why} ({moment(at, now)}); what Slurm still knows was read again",
            "compare with `slurmsyncd verify`, then `slurmsyncd status --acknowledge`",
        )


def _of_sink(sink: SinkStatus, now: float) -> Iterator[Problem]:
    subject = f"sink {sink.name}"
    if sink.trouble:
        since = "" if sink.trouble_since is None else f" since {moment(sink.trouble_since, now)}"
        yield _trouble(sink.name, sink.trouble, since, sink.detail)
    elif sink.nodes_trouble:
        yield _trouble(sink.name, sink.nodes_trouble, " (asked with node states)", sink.nodes_detail)
    if sink.disk_full:
        yield Problem(subject, "its answers cannot be written down: the disk is full", _ROOM)
    if sink.token_expires_at is not None and sink.token_expires_at - now < TOKEN_WARNING_S:
        is_over = sink.token_expires_at <= now
        yield Problem(
            subject,
            f"its token {'expired' if is_over else 'expires'} at {moment(sink.token_expires_at)}",
            f"have a new one made and write it to token_file; {_READ_AGAIN}",
        )
    if sink.audit is not None:
        yield from _of_audit(subject, sink.audit, now)


def _of_audit(subject: str, audit: AuditStatus, now: float) -> Iterator[Problem]:
    if audit.trouble_since is not None and now - audit.trouble_since > AUDIT_LATE_S:
        for cluster, reason in audit.trouble.items():
            yield Problem(
                subject,
                f"its runs of {cluster} cannot be compared with Slurm's since "
                f"{moment(audit.trouble_since, now)}: {reason}",
                "see what it says; the audit is repeated every five minutes",
            )
    if audit.reported_at is not None and now - audit.reported_at < NEWS_S:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(audit.reports.items()))
        yield Problem(
            subject,
            f"shows runs otherwise than Slurm, and no request corrects them ({kinds}, "
            f"{moment(audit.reported_at, now)})",
            "the log names them (audit_finding); docs/runbook.md says what to do about each kind",
        )


def _trouble(name: str, reason: str, since: str, detail: str) -> Problem:
    words, remedy = _TROUBLE.get(reason, (f"does not take runs ({reason})", ""))
    remedy = remedy or "see what it says, and its log; everything waits, and nothing is lost"
    said = f": {detail}" if detail else ""
    return Problem(f"sink {name}", f"{words}{since}{said}", remedy.format(name=name))


#: systemd copies a credential when the service starts, and never again.
_READ_AGAIN = "only a systemd credential needs a restart"
#: Reason of a sink's trouble → what that is in words, and what to do.
_TROUBLE = {
    "credentials": ("credentials refused", f"have a new token made, and put it there; {_READ_AGAIN}"),
    "token": ("its token cannot be read", f"correct the file; {_READ_AGAIN}"),
    "unreachable": ("cannot be reached", "start it, or correct sinks.{name}.url; everything waits for it"),
    "connect_timeout": ("does not answer", "start it, or look for a firewall in between"),
    "tls": ("its certificate is not believed", "renew it there, or name its CA in sinks.{name}.ca_file"),
    "redirected": ("sends us elsewhere", "correct sinks.{name}.url"),
    "no_endpoint": ("has no such interface", "correct sinks.{name}.url, or upgrade the backend"),
    "jobs_by_nats": (
        "takes no jobs by REST",
        'set type = "nats" and format = "cc" in sinks.{name}, or remove api-subjects from its config.json',
    ),
    "no_topology": (
        "says nothing usable of its clusters",
        "see GET /api/clusters/ there; the token needs the role api",
    ),
    "credentials_file": ("its credentials cannot be read", f"correct the file; {_READ_AGAIN}"),
    "connection_lost": ("has broken off", "see its log; everything waits for it"),
    "not_permitted": ("does not permit us to publish", "grant that on the subjects of sinks.{name} there"),
    "no_jetstream": ("has no JetStream", 'turn it on there, or set sinks.{name}.mode = "core"'),
    "no_stream": (
        "has no stream for our subjects",
        "make it there, or set sinks.{name}.manage_stream = true",
    ),
    "wrong_stream": ("has another stream for our subjects", "correct sinks.{name}.stream or its subjects"),
    "http_429": ("asks us to slow down", "nothing: it is tried again when it said"),
    "http_503": ("is in maintenance", "nothing: it is tried again when it said"),
}
_ROOM = "make room in daemon.state_dir"


def _of_slurm(live: LiveStatus, now: float) -> Iterator[Problem]:
    if live.waiting_for_slurm:
        yield Problem("Slurm", f"has not answered yet: {live.waiting_for_slurm}", _ASK_SLURM)
    for source in live.sources:
        subject = f"cluster {source.cluster}"
        if source.blind:
            yield Problem(subject, f"hides jobs: {source.blind.reason}", source.blind.remedy)
        elif source.unavailable:
            since = (
                "" if source.unavailable_since is None else f" since {moment(source.unavailable_since, now)}"
            )
            how = "answers only in part" if source.partly else "does not answer"
            how = "is not written down" if source.disk_full else how
            remedy = _ROOM if source.disk_full else _ASK_SLURM
            yield Problem(subject, f"{how}{since}: {source.unavailable}{_read_to(source)}", remedy)
        elif late_s := _late_s(source, live, now):
            yield Problem(
                subject,
                f"was not looked at for {duration(late_s)}",
                "see the log; if nothing is said there, restart slurmsyncd and report a bug",
            )
        yield from _of_messages(subject, source, now)
        for hook in source.hooks:
            if hook.silent:
                yield Problem(subject, silence(hook, now), SILENT)
    if live.loop_lag.stalling:
        yield Problem(
            "daemon",
            f"stalls, by up to {live.loop_lag.recent_s:.1f} s in the last minutes",
            "see what else uses the CPU or the disk of this host",
        )


def _read_to(source: SourceStatus) -> str:
    """Describe how far accounting is behind, if it is."""
    if source.disk_full or source.behind_s is None or source.behind_s < ACCOUNTING_BEHIND_S:
        return ""
    return f"; accounting is read up to {duration(source.behind_s)} ago"


def _of_gaps(cluster: str, gaps: Sequence[Gap], now: float) -> Problem:
    first = gaps[0]
    unread_s = sum(gap.until - gap.since for gap in gaps)
    since = f" --since {first.since}" if now - first.since > VERIFIED_S else ""
    return Problem(
        f"cluster {cluster}",
        f"{duration(unread_s)} of its accounting could not be read, the first at {moment(first.since, now)}: "
        f"{first.reason}; runs that ended then may be missing",
        f"`slurmsyncd verify --repair{since}`; the daemon tries once an hour, too",
    )


#: Messages for slurmdbd from which on slurmctld may soon drop some: half of the least MaxDBDMsgs.
MANY_MESSAGES: Final = 5000
#: Seconds after which messages that slurmctld holds are no passing backlog.
HELD_S: Final = 900.0
MESSAGES_REMEDY: Final = (
    "see that slurmdbd and its database run and keep up; slurmctld drops messages beyond MaxDBDMsgs "
    "(`scontrol show config`), and accounting then lacks these runs"
)


def _of_messages(subject: str, source: SourceStatus, now: float) -> Iterator[Problem]:
    queued, since = source.queued_messages, source.queued_since
    if queued and since is not None and (queued >= MANY_MESSAGES or now - since > HELD_S):
        yield Problem(subject, f"{held_messages(queued)} (since {moment(since, now)})", MESSAGES_REMEDY)


def held_messages(queued: int) -> str:
    """Describe what slurmctld holds."""
    return f"slurmctld holds {counted(queued, 'message')} for slurmdbd; accounting is late"


#: What to do about a hook that is silent.
SILENT = (
    "restart slurmctld (before Slurm 23.11 a reconfigure switches no hook on), "
    "then see docs/troubleshooting.md, The hooks are silent"
)


def silence(hook: AnnouncedStatus, now: float) -> str:
    """Describe a hook that is silent."""
    seen = counted(hook.unannounced, "start" if hook.hook.startswith("Prolog") else "end")
    since = "it never came" if hook.heard_at is None else f"the last one came {moment(hook.heard_at, now)}"
    return f"{hook.hook} is set and silent: polls saw {seen} without its hint ({since})"


_ASK_SLURM = (
    "see `scontrol ping`, and `sacct` as the daemon's user; meanwhile nothing is concluded, and nothing lost"
)


def _late_s(source: SourceStatus, live: LiveStatus, now: float) -> float:
    """Return the seconds by which a poll is overdue, 0 if none is."""
    if source.behind:
        return 0.0
    quiet_s = now - (live.started_at if source.last_look_at is None else source.last_look_at)
    return quiet_s if quiet_s > max(LATE_POLLS * live.poll_s, 300.0) else 0.0


def _of_queue(name: str, left: SinkTotals, now: float, *, waits_for_sink: bool) -> Iterator[Problem]:
    subject = f"sink {name}"
    dead, died_at = left.states.get("dead", 0), left.failing_since.get("dead")
    if dead and died_at is not None and now - died_at < NEWS_S:
        yield Problem(
            subject,
            f"{counted(dead, 'dead letter')}, the last one of {moment(died_at, now)}"
            f" ({_reasons(left, 'dead')})",
            f"`slurmsyncd deadletters list --sink {name}` names them; then retry or drop",
        )
    if parked := left.states.get("parked", 0):
        yield Problem(
            subject,
            f"refuses {counted(parked, 'run')} until somebody changes something there"
            f" ({_reasons(left, 'parked')})",
            f"`slurmsyncd deadletters list --sink {name} --state parked` says what",
        )
    waiting_since = left.oldest.get("ready")
    if waiting_since is not None and not waits_for_sink and now - waiting_since > BEHIND_S:
        yield Problem(
            subject,
            f"is behind by {duration(now - waiting_since)}: {counted(left.states['ready'], 'run')} waiting",
            "see the rates below; after an outage this passes",
        )


def _reasons(left: SinkTotals, state: str) -> str:
    by_count = sorted(left.reasons.get(state, {}).items(), key=lambda each: (-each[1], each[0]))
    shown = ", ".join(reason or "no reason" for reason, _ in by_count[:3])
    return shown + (", …" if len(by_count) > 3 else "")
