"""Composition root: builds the parts, runs them in one task group, and stops them cleanly."""

from __future__ import annotations

import signal
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import anyio
import structlog

from slurmsyncd import __version__
from slurmsyncd.config import ClusterConfig
from slurmsyncd.delivery import DeliveryPolicy
from slurmsyncd.errors import ConfigError, DiskFull, SourceUnavailable
from slurmsyncd.host.pidfile import pid_file
from slurmsyncd.host.sdnotify import Manager, inherited_sockets
from slurmsyncd.model import Step
from slurmsyncd.pipeline.audit import Auditor, AuditPolicy
from slurmsyncd.pipeline.checkpoint import Checkpoint
from slurmsyncd.pipeline.collect import Collector, CollectPolicy
from slurmsyncd.pipeline.deliver import Delivery
from slurmsyncd.pipeline.nodes import report_nodes
from slurmsyncd.pipeline.requeue import ReplacingSink
from slurmsyncd.pipeline.storage import StoreThread
from slurmsyncd.sinks.rest import RestSink
from slurmsyncd.sources.commands import CommandSource
from slurmsyncd.sources.discover import discover
from slurmsyncd.store import lastrun, open_store
from slurmsyncd.triggers.hook import hint_sockets, make_gate
from slurmsyncd.triggers.listener import listen
from slurmsyncd.triggers.wakeup import Wakeup

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence

    from anyio.abc import TaskGroup

    from slurmsyncd.config import Config, SinkConfig
    from slurmsyncd.model import Hint, Plan
    from slurmsyncd.ports import Inventory, Sink, Source

log = structlog.get_logger(__name__)

#: What an exchange under way gets after SIGTERM; systemd is told of it.
STOP_S = 25.0
#: Between two rounds of housekeeping: pruning, and seeing that the files are still ours.
HOUSEKEEPING_S = 60.0
#: Runs forgotten in one transaction.
PRUNED = 1000
#: Between two lines for `systemctl status`.
STATUS_S = 10.0
#: Names of other clusters that are said at most.
STRANGERS = 20


class WallClock:
    """Time of day."""

    def now(self) -> float:
        """Give epoch seconds."""
        return time.time()


async def serve(config: Config, reread: Callable[[], Config]) -> None:
    """
    Run until SIGTERM or SIGINT; SIGHUP reads the configuration again and keeps the old one if it is wrong.

    Args:
        config: To begin with.
        reread: Reads it again.

    Raises:
        AlreadyRunning: Another daemon holds the PID file or the store.
        ConfigError: Something it names cannot be used.
        StoreError: The state on disk cannot be used.
    """
    manager = Manager()
    inherited = inherited_sockets()
    # One receiver for all rounds: a signal that came between two would have its default effect.
    with (
        pid_file(config.daemon.pid_file),
        hint_sockets(config.hook, inherited) as sockets,
        anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals,
    ):
        following: Config | None = config
        while following is not None:
            config, loops = _build(following, config, manager)
            with closing(loops):
                following = await loops.run(sockets, signals, reread)


async def once(config: Config) -> int:
    """
    Look once, send what is due, and tell how it went.

    Returns:
        0: Slurm answered and nothing that is due is left. 75: Slurm or a sink did not do its part.
    """
    with pid_file(config.daemon.pid_file), closing(_Loops(config, Manager({}))) as loops:
        looked = await loops.look_once()
        sent = await loops.drain_once()
    return 0 if looked and sent else 75


def _build(wanted: Config, proven: Config, manager: Manager) -> tuple[Config, _Loops]:
    """Build the loops; what a reload asked for and cannot be had gives way to what ran before."""
    try:
        return wanted, _Loops(wanted, manager)
    except ConfigError as err:
        if wanted is proven:
            raise
        log.error("reload_refused", problems=err.problems)  # noqa: TRY400 - one line, no traceback
        return proven, _Loops(proven, manager)


class _Loops:
    """Everything that runs, built from one configuration. Close it to build another."""

    def __init__(self, config: Config, manager: Manager) -> None:
        if not config.sinks:
            raise ConfigError(["sinks: none is configured; add [sinks.NAME] with url and token_file"])
        self._config = config
        self._manager = manager
        self._thread = StoreThread()
        self._gate = make_gate(config.hook, self._hint)
        self._wakeups: dict[str, Wakeup] = {}
        self._strangers: set[str] = set()
        self._sources: list[Source] = []
        self._looking: list[Collector] = []
        sinks = [RestSink(sink, config.clusters, WallClock()) for sink in config.sinks.values()]
        daemon = config.daemon
        read_before = lastrun.read(daemon.lastrun_file) is not None
        opened = open_store(daemon.state_dir, tuple(config.sinks), expected=read_before)
        self._store = opened.store
        self._recovered = opened.recovered
        self._deliveries = [self._delivery(sink, config.sinks[sink.name]) for sink in sinks]
        self._auditors = [
            self._auditor(sink, delivery, config.sinks[sink.name])
            for sink, delivery in zip(sinks, self._deliveries, strict=True)
            if config.sinks[sink.name].audit_interval
        ]

    def close(self) -> None:
        """Let go of the store."""
        self._store.close()

    async def run(
        self,
        sockets: Sequence[socket.socket],
        signals: AsyncIterator[signal.Signals],
        reread: Callable[[], Config],
    ) -> Config | None:
        """
        Run all loops until a signal ends them.

        Returns:
            The configuration to go on with, None to stop.
        """
        signalled = anyio.Event()
        async with anyio.create_task_group() as sending:
            for delivery in self._deliveries:
                sending.start_soon(delivery.run, name=f"deliver-{delivery.sink.name}")
            async with anyio.create_task_group() as taking_in:
                self._start_intake(taking_in, sockets)
                log.info("ready", version=__version__, sinks=sorted(self._config.sinks))
                self._manager.ready()
                following = await _next_config(signals, reread)
                taking_in.cancel_scope.cancel()
            await self._finish(sending, signals, signalled)
        await self._close_sinks()
        return None if signalled.is_set() else following

    async def look_once(self) -> bool:
        """Take one full look at every cluster. Returns whether all of Slurm answered."""
        collectors = await self._collectors(patient=False)
        failed: list[str] = []

        async def look(collector: Collector) -> None:
            try:
                await collector.look()
                while collector.behind:
                    await collector.catch_up()
            except SourceUnavailable as err:
                log.error("look_failed", cluster=collector.cluster, reason=str(err))  # noqa: TRY400 - one line
                failed.append(collector.cluster)

        async with anyio.create_task_group() as group:
            for collector in collectors:
                group.start_soon(look, collector)
        return not failed and not any(collector.tally.unavailable for collector in collectors)

    async def drain_once(self) -> bool:
        """Send what is due. Returns whether every sink took its part."""
        async with anyio.create_task_group() as sending:
            for delivery in self._deliveries:
                sending.start_soon(lambda each: each.run(until_idle=True), delivery)
        await self._close_sinks()
        for delivery in self._deliveries:
            left = dict(self._store.counts(delivery.sink.name).states)
            log.info("drained", sink=delivery.sink.name, left=left)
        return not any(delivery.health.trouble for delivery in self._deliveries)

    def _start_intake(self, group: TaskGroup, sockets: Sequence[socket.socket]) -> None:
        group.start_soon(listen, self._gate, sockets, name="hints")
        group.start_soon(self._collect, name="collect")
        group.start_soon(self._keep_house, name="housekeeping")
        group.start_soon(self._ping, name="watchdog")

    async def _collect(self) -> None:
        async with anyio.create_task_group() as group:
            self._looking = await self._collectors(patient=True)
            for collector in self._looking:
                wakeup = Wakeup(self._config.daemon.query_delay)
                self._wakeups[collector.cluster] = wakeup
                group.start_soon(collector.run, wakeup, name=f"collect-{collector.cluster}")
            for auditor in self._auditors:
                group.start_soon(auditor.run, self._sources, self._has_looked)
            for sink in self._config.sinks.values():
                if sink.nodestate_interval:
                    delivery = next(each for each in self._deliveries if each.sink.name == sink.name)
                    group.start_soon(report_nodes, self._sources, delivery.sink, sink.nodestate_interval)

    async def _collectors(self, *, patient: bool) -> list[Collector]:
        """Build one collector for each cluster; which cluster this host has, Slurm may have to say first."""
        daemon = self._config.daemon
        clusters = self._config.clusters or await self._discover(patient=patient)
        self._sources = [
            CommandSource(
                name,
                self._config.slurm,
                slurm_conf=each.slurm_conf,
                remote=each.remote,
                directory=daemon.state_dir,
            )
            for name, each in clusters.items()
        ]
        await self._note_orphans(clusters)
        checkpoint = Checkpoint(daemon.lastrun_file, self._store, self._thread, clusters)
        if not self._recovered:  # else the whole look-back has to be read again
            await checkpoint.begin()
        policy = CollectPolicy(
            poll_s=daemon.poll_interval, overlap_s=daemon.overlap, max_span_s=daemon.max_span
        )

        async def recorded(plan: Plan) -> None:
            await checkpoint.advance(plan)
            if plan.events:
                self._ring()

        return [
            Collector(source, self._store, self._thread, policy, WallClock(), recorded=recorded)
            for source in self._sources
        ]

    async def _discover(self, *, patient: bool) -> Mapping[str, ClusterConfig]:
        said = False
        while True:
            try:
                found = await discover(self._config.slurm, directory=self._config.daemon.state_dir)
            except SourceUnavailable as err:
                if not patient:
                    raise
                if not said:
                    log.warning("cluster_unknown", reason=str(err))
                said = True
                await anyio.sleep(min(10.0, self._config.daemon.poll_interval))
            else:
                log.info("slurm_found", cluster=found.cluster, release=found.version)
                return {found.cluster: ClusterConfig(name=found.cluster)}

    async def _note_orphans(self, clusters: Collection[str]) -> None:
        """Name the clusters whose runs are open and that nobody asks any more."""
        for cluster, runs in (await self._thread(self._store.open_runs)).items():
            if cluster not in clusters:
                log.warning(
                    "cluster_not_configured",
                    cluster=cluster,
                    open_runs=runs,
                    remedy=f"put [clusters.{cluster}] back until they have ended",
                )

    def _has_looked(self, cluster: str) -> bool:
        """Say whether the first look at a cluster, as far back as it goes, is over."""
        return any(
            each.cluster == cluster and each.tally.looks > 0 and not each.behind for each in self._looking
        )

    def _auditor(self, sink: Inventory, delivery: Delivery, config: SinkConfig) -> Auditor:
        policy = AuditPolicy(interval_s=config.audit_interval, grace_s=config.audit_grace)
        return Auditor(sink, self._store, self._thread, policy, WallClock(), repaired=delivery.ring)

    def _delivery(self, sink: RestSink, config: SinkConfig) -> Delivery:
        policy = DeliveryPolicy(
            backoff_s=config.backoff,
            backoff_max_s=config.backoff_max,
            park_s=config.park_interval,
            stop_hold_s=config.stop_hold,
            not_yet_s=min(DeliveryPolicy().not_yet_s, config.stop_hold),
        )
        workers = {Step.START: config.start_workers, Step.STOP: config.stop_workers}
        told: Sink = sink
        if config.requeue == "replace":
            told = ReplacingSink(sink, sink, self._store, self._thread, WallClock())
        return Delivery(told, self._store, self._thread, policy, WallClock(), workers=workers)

    def _hint(self, hint: Hint) -> None:
        """Pass a hint to its cluster; one of a cluster that is not ours is said once and dropped."""
        if (wakeup := self._wakeups.get(hint.cluster)) is not None:
            wakeup.ring(hint)
        elif self._wakeups and hint.cluster not in self._strangers and len(self._strangers) < STRANGERS:
            self._strangers.add(hint.cluster)
            log.warning("hint_of_other_cluster", cluster=hint.cluster, ours=sorted(self._wakeups))

    def _ring(self) -> None:
        for delivery in self._deliveries:
            delivery.ring()

    async def _finish(
        self, sending: TaskGroup, signals: AsyncIterator[signal.Signals], signalled: anyio.Event
    ) -> None:
        """
        Let the exchanges under way end and be settled; a second signal or the deadline ends them.

        ``signalled`` is set by such a signal: during a reload it is the first that asks to stop.
        """
        self._manager.stopping(STOP_S + 5.0, "finishing what is under way")
        for delivery in self._deliveries:
            delivery.stop()
        async with anyio.create_task_group() as watching:
            watching.start_soon(_cancel_on_signal, sending.cancel_scope, signals, signalled)
            with anyio.move_on_after(STOP_S) as patience:
                for delivery in self._deliveries:
                    await delivery.finished.wait()
            if patience.cancelled_caught:
                log.warning(
                    "stopped_in_mid_exchange", hint="what was under way is sent again at the next start"
                )
                sending.cancel_scope.cancel()
            watching.cancel_scope.cancel()

    async def _close_sinks(self) -> None:
        for delivery in self._deliveries:
            await delivery.sink.aclose()

    async def _keep_house(self) -> None:
        """See that the files are still ours, and forget what is settled and older than any look back."""
        keep_s = self._config.daemon.max_span + 86400.0
        while True:
            await anyio.sleep(HOUSEKEEPING_S)
            await self._thread(self._store.integrity)
            with suppress(DiskFull):  # said by those who take in; nothing is lost by forgetting later
                forgotten = PRUNED
                while forgotten == PRUNED:
                    forgotten = await self._thread(self._store.prune, time.time(), keep_s, PRUNED)

    async def _ping(self) -> None:
        """Ping the watchdog from the loop itself, so that a stall of the loop is noticed."""
        while True:
            self._manager.alive()
            self._manager.status(self._status())
            await anyio.sleep(self._manager.watchdog_s or STATUS_S)

    def _status(self) -> str:
        looks = [each.tally.unavailable or "ok" for each in self._looking]
        sinks = [f"{each.sink.name} {each.health.trouble or 'ok'}" for each in self._deliveries]
        starts = sum(each.tally.starts for each in self._looking)
        stops = sum(each.tally.stops for each in self._looking)
        slurm = ", ".join(looks) or "not asked yet"
        return f"Slurm {slurm}; {', '.join(sinks)}; {starts} starts, {stops} stops written down"


async def _next_config(signals: AsyncIterator[signal.Signals], reread: Callable[[], Config]) -> Config | None:
    """Wait for the signal that ends the loops; give what to go on with, None to stop."""
    async for signum in signals:
        if signum is not signal.SIGHUP:
            log.info("stopping", signal=signum.name)
            return None
        try:
            config = reread()
        except ConfigError as err:
            log.error("reload_refused", problems=err.problems)  # noqa: TRY400 - one line, no traceback
        else:
            log.info("reloading")
            return config
    return None


async def _cancel_on_signal(
    scope: anyio.CancelScope, signals: AsyncIterator[signal.Signals], signalled: anyio.Event
) -> None:
    async for signum in signals:
        if signum is not signal.SIGHUP:
            log.info("stopping", signal=signum.name)
            signalled.set()
            scope.cancel()
            return
