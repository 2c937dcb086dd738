"""How the running daemon is doing, read off its parts. Reads; changes nothing."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING

from slurmsyncd import __version__
from slurmsyncd.control.status import (
    AnnouncedStatus,
    AuditStatus,
    BlindStatus,
    CommandCost,
    HookStatus,
    LagStatus,
    LatencyStatus,
    LiveStatus,
    SinkStatus,
    SourceStatus,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from slurmsyncd.config import Config, SinkConfig
    from slurmsyncd.daemon.collectors import Collectors
    from slurmsyncd.daemon.deliveries import Deliveries
    from slurmsyncd.delivery import Outcome
    from slurmsyncd.pipeline.announced import NotificationMonitor
    from slurmsyncd.pipeline.audit import AuditResults
    from slurmsyncd.pipeline.collect import Collector
    from slurmsyncd.pipeline.deliver import DeliveryLoop
    from slurmsyncd.pipeline.loop_lag import LoopLag
    from slurmsyncd.pipeline.minute_counters import Minute
    from slurmsyncd.sources.command_source import CommandSource
    from slurmsyncd.triggers.notification_filter import NotificationCounts

#: When the process began: this is loaded with the daemon, and stays through reloads.
BEGAN_AT = time.time()


def live_status(
    config: Config,
    intake: Collectors,
    outlet: Deliveries,
    *,
    hints: NotificationCounts,
    lag: LoopLag,
    minutes: tuple[Minute, ...],
    stopping: bool,
    reload_refused: str,
) -> LiveStatus:
    """Put together what only we know."""
    sources = zip(intake.collectors, intake.sources, strict=True)
    audits, expiries = outlet.audits(), outlet.token_expiries()
    return LiveStatus(
        version=__version__,
        pid=os.getpid(),
        started_at=BEGAN_AT,
        ready=bool(intake.collectors) and all(intake.has_polled(each.cluster) for each in intake.collectors),
        rss_bytes=rss_bytes(),
        cpu_s=time.process_time(),
        poll_s=config.daemon.poll_interval,
        waiting_for_slurm=intake.waiting_for_slurm,
        sources=tuple(
            source_status(collector, source, intake.announced[source.cluster])
            for collector, source in sources
        ),
        sinks=tuple(
            sink_status(
                each,
                config.sinks[each.sink.name],
                outlet.nodes_down.get(each.sink.name, {}),
                audit_status(audits.get(each.sink.name)),
                expiries.get(each.sink.name),
            )
            for each in outlet.deliveries
        ),
        hook=HookStatus(
            received=hints.received,
            accepted=hints.accepted,
            refused=dict(hints.rejected),
            accepted_at=hints.accepted_at,
        ),
        loop_lag=LagStatus(recent_s=lag.recent_s, max_s=lag.max_s, stalls=lag.stalls, stalling=lag.stalling),
        minutes=minutes,
        stopping=stopping,
        reload_refused=reload_refused,
    )


def source_status(
    collector: Collector, source: CommandSource, announced: NotificationMonitor
) -> SourceStatus:
    """Tell of one cluster."""
    tally = collector.tally
    return SourceStatus(
        cluster=collector.cluster,
        last_look_at=tally.last_poll_at,
        unavailable=tally.error,
        unavailable_since=tally.error_since,
        partly=tally.partial,
        disk_full=tally.disk_full,
        behind=collector.is_catching_up,
        behind_s=collector.behind_s,
        queued_messages=tally.queued_messages,
        queued_since=tally.queued_since,
        looks=tally.polls,
        failures=tally.failures,
        hints=tally.notifications,
        starts=tally.starts,
        stops=tally.stops,
        incomplete=tally.without_allocation,
        never_started=tally.never_started,
        set_aside=tally.records_skipped,
        rechecks=tally.rechecks,
        blind=BlindStatus(reason=source.blind.reason, remedy=source.blind.remedy) if source.blind else None,
        commands={
            name: CommandCost(calls=cost.calls, failures=cost.failures, seconds=cost.seconds)
            for name, cost in sorted(source.tally.commands.items())
        },
        hooks=tuple(
            AnnouncedStatus(
                hook=each.name,
                unannounced=each.unannounced,
                heard_at=each.since if each.heard else None,
                silent=each.silent,
            )
            for each in announced.hooks
        ),
    )


def audit_status(tally: AuditResults | None) -> AuditStatus | None:
    """Return what the audits of one sink came to; None if there are none."""
    if tally is None:
        return None
    return AuditStatus(
        audits=tally.audits,
        failures=tally.failures,
        last_at=tally.last_audit_at,
        trouble=dict(tally.trouble),
        trouble_since=tally.trouble_since,
        findings={finding.value: count for finding, count in tally.findings.items()},
        reports={finding.value: count for finding, count in tally.reports.items()},
        reported_at=tally.reported_at,
    )


def sink_status(
    delivery: DeliveryLoop,
    config: SinkConfig,
    nodes_down: Mapping[str, Outcome],
    audit: AuditStatus | None,
    token_expires_at: float | None,
) -> SinkStatus:
    """Tell of one sink."""
    health, pause = delivery.health, delivery.health.pause
    down = next(iter(nodes_down.values()), None)
    return SinkStatus(
        name=delivery.sink.name,
        kind=config.type,
        address=config.url or ", ".join(config.servers),
        trouble=pause.reason,
        detail=pause.detail,
        trouble_since=pause.since,
        alarm=pause.action_required,
        nodes_trouble=None if down is None else down.reason,
        nodes_detail="" if down is None else down.detail,
        disk_full=health.disk_full,
        pause_s=pause.left_s,
        last_answer_at=health.last_answer_at,
        answers=health.answers,
        results=dict(health.results),
        told=dict(health.delivered),
        in_hand={step.value: count for step, count in delivery.in_flight.items()},
        workers={"start": config.start_workers, "stop": config.stop_workers},
        latency=tuple(
            LatencyStatus(step=step, trigger=trigger, counts=tuple(each.counts), sum_s=each.sum_s)
            for (step, trigger), each in sorted(health.latency.histograms.items())
        ),
        audit=audit,
        token_expires_at=token_expires_at,
    )


def counters(intake: Collectors, deliveries: Iterable[DeliveryLoop]) -> dict[str, int]:
    """Return what only ever grows, all clusters and all sinks together; see ``pipeline.rates``."""
    tallies = [each.tally for each in intake.collectors]
    health = [each.health for each in deliveries]
    costs = [cost for source in intake.sources for cost in source.tally.commands.values()]
    return {
        "starts": sum(tally.starts for tally in tallies),
        "stops": sum(tally.stops for tally in tallies),
        "start_told": sum(each.delivered.get("start", 0) for each in health),
        "stop_told": sum(each.delivered.get("stop", 0) for each in health),
        "start_ms": int(1000 * sum(each.latency.of("start").sum_s for each in health)),
        "failed": sum(each.failed for each in health),
        "commands": sum(cost.calls for cost in costs),
    }


def rss_bytes() -> int:
    """Return the resident set of this process."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * resource.getpagesize()
