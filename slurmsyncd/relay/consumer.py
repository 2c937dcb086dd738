"""The client of a durable consumer: pulls messages, extends their deadlines and acknowledges them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import msgspec
import nats.errors
import structlog

from slurmsyncd.config.nats_rules import CLUSTER
from slurmsyncd.delivery import DeliveryPolicy, backoff
from slurmsyncd.errors import StoreError
from slurmsyncd.foreign import MalformedJson, decode_json
from slurmsyncd.pipeline.auto_reset_event import AutoResetEvent
from slurmsyncd.relay.decode import parse_message
from slurmsyncd.relay.in_flight import Ack, AckKind
from slurmsyncd.sinks.nats.connection import ConnectionFailed, sink_unavailable
from slurmsyncd.sinks.nats.connector import Connector
from slurmsyncd.sinks.nats.publish import JetStreamError  # noqa: TC001 - msgspec looks it up at run time
from slurmsyncd.sinks.nats.stream import ensure_stream, subjects_of
from slurmsyncd.sinks.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nats.aio.msg import Msg

    from slurmsyncd.config import SinkConfig
    from slurmsyncd.delivery import Outcome
    from slurmsyncd.relay.dead_letter_file import DeadLetterFile
    from slurmsyncd.relay.decode import StreamMessage
    from slurmsyncd.relay.in_flight import Capacity
    from slurmsyncd.sinks.nats.connection import NatsConnection

log = structlog.get_logger(__name__)

#: Acknowledgement deadline: without a sign of the relay, the stream then delivers a message to another relay.
ACK_WAIT_S = 60.0
#: Maximum number of messages that all relays together hold or have delayed.
MAX_ACK_PENDING = 100_000
#: Maximum number of messages of one pull, and the time that it stays open.
BATCH, EXPIRES_S = 64, 5.0
#: Time between two attempts while the file of dead letters is full.
FULL_S = 300.0

_API = "$JS.API.CONSUMER"
_NS = 10**9
_MARGIN_S = 2.0
_NOT_FOUND = 10014
_BACKOFF = DeliveryPolicy(backoff_s=0.5, backoff_max_s=15.0)
# The next message is larger than the remaining capacity.
_TOO_LARGE = "409 Message Size Exceeds MaxBytes"
# NATS 2.10 and later send this after a pull's last message. It may overtake messages, so they are counted.
_COMPLETED = "409 Batch Completed"
# No messages, or none in time: a pull usually ends like this.
_USUAL = ("404", "408", _TOO_LARGE)


class _Config(msgspec.Struct):
    """The settings of a consumer that the relay checks; -1 or 0 for no limit."""

    ack_policy: str = ""
    max_deliver: int = -1
    ack_wait: int = 0
    deliver_subject: str = ""
    filter_subject: str = ""


class _Reply(msgspec.Struct):
    config: _Config | None = None
    error: JetStreamError | None = None


_decoder = msgspec.json.Decoder(_Reply)


class Consumer:
    """
    The part of a relay that communicates with the stream.

    Args:
        config: Section of the NATS sink that fills the stream.
        durable: Name of the consumer, which all relays share; created if it is missing.
        letters: File that stores a dead letter before its message is acknowledged.
        take: Receives each message.
        room: Returns the number and bytes of messages that can still be accepted.
        held: Returns the held messages, whose deadlines are extended.
    """

    def __init__(
        self,
        config: SinkConfig,
        durable: str,
        letters: DeadLetterFile,
        *,
        take: Callable[[StreamMessage], None],
        room: Callable[[], Capacity],
        held: Callable[[], Sequence[StreamMessage]],
    ) -> None:
        self._config = config
        self._durable = durable
        self._letters = letters
        self._take = take
        self._room = room
        self._held = held
        self._connector = Connector(config, self._greet)
        self._link: NatsConnection | None = None
        self._stream = ""
        self._ack_wait_s = ACK_WAIT_S
        self._pulls = 0
        self._left = 0
        self._ended = anyio.Event()
        self._status = ""
        self._answers: list[Ack] = []
        self._to_answer = AutoResetEvent()
        self._wake = AutoResetEvent()
        self._trouble = ""

    def answer(self, answer: Ack) -> None:
        """Queue an acknowledgement. If it is lost, the stream delivers the message again."""
        self._answers.append(answer)
        self._to_answer.set()
        self._wake.set()

    async def run(self) -> None:
        """Pull until cancelled, and reconnect after every error."""
        failures = 0
        while True:
            try:
                self._link = await self._connector.link()
                self._note(None)
                failures = 0
                await self._session(self._link)
            except ConnectionFailed as err:
                self._note(err.outcome)
                failures += 1
            await anyio.sleep(backoff(failures, _BACKOFF, dice=random.random()))  # noqa: S311

    async def answer_forever(self) -> None:
        """Send queued acknowledgements to the stream until cancelled."""
        while True:
            await self._to_answer.wait(60.0)
            await self.flush()

    async def flush(self) -> None:
        """Send all queued acknowledgements to the stream."""
        while self._answers:
            answer = self._answers.pop(0)
            reply = answer.message.reply
            match answer.kind:
                case AckKind.SETTLED:
                    await self._tell(reply, b"+ACK")
                case AckKind.LATER:
                    await self._tell(reply, _later(answer.delay_s))
                case AckKind.DEAD:
                    await self._tell(reply, await self._write_dead_letter(answer))

    async def extend_ack_deadlines(self) -> None:
        """Periodically extend the acknowledgement deadline of all held messages. Runs until cancelled."""
        while True:
            await anyio.sleep(self._ack_wait_s / 3)
            for message in self._held():
                await self._tell(message.reply, b"+WPI")

    async def aclose(self) -> None:
        """Receive the messages in transit, send all acknowledgements and close the connection."""
        if self._link is not None and self._link.alive:
            await self._link.drain()
            await self.flush()
            await self._link.drain()
        await self._connector.aclose()

    async def _session(self, link: NatsConnection) -> None:
        """Pull while the connection lasts."""
        inbox = await link.subscribe(self._on_message)
        while link.alive:
            room = self._room()
            if room.messages > 0:
                await self._pull(link, inbox, room)
            else:
                await self._wake.wait(1.0)

    async def _pull(self, link: NatsConnection, inbox: str, room: Capacity) -> None:
        """Request messages, and wait until they have arrived or the stream reports that it has none."""
        # A message that exceeds the capacity is accepted alone; otherwise it would block all others.
        wanted = {"batch": min(room.messages, BATCH), "max_bytes": room.bytes}
        if self._status == _TOO_LARGE:
            wanted = {"batch": 1}
        wanted["expires"] = int(EXPIRES_S * _NS)
        self._pulls += 1
        self._left, self._ended, self._status = wanted["batch"], anyio.Event(), ""
        subject = f"{_API}.MSG.NEXT.{self._stream}.{self._durable}"
        await link.publish_unconfirmed(subject, msgspec.json.encode(wanted), f"{inbox}.{self._pulls}")
        with anyio.move_on_after(EXPIRES_S + _MARGIN_S):
            await self._ended.wait()
        if self._status and not self._status.startswith(_USUAL):
            # The consumer was deleted or is moving; the next connection handles both.
            await self._connector.aclose()
            raise sink_unavailable("no_pull", f"{self._durable}: {self._status}")

    async def _on_message(self, msg: Msg) -> None:
        """Process a message, or the status that ends a pull."""
        message = parse_message(msg.subject, msg.reply, msg.data)
        if message is not None:
            self._take(message)
            self._left -= 1
            if self._left <= 0:
                self._ended.set()
        elif msg.headers and msg.subject.endswith(f".{self._pulls}"):
            words = (msg.headers.get("Status", ""), msg.headers.get("Description", ""))
            status = printable(" ".join(words).strip(), 100)
            if status != _COMPLETED:
                self._status = status
                self._ended.set()

    async def _write_dead_letter(self, dead: Ack) -> bytes:
        message = dead.message
        try:
            await anyio.to_thread.run_sync(self._letters.write, dead)
        except StoreError as err:
            log.error("dead_letter_not_written", seq=message.seq, reason=str(err))  # noqa: TRY400 - one line
            return _later(FULL_S)
        names = {"stream": self._stream, "seq": message.seq, "subject": printable(message.subject, 200)}
        log.warning("dead_letter", **names, reason=dead.reason, detail=printable(dead.detail, 400))
        return b"+TERM"

    async def _tell(self, reply: str, word: bytes) -> None:
        if self._link is None or not self._link.alive:
            return
        try:
            await self._link.publish_unconfirmed(reply, word)
        except ConnectionFailed as err:
            self._note(err.outcome)

    async def _greet(self, link: NatsConnection) -> None:
        """Ensure that the stream and the consumer exist."""
        config = self._config
        self._stream = (await ensure_stream(link, config, subjects_of(config, ()))).name
        name = f"{self._stream}.{self._durable}"
        found = await _call(link, f"INFO.{name}")
        if found.error is not None and found.error.err_code == _NOT_FOUND:
            found = await _call(link, f"DURABLE.CREATE.{name}", self._wanted())
        if found.error is not None or found.config is None:
            said = printable(found.error.description) if found.error else "an answer without a configuration"
            raise sink_unavailable("no_consumer", f"{name}: {said}", alarm=True)
        if found.config.ack_policy != "explicit" or found.config.deliver_subject:
            detail = f"{name} is no pull consumer with explicit acknowledgements; choose another --consumer"
            raise sink_unavailable("wrong_consumer", detail, alarm=True)
        if found.config.max_deliver > 0:
            # A held stop or an outage would use up the deliveries.
            detail = f"{name} gives a message up after {found.config.max_deliver} deliveries"
            raise sink_unavailable(
                "wrong_consumer", f"{detail}; make it anew with max_deliver = -1", alarm=True
            )
        self._ack_wait_s = max(1.0, found.config.ack_wait / _NS)

    def _wanted(self) -> dict[str, object]:
        return {
            "stream_name": self._stream,
            "config": {
                "durable_name": self._durable,
                "ack_policy": "explicit",
                "ack_wait": int(ACK_WAIT_S * _NS),
                "deliver_policy": "all",
                "replay_policy": "instant",
                "max_deliver": -1,
                "max_ack_pending": MAX_ACK_PENDING,
                "filter_subject": self._config.job_subject.replace(CLUSTER, "*"),
            },
        }

    def _note(self, outcome: Outcome | None) -> None:
        """Log when the stream becomes unavailable and when it recovers, but no repetition in between."""
        reason = "" if outcome is None else outcome.reason
        if outcome is not None and reason != self._trouble:
            level = log.error if outcome.action_required else log.warning
            level("stream_unavailable", source=self._config.name, reason=reason, detail=outcome.detail)
        elif outcome is None and self._trouble:
            log.info("stream_available_again", source=self._config.name)
        self._trouble = reason


def _later(delay_s: float) -> bytes:
    return b"-NAK " + msgspec.json.encode({"delay": int(delay_s * _NS)})


async def _call(link: NatsConnection, what: str, body: dict[str, object] | None = None) -> _Reply:
    try:
        answer = await link.request(f"{_API}.{what}", msgspec.json.encode(body) if body else b"")
        return decode_json(answer.data, _decoder)
    except nats.errors.NoRespondersError as err:
        raise sink_unavailable("no_jetstream", "nobody answers for JetStream", alarm=True) from err
    except MalformedJson as err:
        raise sink_unavailable("no_jetstream", f"its answer is not understood: {err}", alarm=True) from err
