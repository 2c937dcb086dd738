"""The report for people: a table for each cluster and sink, the runs that are missing, and what to do."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from slurmsyncd.commands.verify.compare import FAILING, RunStatus
from slurmsyncd.console.accounting_gaps import unread_span
from slurmsyncd.console.terminal import Colour, Styled
from slurmsyncd.console.times import format_day, format_utc
from slurmsyncd.text import counted, cut, duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from slurmsyncd.commands.verify.report import ClusterReport, MissingRun, Report, StatusCounts
    from slurmsyncd.console.terminal import Cell, Terminal

#: Columns that are always there; the others only if there is something in them.
ALWAYS = (
    RunStatus.DELIVERED,
    RunStatus.WAITING,
    RunStatus.PARKED,
    RunStatus.DEAD,
    RunStatus.REFUSED,
    RunStatus.MISSING,
)
_NAME = 40

_EXPLAINED: Mapping[RunStatus, str] = {
    RunStatus.MISSING: "missing: never written down for this sink; --repair has them written down and sent",
    RunStatus.LOST: "lost: the sink acknowledged them and shows otherwise; "
    "--repair sends what can be sent again",
    RunStatus.UNREADABLE: "unreadable: the backend cannot list them, e.g. over a missing file of its "
    "archive; "
    "see its log, and restore the file or delete the job there",
    RunStatus.DEAD: "dead: not tried again unasked; the dead letters say why",
    RunStatus.REFUSED: "refused: cc-backend takes one run of a job id a day; see sinks.NAME.requeue",
    RunStatus.PARKED: "parked: refused until somebody changes something there; tried again now and then",
    RunStatus.DROPPED: "dropped: given up by the operator",
    RunStatus.IGNORED: "ignored: ran only on hosts that clusters.NAME.ignore_hosts leaves out",
}


def show(report: Report, out: Terminal) -> None:
    """Print the report."""
    out.print_line(
        Styled(
            f"Slurm's accounting from {format_utc(report.since)} until {format_utc(report.until)} UTC",
            Colour.STRONG,
        ),
        "; days are UTC, those of the runs' ends",
    )
    for cluster in report.clusters:
        for sink, tally in cluster.sinks.items():
            _table(cluster, sink, tally, out)
        for line in _notes(cluster, report):
            out.print_line(line, indent=2)
    _differences(report, out)
    _end(report, out)


def _table(cluster: ClusterReport, sink: str, tally: StatusCounts, out: Terminal) -> None:
    total = tally.total()
    fates = [fate for fate in RunStatus if fate in ALWAYS or total[fate]]
    asides = {"never started": cluster.never_started, "set aside": cluster.set_aside}
    asides = {name: counts for name, counts in asides.items() if counts.total()}
    days = sorted({*tally.days, *(at for counts in asides.values() for at in +counts)})
    rows: list[list[Cell]] = [
        [format_day(at), *_numbers(tally.days.get(at), fates), *(counts[at] for counts in asides.values())]
        for at in days
    ]
    rows.append(["running", *_numbers(tally.running, fates), *(0 for _ in asides)])
    rows.append(["all", *_numbers(total, fates), *(counts.total() for counts in asides.values())])
    out.print_line("")
    out.print_line(Styled(f"cluster {cluster.cluster}, sink {sink}", Colour.STRONG))
    out.table(rows, ["", "runs", *(fate.value for fate in fates), *asides])


def _numbers(counts: Counter[RunStatus] | None, fates: Sequence[RunStatus]) -> list[int]:
    found: Mapping[RunStatus, int] = counts or {}
    return [sum(found.values()), *(found.get(fate, 0) for fate in fates)]


def _notes(cluster: ClusterReport, report: Report) -> Iterator[str]:
    total: Counter[RunStatus] = sum((tally.total() for tally in cluster.sinks.values()), Counter())
    yield from (f"unread: {unread_span(gap)}" for gap in cluster.unread)
    yield from (text for fate, text in _EXPLAINED.items() if total[fate])
    if total[RunStatus.UNREAD]:
        at = (
            "it has not looked yet"
            if cluster.cursor is None
            else f"it has read up to {format_utc(cluster.cursor)}"
        )
        when = "at its next look" if report.daemon else "when it is started"
        yield f"unread: the daemon sees them {when}; {at} UTC, and reads again what is near"
    if report.since < cluster.known_from:
        yield (
            f"forgotten: of what was settled and ended before {format_utc(cluster.known_from)} UTC "
            "nothing need be "
            "known any more (daemon.max_span and a day); --backend asks the backend itself"
        )


def _differences(report: Report, out: Terminal) -> None:
    if not report.differences:
        return
    out.print_line("")
    rows = [_row(each) for each in report.differences]
    out.table(rows, ["run", "cluster", "job", "sink", "start", "end", "state", "user", "name", "why"])
    if report.unnamed:
        out.print_line(f"and {report.unnamed:,} more; --all lists them", indent=2)


def _row(each: MissingRun) -> list[Cell]:
    end = "-" if each.end_at is None else format_utc(each.end_at)
    what = f"{each.fate.value}, repaired" if each.repaired else each.fate.value
    return [
        *(what, each.cluster, str(each.job_id), each.sink, format_utc(each.start_at), end, each.state),
        *(cut(each.user, _NAME), cut(each.name, _NAME), each.why),
    ]


def _end(report: Report, out: Terminal) -> None:
    out.print_line("")
    if report.repaired:
        when = "being sent" if report.daemon else "sent when the daemon is started"
        out.print_line(f"{counted(report.repaired, 'run')} repaired: written down, and {when}")
    total = report.total()
    if report.complete:
        out.print_line(Styled("nothing is missing", Colour.GOOD))
    else:
        failing = ", ".join(
            f"{total[fate]:,} {fate.value}" for fate in RunStatus if fate in FAILING and total[fate]
        )
        unread_s = sum(gap.until - gap.since for each in report.clusters for gap in each.unread)
        unread = f"{duration(unread_s)} of accounting could not be read" if unread_s else ""
        out.print_line(Styled(f"not complete: {', '.join(filter(None, (failing, unread)))}", Colour.BAD))
    asked = ", ".join(f"{name} {calls}" for name, calls in sorted(report.commands.items()))
    out.print_line(
        Styled(f"asked of Slurm: {counted(report.commands.total(), 'command')} ({asked})", Colour.DIM)
    )
    for sink, questions in report.questions.items():
        out.print_line(Styled(f"asked of sink {sink}: {counted(questions, 'question')}", Colour.DIM))
