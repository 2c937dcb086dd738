"""The relay process: delivers the messages of a stream by the rules of the daemon."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import anyio
import anyio.lowlevel
import structlog

from slurmsyncd import __version__
from slurmsyncd.clock import SystemClock
from slurmsyncd.delivery import DeliveryPolicy
from slurmsyncd.host.sd_notify import ServiceManager
from slurmsyncd.model import EventKind
from slurmsyncd.pipeline.deliver import DeliveryLoop
from slurmsyncd.pipeline.store_thread import StoreThread
from slurmsyncd.relay.consumer import Consumer
from slurmsyncd.relay.dead_letter_file import DeadLetterFile
from slurmsyncd.relay.decode import parse_entry
from slurmsyncd.relay.in_flight import Ack, AckKind, InFlight
from slurmsyncd.relay.ordered_sink import OrderedSink
from slurmsyncd.sinks.nats.event import BadEvent
from slurmsyncd.sinks.rest.sink import RestSink

if TYPE_CHECKING:
    import signal
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from slurmsyncd.config import Config, SinkConfig
    from slurmsyncd.relay.decode import StreamMessage
    from slurmsyncd.relay.in_flight import Capacity

log = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

#: Time that an attempt in flight gets after SIGTERM.
STOP_S = 25.0
#: Time between two checks whether the backend is still unreachable.
LOOK_S = 10.0
#: Delay of a message that returns to the stream after a backend in a suspected failure rejected it.
REJECTED_S = 60.0
#: The stream counts the attempts of all relays, also during outages, so their number never parks a delivery.
_NEVER = 10**9


class _Here(StoreThread):
    """A store thread that calls directly, since the relay keeps its messages in memory."""

    async def __call__(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        await anyio.lowlevel.checkpoint()
        return call(*args, **kwargs)


class Relay:
    """
    A relay from one stream to one backend.

    Args:
        config: The complete configuration.
        source: Section of the NATS sink that fills the stream.
        target: Section of the backend.
        durable: Name of the consumer.
        letters: File of the dead letters.

    Raises:
        ConfigError: A file that the configuration names cannot be used.
    """

    def __init__(
        self, config: Config, source: SinkConfig, target: SinkConfig, durable: str, letters: Path
    ) -> None:
        self._target = target
        self._job_subject = source.job_subject
        self._stopping = False
        self.hand = InFlight(self._answer)
        self.consumer = Consumer(
            source,
            durable,
            DeadLetterFile(letters),
            take=self._take,
            room=self._room,
            held=self.hand.messages,
        )
        clock = SystemClock()
        sink = OrderedSink(
            RestSink(replace(target, requeue="keep-first"), config.clusters, clock), config.clusters
        )
        workers = {EventKind.START: target.start_workers, EventKind.STOP: target.stop_workers}
        self.delivery = DeliveryLoop(sink, self.hand, _Here(), policy(target), clock, workers=workers)

    async def run(self, signals: AsyncIterator[signal.Signals]) -> None:
        """Relay until a signal arrives; then finish attempts in flight and return all other messages."""
        async with anyio.create_task_group() as sending:
            sending.start_soon(self.delivery.run)
            sending.start_soon(self.consumer.answer_forever)
            async with anyio.create_task_group() as taking:
                for part in (self.consumer.run, self.consumer.extend_ack_deadlines, self._watch):
                    taking.start_soon(part)
                log.info("ready", version=__version__, sink=self._target.name)
                ServiceManager().ready()
                log.info("stopping", signal=await anext(aiter(signals)))
                taking.cancel_scope.cancel()
            await self._finish(signals)
            sending.cancel_scope.cancel()
        self.hand.release()
        await self.consumer.aclose()
        await self.delivery.sink.aclose()

    async def _finish(self, signals: AsyncIterator[signal.Signals]) -> None:
        """Wait for attempts in flight. A second signal or the deadline cancels them."""
        self._stopping = True
        self.delivery.stop()

        async def hurry() -> None:
            await anext(aiter(signals))
            group.cancel_scope.cancel()

        with anyio.move_on_after(STOP_S):
            async with anyio.create_task_group() as group:
                group.start_soon(hurry)
                await self.delivery.finished.wait()
                group.cancel_scope.cancel()

    def _take(self, message: StreamMessage) -> None:
        if self._stopping:
            self._answer(Ack(message, AckKind.LATER, 0.0))
            return
        try:
            entry = parse_entry(message, self._target.name, self._job_subject)
        except BadEvent as err:
            self._answer(Ack(message, AckKind.DEAD, reason="not_understood", detail=str(err)))
            return
        self.hand.add(message, entry)
        self.delivery.wake()

    def _room(self) -> Capacity:
        room = self.hand.room
        # One message is enough to probe an unreachable backend; another relay may reach the backend.
        return replace(room, messages=1 - len(self.hand)) if self.delivery.health.down.reason else room

    def _answer(self, answer: Ack) -> None:
        self.consumer.answer(answer)

    async def _watch(self) -> None:
        """Release held messages to other relays while this relay cannot reach the backend."""
        before: Any = None
        while True:
            await anyio.sleep(LOOK_S)
            since = self.delivery.health.pause.since
            if since is not None and since == before:
                self._let_go()
            before = since

    def _let_go(self) -> None:
        if self.delivery.health.down.reason:
            self.hand.release(keep=1)
        else:  # what the backend rejects must make room for what it may accept
            self.hand.release(delay_s=REJECTED_S)


def policy(target: SinkConfig) -> DeliveryPolicy:
    """Return the delivery policy of a relay for a backend."""
    return DeliveryPolicy(
        backoff_s=target.backoff,
        backoff_max_s=target.backoff_max,
        park_interval_s=target.park_interval,
        park_after=_NEVER,
        stop_hold_s=target.stop_hold,
        not_yet_s=max(1.0, min(DeliveryPolicy().not_yet_s, target.stop_hold)),
        start_resends=_NEVER,
        park_rejected_after=_NEVER,
        dead_after=_NEVER,
    )
