"""The report for people: a table for each cluster and sink, the runs that are missing, and what to do."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from slurmsyncd.commands.verify.compare import FAILING, Fate
from slurmsyncd.console.accounting_gaps import unread_span
from slurmsyncd.console.terminal import Colour, Styled
from slurmsyncd.console.times import day, iso
from slurmsyncd.text import counted, cut, duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from slurmsyncd.commands.verify.report import ClusterReport, Difference, Report, Tally
    from slurmsyncd.console.terminal import Cell, Terminal

#: Columns that are always there; the others only if there is something in them.
ALWAYS = (Fate.DELIVERED, Fate.WAITING, Fate.PARKED, Fate.DEAD, Fate.REFUSED, Fate.MISSING)
_NAME = 40

_EXPLAINED: Mapping[Fate, str] = {
    Fate.MISSING: "missing: never written down for this sink; --repair has them written down and sent",
    Fate.LOST: "lost: the sink acknowledged them and shows otherwise; --repair sends what can be sent again",
    Fate.UNREADABLE: "unreadable: the backend cannot list them, e.g. over a missing file of its archive; "
    "see its log, and restore the file or delete the job there",
    Fate.DEAD: "dead: not tried again unasked; the dead letters say why",
    Fate.REFUSED: "refused: cc-backend takes one run of a job id a day; see sinks.NAME.requeue",
    Fate.PARKED: "parked: refused until somebody changes something there; tried again now and then",
    Fate.DROPPED: "dropped: given up by the operator",
    Fate.IGNORED: "ignored: ran only on hosts that clusters.NAME.ignore_hosts leaves out",
}


def show(report: Report, out: Terminal) -> None:
    """Print the report."""
    out.say(
        Styled(f"Slurm's accounting from {iso(report.since)} until {iso(report.until)} UTC", Colour.STRONG),
        "; days are UTC, those of the runs' ends",
    )
    for cluster in report.clusters:
        for sink, tally in cluster.sinks.items():
            _table(cluster, sink, tally, out)
        for line in _notes(cluster, report):
            out.say(line, indent=2)
    _differences(report, out)
    _end(report, out)


def _table(cluster: ClusterReport, sink: str, tally: Tally, out: Terminal) -> None:
    total = tally.total()
    fates = [fate for fate in Fate if fate in ALWAYS or total[fate]]
    asides = {"never started": cluster.never_started, "set aside": cluster.set_aside}
    asides = {name: counts for name, counts in asides.items() if counts.total()}
    days = sorted({*tally.days, *(at for counts in asides.values() for at in +counts)})
    rows: list[list[Cell]] = [
        [day(at), *_numbers(tally.days.get(at), fates), *(counts[at] for counts in asides.values())]
        for at in days
    ]
    rows.append(["running", *_numbers(tally.running, fates), *(0 for _ in asides)])
    rows.append(["all", *_numbers(total, fates), *(counts.total() for counts in asides.values())])
    out.say("")
    out.say(Styled(f"cluster {cluster.cluster}, sink {sink}", Colour.STRONG))
    out.table(rows, ["", "runs", *(fate.value for fate in fates), *asides])


def _numbers(counts: Counter[Fate] | None, fates: Sequence[Fate]) -> list[int]:
    found: Mapping[Fate, int] = counts or {}
    return [sum(found.values()), *(found.get(fate, 0) for fate in fates)]


def _notes(cluster: ClusterReport, report: Report) -> Iterator[str]:
    total: Counter[Fate] = sum((tally.total() for tally in cluster.sinks.values()), Counter())
    yield from (f"unread: {unread_span(gap)}" for gap in cluster.unread)
    yield from (text for fate, text in _EXPLAINED.items() if total[fate])
    if total[Fate.UNREAD]:
        at = "it has not looked yet" if cluster.cursor is None else f"it has read up to {iso(cluster.cursor)}"
        when = "at its next look" if report.daemon else "when it is started"
        yield f"unread: the daemon sees them {when}; {at} UTC, and reads again what is near"
    if report.since < cluster.known_from:
        yield (
            f"forgotten: of what was settled and ended before {iso(cluster.known_from)} UTC nothing need be "
            "known any more (daemon.max_span and a day); --backend asks the backend itself"
        )


def _differences(report: Report, out: Terminal) -> None:
    if not report.differences:
        return
    out.say("")
    rows = [_row(each) for each in report.differences]
    out.table(rows, ["run", "cluster", "job", "sink", "start", "end", "state", "user", "name", "why"])
    if report.unnamed:
        out.say(f"and {report.unnamed:,} more; --all lists them", indent=2)


def _row(each: Difference) -> list[Cell]:
    end = "-" if each.end_at is None else iso(each.end_at)
    what = f"{each.fate.value}, repaired" if each.repaired else each.fate.value
    return [
        *(what, each.cluster, str(each.job_id), each.sink, iso(each.start_at), end, each.state),
        *(cut(each.user, _NAME), cut(each.name, _NAME), each.why),
    ]


def _end(report: Report, out: Terminal) -> None:
    out.say("")
    if report.repaired:
        when = "being sent" if report.daemon else "sent when the daemon is started"
        out.say(f"{counted(report.repaired, 'run')} repaired: written down, and {when}")
    total = report.total()
    if report.complete:
        out.say(Styled("nothing is missing", Colour.GOOD))
    else:
        failing = ", ".join(
            f"{total[fate]:,} {fate.value}" for fate in Fate if fate in FAILING and total[fate]
        )
        unread_s = sum(gap.until - gap.since for each in report.clusters for gap in each.unread)
        unread = f"{duration(unread_s)} of accounting could not be read" if unread_s else ""
        out.say(Styled(f"not complete: {', '.join(filter(None, (failing, unread)))}", Colour.BAD))
    asked = ", ".join(f"{name} {calls}" for name, calls in sorted(report.commands.items()))
    out.say(Styled(f"asked of Slurm: {counted(report.commands.total(), 'command')} ({asked})", Colour.DIM))
    for sink, questions in report.questions.items():
        out.say(Styled(f"asked of sink {sink}: {counted(questions, 'question')}", Colour.DIM))
