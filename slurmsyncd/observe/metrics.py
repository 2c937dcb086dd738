"""
The daemon's state as metrics for Prometheus. Pure: a status in, text out.

No job id, user or host is ever a label: their number has no bound, and they are not everybody's business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from slurmsyncd.observe.prometheus import MetricFamily, exposition
from slurmsyncd.pipeline.latency import BOUNDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from slurmsyncd.control.status import LatencyStatus, LiveStatus, SinkStatus, SourceStatus, Status
    from slurmsyncd.control.store_requests import Totals

_PREFIX: Final = "slurmsyncd_"


def metrics(status: Status) -> bytes:
    """Return all metrics in Prometheus's text format."""
    return exposition(_families(status))


def _families(status: Status) -> Iterator[MetricFamily]:
    live = status.live
    if live is not None:
        yield from _process(live)
        yield from _sources(live.sources)
        yield from _hook(live)
        yield from _sinks(live.sinks)
    yield from _written(status.totals, status.now)


def _gauge(name: str, about: str, *labels: str) -> MetricFamily:
    return MetricFamily("gauge", _PREFIX + name, about, labels)


def _counter(name: str, about: str, *labels: str) -> MetricFamily:
    return MetricFamily("counter", f"{_PREFIX}{name}_total", about, labels)


def _process(live: LiveStatus) -> Iterator[MetricFamily]:
    build = _gauge("build_info", "Release of the running daemon", "version")
    build.add([live.version], 1)
    yield build
    lag = live.loop_lag
    for name, about, value in (
        ("start_time_seconds", "When the process began", live.started_at),
        ("resident_memory_bytes", "Resident memory of the process", live.rss_bytes),
        ("ready", "Every cluster was looked at, as far back as it goes", live.ready),
        ("loop_lag_seconds", "How late the event loop was at worst in the last minute or two", lag.recent_s),
    ):
        family = _gauge(name, about)
        family.add([], value)
        yield family
    for name, about, value in (
        ("cpu_seconds", "Processor time of the process, without Slurm's commands", live.cpu_s),
        ("loop_stalls", "How often the event loop was a second late or more", lag.stalls),
    ):
        counter = _counter(name, about)
        counter.add([], value)
        yield counter


def _sources(sources: Iterable[SourceStatus]) -> Iterator[MetricFamily]:
    for name, about, value in _SOURCE_GAUGES:
        yield _each(_gauge(name, about, "cluster"), sources, value)
    for name, about, value in _SOURCE_COUNTERS:
        yield _each(_counter(name, about, "cluster"), sources, value)
    costs = MetricFamily(
        "summary", _PREFIX + "slurm_command_seconds", "Slurm's commands that we ran", ("cluster", "command")
    )
    failures = _counter("slurm_command_failures", "Those of them that failed", "cluster", "command")
    for source in sources:
        for command, cost in source.commands.items():
            costs.add_summary([source.cluster, command], cost.calls, cost.seconds)
            failures.add([source.cluster, command], cost.failures)
    yield costs
    yield failures
    labels = ("cluster", "hook")
    silent = _gauge("hook_silent", "The hook is configured, and its hints do not come", *labels)
    unannounced = _gauge("unannounced_runs", "Starts or ends that polls saw since its last hint", *labels)
    for source in sources:
        for hook in source.hooks:
            silent.add([source.cluster, hook.hook], hook.silent)
            unannounced.add([source.cluster, hook.hook], hook.unannounced)
    yield silent
    yield unannounced


_SOURCE_GAUGES: Final[tuple[tuple[str, str, Callable[[SourceStatus], float]], ...]] = (
    ("source_up", "Slurm answered when it was asked last", lambda it: it.unavailable is None),
    ("source_last_look_seconds", "When Slurm was last looked at", lambda it: it.last_look_at or 0),
    ("source_behind", "Accounting is still being read to catch up", lambda it: it.behind),
    (
        "source_blind",
        "Whether Slurm hides other users' jobs (1) or not (0)",
        lambda it: it.blind is not None,
    ),
    ("source_rechecks", "Jobs that are asked for again soon", lambda it: it.rechecks),
)
_SOURCE_COUNTERS: Final[tuple[tuple[str, str, Callable[[SourceStatus], float]], ...]] = (
    ("looks", "Looks at Slurm", lambda it: it.looks),
    ("look_failures", "Looks that came to nothing", lambda it: it.failures),
    ("hints", "Hints of hooks that were followed", lambda it: it.hints),
    ("starts", "Starts of runs that were written down", lambda it: it.starts),
    ("stops", "Ends of runs that were written down", lambda it: it.stops),
    ("starts_without_allocation", "Starts without cores and GPUs", lambda it: it.incomplete),
    ("never_started", "Jobs that ended without ever starting", lambda it: it.never_started),
    ("records_set_aside", "Records of Slurm that were not understood", lambda it: it.set_aside),
)


def _hook(live: LiveStatus) -> Iterator[MetricFamily]:
    accepted = _counter("hook_hints_accepted", "Hints on the socket that count")
    accepted.add([], live.hook.accepted)
    yield accepted
    yield _by_label(_counter("hook_hints_refused", "Those that do not", "reason"), live.hook.refused)


def _sinks(sinks: Iterable[SinkStatus]) -> Iterator[MetricFamily]:
    yield _each(
        _gauge("sink_up", "It is not paused for trouble", "sink"), sinks, lambda it: it.trouble is None
    )
    yield _each(_gauge("sink_alarm", "Somebody has to act", "sink"), sinks, lambda it: it.alarm)
    yield _each(
        _gauge("sink_last_answer_seconds", "When it last gave a proper answer", "sink"),
        sinks,
        lambda it: it.last_answer_at or 0,
    )
    yield from _audits([sink for sink in sinks if sink.audit is not None])
    expiring = [sink for sink in sinks if sink.token_expires_at is not None]
    about = "Time at which the sink's token expires in seconds since the epoch"
    family = _gauge("sink_token_expiry_timestamp_seconds", about, "sink")
    yield _each(family, expiring, lambda it: it.token_expires_at)
    yield _each2(_counter("attempts", "Attempts by outcome", "sink", "reason"), sinks, lambda it: it.results)
    yield _each2(_counter("delivered", "Steps that it took", "sink", "step"), sinks, lambda it: it.told)
    yield _each2(_gauge("in_hand", "Steps that are under way", "sink", "step"), sinks, lambda it: it.in_hand)
    latency = MetricFamily(
        "histogram",
        _PREFIX + "delivery_latency_seconds",
        "From what was seen to what the sink took; of ends with the hold after the start",
        ("sink", "step", "trigger"),
    )
    for sink in sinks:
        for each in sink.latency:
            latency.add_histogram([sink.name, each.step, each.trigger], _buckets(each), each.sum_s)
    yield latency


def _audits(sinks: Iterable[SinkStatus]) -> Iterator[MetricFamily]:
    yield _each(
        _gauge(
            "audit_last_timestamp_seconds", "Time of the sink's last audit in seconds since the epoch", "sink"
        ),
        sinks,
        lambda it: it.audit.last_at or 0,
    )
    about = "Whether the last audit of each cluster could be finished (1) or not (0)"
    yield _each(_gauge("audit_complete", about, "sink"), sinks, lambda it: not it.audit.trouble)
    yield _each(_counter("audits", "Total number of audits", "sink"), sinks, lambda it: it.audit.audits)
    about = "Total number of differences between the sink and Slurm that audits found"
    yield _each2(
        _counter("audit_findings", about, "sink", "finding"),
        sinks,
        lambda it: it.audit.findings if it.audit else {},
    )


def _written(totals: Totals, now: float) -> Iterator[MetricFamily]:
    states = _gauge("deliveries", "What a sink was not told of yet, by state", "sink", "state")
    oldest = _gauge("oldest_undelivered_seconds", "Since when the oldest of it waits", "sink")
    dead = _gauge("dead_letters", "Runs that a sink does not take, by reason", "sink", "reason")
    parked = _gauge("parked", "Runs that a sink does not take for now, by reason", "sink", "reason")
    for name, sink in totals.sinks.items():
        for state in ("ready", "parked", "idle", "dead", "dropped"):
            states.add([name, state], sink.states.get(state, 0))
        oldest.add([name], 0 if sink.waiting_since is None else max(0.0, now - sink.waiting_since))
        for family, state in ((dead, "dead"), (parked, "parked")):
            for reason, number in sink.reasons.get(state, {}).items():
                family.add([name, reason], number)
    yield from (states, oldest, dead, parked)
    yield _by_label(_gauge("open_runs", "Runs that have started and not ended", "cluster"), totals.open_runs)
    behind = {cluster: max(0.0, now - at) for cluster, at in totals.cursors.items()}
    yield _by_label(
        _gauge("checkpoint_age_seconds", "How far back accounting was read up to", "cluster"), behind
    )
    unread = dict.fromkeys(totals.cursors, 0)
    for gap in totals.gaps:
        unread[gap.cluster] = unread.get(gap.cluster, 0) + gap.until - gap.since
    about = "Seconds of accounting that could not be read and were skipped"
    yield _by_label(_gauge("accounting_gap_seconds", about, "cluster"), unread)
    incident = _gauge("incident", "Something written down was found lost, and nobody acknowledged it")
    incident.add([], totals.incident is not None)
    yield incident


def _buckets(latency: LatencyStatus) -> list[tuple[str, int]]:
    found, total = [], 0
    for bound, count in zip((*map(str, BOUNDS), "+Inf"), latency.counts, strict=True):
        total += count
        found.append((bound, total))
    return found


def _each(family: MetricFamily, items: Iterable[object], value: Callable[..., float]) -> MetricFamily:
    for item in items:
        name = getattr(item, "cluster", None) or getattr(item, "name", "")
        family.add([str(name)], value(item))
    return family


def _each2(
    family: MetricFamily, sinks: Iterable[SinkStatus], values: Callable[[SinkStatus], Mapping[str, int]]
) -> MetricFamily:
    for sink in sinks:
        for label, value in values(sink).items():
            family.add([sink.name, label], value)
    return family


def _by_label(family: MetricFamily, values: Mapping[str, float]) -> MetricFamily:
    for label, value in values.items():
        family.add([label], value)
    return family
