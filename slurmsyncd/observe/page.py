"""The status page as HTML. Pure; everything that is not ours passes through ``text``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from slurmsyncd.control.health import HealthLevel
from slurmsyncd.observe.charts import average_chart, bar_chart, sums_by_minute
from slurmsyncd.text import age, counted, duration, moment, safe

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slurmsyncd.control.health import Health
    from slurmsyncd.control.status import LiveStatus, SinkStatus, SourceStatus, Status
    from slurmsyncd.control.store_requests import SinkTotals
    from slurmsyncd.store.queries import Delivery, RunHistory

_HOURS = 6
_MOST_HOSTS = 8
_WORDS = {
    HealthLevel.WELL: "All is well",
    HealthLevel.DEGRADED: "Needs attention",
    HealthLevel.STOPPED: "Not running",
}
# What html.escape replaces; that module brings along a table of all entities, half a megabyte.
_ESCAPES: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})


def text(value: object) -> str:
    """Escape anything; control and direction characters are shown, not obeyed."""
    return safe(str(value)).translate(_ESCAPES)


def overview_body(status: Status, verdict: Health, runs: Sequence[RunHistory]) -> str:
    """Return the page's body."""
    live, now = status.live, status.now
    parts = [_verdict(verdict)]
    if live is not None:
        parts += [_flow(status, live), _charts(live, now), _clusters(live.sources, now)]
    parts += [_sinks(status), _reasons(status), _runs(runs, now)]
    return "".join(parts)


def _verdict(verdict: Health) -> str:
    tone = "ok" if verdict.level is HealthLevel.WELL else "bad"
    problems = "".join(
        f"<li><b>{text(each.subject)}</b>: {text(each.text)}<br>"
        f"<span class=remedy>→ {text(each.remedy)}</span></li>"
        for each in verdict.problems
    )
    return f'<section class="verdict {tone}"><h2>{_WORDS[verdict.level]}</h2><ul>{problems}</ul></section>'


def _flow(status: Status, live: LiveStatus) -> str:
    hook = live.hook
    down = [source for source in live.sources if source.unavailable]
    commands = sum(cost.calls for source in live.sources for cost in source.commands.values())
    boxes = [
        ("triggers", True, f"poll every {live.poll_s:g} s", f"{counted(hook.accepted, 'hint')} of hooks"),
        (
            "Slurm",
            bool(live.sources) and not down,
            counted(len(live.sources), "cluster"),
            f"{counted(commands, 'command')} asked",
        ),
        (
            "store",
            status.totals.incident is None,
            f"{counted(sum(status.totals.open_runs.values()), 'run')} open",
            f"{live.rss_bytes / 2**20:.0f} MiB of memory",
        ),
    ]
    for sink in live.sinks:
        left = status.totals.sinks.get(sink.name)
        waiting = 0 if left is None else left.states.get("ready", 0) + left.states.get("parked", 0)
        told = sum(sink.told.values())
        boxes.append((sink.name, sink.trouble is None, f"{told:,} told", f"{waiting:,} waiting"))
    drawn = "".join(
        f'<li class="{"ok" if well else "bad"}"><b>{text(name)}</b><span>{text(first)}</span>'
        f"<span>{text(second)}</span></li>"
        for name, well, first, second in boxes
    )
    up = duration(status.now - live.started_at)
    process = f"slurmsyncd {text(live.version)}, up {up}, pid {live.pid}"
    return f"<ol class=flow>{drawn}</ol><p class=dim>{process}</p>"


def _charts(live: LiveStatus, now: float) -> str:
    minutes = [(each.at, each.counts) for each in live.minutes]
    charts = (
        ("Starts and ends written down", sums_by_minute(minutes, "starts", "stops")),
        ("Starts and ends told", sums_by_minute(minutes, "start_told", "stop_told")),
    )
    drawn = "".join(
        f"<figure><figcaption>{about}</figcaption>"
        f"{bar_chart(points, now=now, hours=_HOURS, about=about)}</figure>"
        for about, points in charts
    )
    lag = "From a start that was seen to one that is told"
    waited, told = sums_by_minute(minutes, "start_ms"), sums_by_minute(minutes, "start_told")
    drawn += f"<figure><figcaption>{lag}</figcaption>"
    drawn += average_chart(waited, told, now=now, hours=_HOURS, about=lag) + "</figure>"
    return f"<section class=charts>{drawn}</section>"


def _clusters(sources: Iterable[SourceStatus], now: float) -> str:
    rows = [
        (
            text(source.cluster),
            _state("ok" if source.unavailable is None else "bad", source.unavailable or "answers"),
            text("never" if source.last_look_at is None else age(source.last_look_at, now)),
            f"{source.starts:,}",
            f"{source.stops:,}",
            f"{source.incomplete:,}",
            f"{source.set_aside:,}",
        )
        for source in sources
    ]
    headings = ("cluster", "Slurm", "last look", "starts", "ends", "without allocation", "not understood")
    return _table("Clusters", headings, rows, "not asked yet")


def _sinks(status: Status) -> str:
    live = {} if status.live is None else {sink.name: sink for sink in status.live.sinks}
    rows = [_sink(name, left, live.get(name), status.now) for name, left in status.totals.sinks.items()]
    headings = ("sink", "health", "last answer", "waiting", "oldest", "parked", "dead", "running")
    return _table("Sinks", headings, rows, "none")


def _sink(name: str, left: SinkTotals, sink: SinkStatus | None, now: float) -> tuple[str, ...]:
    health = "not configured" if sink is None else sink.trouble or "takes runs"
    tone = "dim" if sink is None else "bad" if sink.trouble else "ok"
    answered = None if sink is None else sink.last_answer_at
    return (
        text(name),
        _state(tone, health),
        text("never" if answered is None else age(answered, now)),
        f"{left.states.get('ready', 0):,}",
        text("" if left.waiting_since is None else duration(now - left.waiting_since)),
        f"{left.states.get('parked', 0):,}",
        f"{left.states.get('dead', 0):,}",
        f"{left.states.get('idle', 0):,}",
    )


def _reasons(status: Status) -> str:
    rows = [
        (text(name), text(state), text(reason), f"{number:,}")
        for name, left in status.totals.sinks.items()
        for state in ("parked", "dead")
        for reason, number in sorted(left.reasons.get(state, {}).items(), key=lambda each: -each[1])
    ]
    return _table("Parked and dead", ("sink", "state", "reason", "runs"), rows, "nothing") if rows else ""


def _runs(runs: Iterable[RunHistory], now: float) -> str:
    rows = [
        (
            f'<a href="/job?id={run.key.job_id}">{run.key.job_id}</a>',
            text(run.key.cluster),
            text(run.start.user if run.start else ""),
            text((run.start.name if run.start else "")[:60]),
            text(run.stop.state.value.lower() if run.stop else "running"),
            text(age(run.key.start_at, now)),
            text(run.started_by),
            ", ".join(_state(_tone(each), f"{each.sink}: {_standing(each)}") for each in run.deliveries),
        )
        for run in runs
    ]
    headings = ("job", "cluster", "user", "name", "state", "started", "seen by", "sinks")
    return _table("Last runs", headings, rows, "none yet")


def job_body(job_id: int, stories: Sequence[RunHistory], now: float) -> str:
    """Return the page's body for one job."""
    if not stories:
        return (
            f"<section><h2>Job {job_id}</h2><p>Nothing was seen of it: it has not started, is older than "
            "what is kept, or belongs to a cluster that is not asked. "
            f"<code>slurmsyncd job {job_id} --slurm</code> says which.</p></section>"
        )
    return "".join(_story(each, now) for each in stories)


def _story(run: RunHistory, now: float) -> str:
    start, stop = run.start, run.stop
    facts = [
        ("started", moment(run.key.start_at)),
        ("seen", f"{moment(run.started_seen_at)}, by {run.started_by}"),
    ]
    if start is not None:
        facts += [
            ("user, account", f"{start.user}, {start.account}"),
            ("name", start.name),
            ("partition, QOS", f"{start.partition}, {start.qos}"),
            ("nodes", _hosts(start.nodes)),
            ("allocation", _allocation(run)),
        ]
    if stop is not None and stop.end_at is not None:
        facts += [
            (
                "ended",
                f"{moment(stop.end_at)}: {stop.state.value}, exit code {stop.exit_code or 'not known'}",
            ),
            ("end seen", f"{moment(run.stopped_seen_at or 0)}, by {run.stopped_by}"),
        ]
    rows = "".join(f"<tr><th>{text(name)}</th><td>{text(value)}</td></tr>" for name, value in facts)
    told = "".join(_told(each, now) for each in run.deliveries)
    title = f"Job {run.key.job_id} on {text(run.key.cluster)}"
    return (
        f"<section><h2>{title}</h2><div class=scroll><table class=facts>{rows}</table></div>{told}</section>"
    )


def _hosts(hosts: Sequence[str]) -> str:
    more = f" and {len(hosts) - _MOST_HOSTS} more" if len(hosts) > _MOST_HOSTS else ""
    return f"{len(hosts)}: {', '.join(hosts[:_MOST_HOSTS])}{more}"


def _allocation(run: RunHistory) -> str:
    held = None if run.start is None else run.start.allocation
    if held is None:
        return "not seen: Slurm no longer knew it"
    cores = sum(len(node.cores) for node in held)
    gpus = sum(gres.count for node in held for gres in node.gres if gres.name == "gpu")
    return f"{counted(cores, 'core')}, {counted(gpus, 'GPU')}"


def _told(delivery: Delivery, now: float) -> str:
    detail = f" {text(delivery.detail)}" if delivery.detail else ""
    rows = "".join(
        "<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in (moment(at, now), *words)) + "</tr>"
        for at, *words in delivery.history
    )
    history = (
        f"<div class=scroll><table><caption>attempts that failed</caption>{rows}</table></div>"
        if rows
        else ""
    )
    due = f", next try {text(age(delivery.due_at, now))}" if delivery.due_at is not None else ""
    standing = _state(_tone(delivery), _standing(delivery))
    why = f"<span class=dim>{text(delivery.reason)}{detail}</span>"
    return f"<p><b>{text(delivery.sink)}</b>: {standing}{due} {why}</p>{history}"


def _standing(delivery: Delivery) -> str:
    words = {"done": "all told", "idle": "start told", "dropped": "given up"}
    return words.get(delivery.state, f"{delivery.step.value} {delivery.state}")


def _tone(delivery: Delivery) -> str:
    return {"done": "ok", "idle": "ok", "dead": "bad", "parked": "warn"}.get(delivery.state, "dim")


def _state(tone: str, words: str) -> str:
    return f'<span class="{tone}">{text(words)}</span>'


def _table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> str:
    if not rows:
        return f"<section><h2>{title}</h2><p class=dim>{empty}</p></section>"
    head = "".join(f"<th>{each}</th>" for each in headings)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f"<section><h2>{title}</h2><div class=scroll><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div></section>"
    )
