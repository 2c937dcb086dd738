"""How ``slurmsyncd status`` looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurmsyncd.console.terminal import Colour, Styled
from slurmsyncd.control.health import HealthLevel
from slurmsyncd.text import age, counted, duration, moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from slurmsyncd.console.terminal import Cell, Terminal
    from slurmsyncd.control.health import Health
    from slurmsyncd.control.status import HookStatus, LiveStatus, SinkStatus, SourceStatus, Status
    from slurmsyncd.control.store_requests import SinkTotals
    from slurmsyncd.pipeline.minute_counters import Minute

#: Minutes of the windows in the table of rates.
WINDOWS = (5, 15, 60)


def show(status: Status, verdict: Health, terminal: Terminal) -> None:
    """Show it to people: the verdict first."""
    _show_verdict(verdict, terminal)
    if status.live is not None:
        _show_process(status.live, status.now, terminal)
    _show_clusters(status, terminal)
    _show_sinks(status, terminal)
    _show_reasons(status, terminal)
    if status.live is not None:
        _show_hints(status.live.hook, status.now, terminal)
        _show_rates(status.live, status.now, terminal)
        _show_load(status.live, terminal)


def _show_verdict(verdict: Health, terminal: Terminal) -> None:
    if verdict.level is HealthLevel.WELL:
        terminal.print_line(Styled("slurmsyncd runs, and all is well", Colour.GOOD))
    elif verdict.level is HealthLevel.STOPPED:
        terminal.print_line(Styled("slurmsyncd does not run; this is what it has written down", Colour.BAD))
        terminal.print_line(
            "do: systemctl start slurmsyncd; if it ends again, journalctl -u slurmsyncd", indent=2
        )
    for problem in verdict.problems:
        terminal.print_line(Styled(f"{problem.subject}: {problem.text}", Colour.BAD))
        terminal.print_line(f"do: {problem.remedy}", indent=2)


def _show_process(live: LiveStatus, now: float, terminal: Terminal) -> None:
    up = f"since {moment(live.started_at)} ({duration(now - live.started_at)})"
    starting = "" if live.ready else ", still reading what happened before"
    terminal.print_line(f"version {live.version}, pid {live.pid}, {up}{starting}")
    memory = f"{live.rss_bytes / 2**20:.0f} MiB"
    lag = live.loop_lag
    terminal.print_line(
        f"memory {memory}, CPU {duration(live.cpu_s)}, event loop late by {lag.recent_s:.2f} s at most"
        f" (worst {lag.max_s:.2f} s)"
    )


def _head(terminal: Terminal, text: str) -> None:
    terminal.print_line("")
    terminal.print_line(Styled(text, Colour.STRONG))


def _show_clusters(status: Status, terminal: Terminal) -> None:
    sources = {} if status.live is None else {each.cluster: each for each in status.live.sources}
    totals = status.totals
    names = [*sources, *sorted({*totals.cursors, *totals.open_runs} - set(sources))]
    if not names:
        return
    _head(terminal, "Clusters")
    rows = [
        (
            name,
            _look(sources.get(name), status),
            age(totals.cursors[name], status.now) if name in totals.cursors else "never",
            totals.open_runs.get(name, 0),
            *(_counts(sources.get(name)) if sources else ()),
        )
        for name in names
    ]
    live = ("starts", "stops") if sources else ()
    terminal.table(rows, ("cluster", "last look", "read up to", "running", *live))
    for source in sources.values():
        if words := ", ".join(_notable(source)):
            terminal.print_line(f"{source.cluster}: {words}", indent=2)


def _counts(source: SourceStatus | None) -> tuple[Cell, Cell]:
    return ("", "") if source is None else (source.starts, source.stops)


def _notable(source: SourceStatus) -> Iterator[str]:
    if source.rechecks:
        yield f"{counted(source.rechecks, 'job')} to be asked for again"
    if source.incomplete:
        yield f"{counted(source.incomplete, 'start')} without cores and GPUs, seen too late"
    if source.never_started:
        yield f"{counted(source.never_started, 'job')} ended without starting"
    if source.set_aside:
        yield f"{counted(source.set_aside, 'record')} of Slurm not understood (see the log)"


def _look(source: SourceStatus | None, status: Status) -> Cell:
    if source is None:
        return Styled("not asked", Colour.DIM)
    if source.disk_full:
        return Styled("disk full", Colour.BAD)
    if source.unavailable:
        return Styled("in part" if source.partly else "no answer", Colour.BAD)
    if source.behind:
        return Styled("catching up", Colour.WARN)
    if source.last_look_at is None:
        return Styled("under way", Colour.WARN)
    return Styled(age(source.last_look_at, status.now), Colour.GOOD)


def _show_sinks(status: Status, terminal: Terminal) -> None:
    live = {} if status.live is None else {each.name: each for each in status.live.sinks}
    _head(terminal, "Sinks")
    rows = [
        (
            name,
            _health(live.get(name)),
            _answered(live.get(name), status.now),
            left.states.get("ready", 0),
            _oldest(left, status.now),
            left.states.get("idle", 0),
            left.states.get("parked", 0),
            left.states.get("dead", 0),
        )
        for name, left in status.totals.sinks.items()
    ]
    terminal.table(rows, ("sink", "state", "answered", "waiting", "oldest", "running", "parked", "dead"))
    for each in live.values():
        told = ", ".join(counted(count, step) for step, count in sorted(each.told.items())) or "nothing yet"
        busy = sum(each.in_hand.values())
        hand = f"; {busy} in hand" if busy else ""
        again = f"; tried again in {duration(each.pause_s)}" if each.pause_s >= 1 else ""
        terminal.print_line(f"{each.name}: {each.kind}, {each.address}; took {told}{hand}{again}", indent=2)


def _health(sink: SinkStatus | None) -> Cell:
    if sink is None:
        return Styled("not asked", Colour.DIM)
    if sink.disk_full:
        return Styled("disk full", Colour.BAD)
    if sink.trouble:
        return Styled(sink.trouble, Colour.BAD)
    if sink.nodes_trouble:
        return Styled(sink.nodes_trouble, Colour.BAD)
    return Styled("takes runs", Colour.GOOD) if sink.answers else Styled("nothing sent yet", Colour.DIM)


def _answered(sink: SinkStatus | None, now: float) -> str:
    return "never" if sink is None or sink.last_answer_at is None else age(sink.last_answer_at, now)


def _oldest(left: SinkTotals, now: float) -> str:
    return "" if left.waiting_since is None else duration(now - left.waiting_since)


def _show_reasons(status: Status, terminal: Terminal) -> None:
    rows = [
        (name, _STATE_WORDS.get(state, state), count, reason)
        for name, left in status.totals.sinks.items()
        for state, reasons in sorted(left.reasons.items())
        for reason, count in sorted(reasons.items(), key=lambda each: -each[1])
        if reason and state in _STATE_WORDS and (state != "ready" or reason not in _FINE)
    ]
    if rows:
        _head(terminal, "Not taken, by reason")
        terminal.table(rows, ("sink", "", "runs", "reason"))


_STATE_WORDS = {"ready": "tried again", "parked": "parked", "dead": "dead", "dropped": "dropped"}
#: Reasons of the step before: nothing is wrong with what waits.
_FINE = frozenset({"accepted", "cached_already", "listed_already", "looked_up", "untagged"})


def _show_hints(hook: HookStatus, now: float, terminal: Terminal) -> None:
    _head(terminal, "Hook")
    if not hook.received:
        terminal.print_line("no hint yet: jobs are found at the next poll", indent=2)
        return
    last = "" if hook.accepted_at is None else f", the last one {age(hook.accepted_at, now)}"
    terminal.print_line(f"{counted(hook.accepted, 'hint')}{last}", indent=2)
    if hook.refused:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(hook.refused.items()))
        refused = counted(sum(hook.refused.values()), "message")
        terminal.print_line(Styled(f"{refused} refused: {reasons}", Colour.WARN), indent=2)


_RATES = {
    "starts": "starts written down",
    "stops": "stops written down",
    "start_told": "starts taken by sinks",
    "stop_told": "stops taken by sinks",
    "failed": "attempts that failed",
    "commands": "commands of Slurm",
}


def _show_rates(live: LiveStatus, now: float, terminal: Terminal) -> None:
    up_min = (now - live.started_at) / 60
    windows = [each for each in WINDOWS if each <= max(up_min, WINDOWS[0])]
    _head(terminal, "In the last minutes")
    rows: list[tuple[Cell, ...]] = [
        (words, *(_in_window(live.minutes, name, window, now) for window in windows))
        for name, words in _RATES.items()
    ]
    terminal.table(rows, ("", *(f"{window} min" for window in windows)))


def _in_window(minutes: Iterable[Minute], name: str, window: int, now: float) -> int:
    return sum(each.counts.get(name, 0) for each in minutes if each.at > now - 60 * window)


def _show_load(live: LiveStatus, terminal: Terminal) -> None:
    rows = [
        (source.cluster, name, cost.calls, cost.failures, f"{cost.seconds / cost.calls:.2f} s")
        for source in live.sources
        for name, cost in source.commands.items()
        if cost.calls
    ]
    if rows:
        _head(terminal, "Asked of Slurm since the start, or the last reload")
        terminal.table(rows, ("cluster", "command", "calls", "failed", "took on average"))
