"""The side of the sinks: a delivery for each, its audit, and the uploads of node states."""

from __future__ import annotations

import signal
from functools import partial
from typing import TYPE_CHECKING

import anyio
import structlog

from slurmsyncd.clock import SystemClock
from slurmsyncd.delivery import DeliveryPolicy
from slurmsyncd.model import EventKind
from slurmsyncd.pipeline.audit import Auditor, AuditPolicy
from slurmsyncd.pipeline.deliver import DeliveryLoop
from slurmsyncd.pipeline.node_states import report_node_states
from slurmsyncd.pipeline.replacing_sink import ReplacingSink
from slurmsyncd.sinks.registry import build_inventory, build_sink, stop_hold_s
from slurmsyncd.sinks.rest.sink import RestSink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from anyio.abc import TaskGroup

    from slurmsyncd.config import Config, SinkConfig
    from slurmsyncd.delivery import Outcome
    from slurmsyncd.pipeline.audit import AuditResults
    from slurmsyncd.pipeline.store_thread import StoreThread
    from slurmsyncd.ports import Inventory, Sink, Source
    from slurmsyncd.sinks.preview import BackendInfo
    from slurmsyncd.store.sqlite_store import SqliteStore

log = structlog.get_logger(__name__)

#: What an exchange under way gets after SIGTERM; systemd is told of it.
STOP_S = 25.0
#: How far back a restarted daemon looks up what was published: that proves nothing of the backend.
LOOK_UP_S = 86400.0


class Deliveries:
    """
    Everything that is told of runs.

    Attributes:
        nodes_down: Sink → cluster → why the sink took no node states, being in trouble as a whole.
    """

    def __init__(self, config: Config, store: SqliteStore, thread: StoreThread) -> None:
        self._config = config
        self._store = store
        self._thread = thread
        self.nodes_down: dict[str, dict[str, Outcome]] = {}
        self._sinks = sinks = [
            build_sink(sink, config.clusters, SystemClock()) for sink in config.sinks.values()
        ]
        self.deliveries = [self._delivery(sink, config.sinks[sink.name]) for sink in sinks]
        self._auditors = {
            sink.name: self._auditor(inventory, delivery, config.sinks[sink.name])
            for sink, delivery in zip(sinks, self.deliveries, strict=True)
            if config.sinks[sink.name].audit_interval and (inventory := build_inventory(sink))
        }

    def known(self) -> dict[str, BackendInfo]:
        """Return what was found out of the backends so far, by the name of the sink."""
        return {name: each.known for name, each in self._backends().items()}

    def token_expiries(self) -> dict[str, float | None]:
        """Return when the token of each backend expires (epoch seconds), by the name of the sink."""
        return {name: each.token_expires_at for name, each in self._backends().items()}

    def audits(self) -> dict[str, AuditResults]:
        """Return what the audits came to, by the name of the sink; one without audits is missing."""
        return {name: auditor.tally for name, auditor in self._auditors.items()}

    def _backends(self) -> dict[str, RestSink]:
        found = {sink.name: getattr(sink, "inventory", sink) for sink in self._sinks}
        return {name: each for name, each in found.items() if isinstance(each, RestSink)}

    def start(self, group: TaskGroup) -> None:
        """Deliver what is due, until told to stop."""
        for delivery in self.deliveries:
            group.start_soon(delivery.run, name=f"deliver-{delivery.sink.name}")

    def start_reports(
        self, group: TaskGroup, sources: Sequence[Source], has_looked: Callable[[str], bool]
    ) -> None:
        """Audit what the sinks hold, and report nodes, for as long as Slurm is looked at."""
        for auditor in self._auditors.values():
            group.start_soon(auditor.run, sources, has_looked)
        for delivery in self.deliveries:
            interval_s = self._config.sinks[delivery.sink.name].nodestate_interval
            if interval_s:
                down = self.nodes_down.setdefault(delivery.sink.name, {})
                report = partial(report_node_states, heard=delivery.heard)
                group.start_soon(report, sources, delivery.sink, interval_s, down)

    def wake(self) -> None:
        """Tell all that there is something new."""
        for delivery in self.deliveries:
            delivery.wake()

    async def drain_once(self) -> bool:
        """Send what is due. Returns whether every sink took its part."""
        async with anyio.create_task_group() as sending:
            for delivery in self.deliveries:
                sending.start_soon(lambda each: each.run(until_idle=True), delivery)
        await self.aclose()
        for delivery in self.deliveries:
            left = dict(self._store.counts(delivery.sink.name).states)
            log.info("drained", sink=delivery.sink.name, left=left)
        return not any(delivery.health.pause_reason for delivery in self.deliveries)

    async def finish(
        self, sending: TaskGroup, signals: AsyncIterator[signal.Signals], came: list[signal.Signals]
    ) -> None:
        """
        Let the exchanges under way end and be settled; a second signal or the deadline ends them.

        ``came`` gets the signals meanwhile: during a reload they may ask to stop, or for one reload more.
        """
        for delivery in self.deliveries:
            delivery.stop()
        async with anyio.create_task_group() as watching:
            watching.start_soon(_cancel_on_signal, sending.cancel_scope, signals, came)
            with anyio.move_on_after(STOP_S) as patience:
                for delivery in self.deliveries:
                    await delivery.finished.wait()
            if patience.cancelled_caught:
                log.warning(
                    "stopped_in_mid_exchange", hint="what was under way is sent again at the next start"
                )
                sending.cancel_scope.cancel()
            watching.cancel_scope.cancel()

    async def aclose(self) -> None:
        """Let go of connections."""
        for delivery in self.deliveries:
            await delivery.sink.aclose()

    def _auditor(self, sink: Inventory, delivery: DeliveryLoop, config: SinkConfig) -> Auditor:
        policy = AuditPolicy(
            interval_s=config.audit_interval,
            grace_s=config.audit_grace,
            settled_s=LOOK_UP_S if config.type == "nats" else 0.0,
        )
        return Auditor(
            sink,
            self._store,
            self._thread,
            policy,
            SystemClock(),
            repaired=delivery.wake,
            heard=delivery.heard,
        )

    def _delivery(self, sink: Sink, config: SinkConfig) -> DeliveryLoop:
        policy = DeliveryPolicy(
            backoff_s=config.backoff,
            backoff_max_s=config.backoff_max,
            park_interval_s=config.park_interval,
            stop_hold_s=stop_hold_s(config),
            not_yet_s=min(DeliveryPolicy().not_yet_s, config.stop_hold),
        )
        workers = {EventKind.START: config.start_workers, EventKind.STOP: config.stop_workers}
        told: Sink = sink
        if config.requeue == "replace" and (inventory := build_inventory(sink)):
            told = ReplacingSink(sink, inventory, self._store, self._thread, SystemClock())
        return DeliveryLoop(told, self._store, self._thread, policy, SystemClock(), workers=workers)


async def _cancel_on_signal(
    scope: anyio.CancelScope, signals: AsyncIterator[signal.Signals], came: list[signal.Signals]
) -> None:
    async for signum in signals:
        came.append(signum)
        if signum is not signal.SIGHUP:
            log.info("stopping", signal=signum.name)
            scope.cancel()
            return
