"""The report as JSON. Pure."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from slurmsyncd.commands.verify.compare import RunStatus
from slurmsyncd.console.times import format_day

if TYPE_CHECKING:
    from collections import Counter

    from slurmsyncd.commands.verify.report import ClusterReport, Report, StatusCounts


def document(report: Report) -> dict[str, Any]:
    """Return the report as one value of JSON; all instants are epoch seconds, all days UTC."""
    return {
        "complete": report.complete,
        "since": report.since,
        "until": report.until,
        "repaired": report.repaired,
        "daemon_runs": report.daemon,
        "clusters": [_cluster(each) for each in report.clusters],
        "differences": [{**asdict(each), "fate": each.fate.value} for each in report.differences],
        "differences_not_listed": report.unnamed,
        "slurm_commands": dict(report.commands),
        "sink_questions": report.questions,
    }


def _cluster(found: ClusterReport) -> dict[str, Any]:
    return {
        "cluster": found.cluster,
        "checkpoint": found.cursor,
        "known_from": found.known_from,
        "never_started": {format_day(at): number for at, number in sorted((+found.never_started).items())},
        "set_aside": {format_day(at): number for at, number in sorted((+found.set_aside).items())},
        "unread": [{"since": gap.since, "until": gap.until, "reason": gap.reason} for gap in found.unread],
        "sinks": [{"sink": sink, **_tally(tally)} for sink, tally in found.sinks.items()],
    }


def _tally(tally: StatusCounts) -> dict[str, Any]:
    return {
        "days": [{"day": format_day(at), **_counts(counts)} for at, counts in sorted(tally.days.items())],
        "running": _counts(tally.running),
        "all": _counts(tally.total()),
    }


def _counts(counts: Counter[RunStatus]) -> dict[str, int]:
    return {"runs": counts.total(), **{fate.value: counts[fate] for fate in RunStatus}}
