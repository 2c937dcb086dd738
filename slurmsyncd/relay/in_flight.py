"""
The messages that a relay holds: the outbox of its delivery, and the acknowledgement of each message.

The relay holds a message during an attempt and while its next attempt is near. Every other message returns to
the stream with the delay until its next attempt. There it survives the relay and uses no memory of the relay.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from slurmsyncd.delivery import DeadLetter, Delivered, Drop, Park, ResendStart, Retry
from slurmsyncd.model import EventKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from slurmsyncd.delivery import Verdict
    from slurmsyncd.model import OutboxEntry
    from slurmsyncd.relay.decode import StreamMessage

#: Maximum number and bytes of held messages. A parsed run on many nodes needs up to twenty times its bytes.
MOST, MOST_BYTES = 256, 4 * 2**20
#: A message whose next attempt is due within this time stays in the relay.
NEAR_S = 5.0
#: Shortest time for which a message goes back.
LEAST_S = 1.0


class AckKind(enum.Enum):
    """The kind of an acknowledgement to the stream."""

    SETTLED = "settled"
    LATER = "later"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Ack:
    """
    An acknowledgement of one message.

    Attributes:
        delay_s: For LATER: time until the stream delivers the message again, in seconds.
        reason: For DEAD: why the message is never delivered again.
    """

    message: StreamMessage
    kind: AckKind
    delay_s: float = 0.0
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Capacity:
    """The number and bytes of messages that a relay can still accept."""

    messages: int
    bytes: int


@dataclass(slots=True)
class _Held:
    message: StreamMessage
    entry: OutboxEntry
    due_at: float


class InFlight:
    """
    The held messages by sequence number in the stream; implements ``ports.OutboxReader``.

    Args:
        answer: Receives each acknowledgement for the stream.
    """

    def __init__(self, answer: Callable[[Ack], None]) -> None:
        self._answer = answer
        self._held: dict[int, _Held] = {}
        self._bytes = 0

    @property
    def room(self) -> Capacity:
        """The number and bytes of messages that can still be accepted."""
        left = MOST_BYTES - self._bytes
        return Capacity(MOST - len(self._held) if left > 0 else 0, max(0, left))

    def __len__(self) -> int:
        return len(self._held)

    def add(self, message: StreamMessage, entry: OutboxEntry) -> None:
        """Hold a message. If it is already held, use the reply subject of this newer delivery."""
        held = self._held.get(message.seq)
        if held is not None:
            held.message = message
            return
        self._held[message.seq] = _Held(message, entry, 0.0)
        self._bytes += len(message.body)

    def messages(self) -> list[StreamMessage]:
        """Return all held messages."""
        return [held.message for held in self._held.values()]

    def release(self, keep: int = 0, *, delay_s: float = LEAST_S) -> None:
        """Return messages to the stream, except ``keep``; unfinished work on them is repeated."""
        for held in list(self._held.values())[keep:]:
            self._leave(held, AckKind.LATER, delay_s=delay_s)

    def due(
        self,
        sink: str,  # noqa: ARG002 - there is but one
        step: EventKind,
        now: float,
        limit: int,
        in_flight: Iterable[int] = (),
        *,
        newest_first: bool = False,
    ) -> Sequence[OutboxEntry]:
        """Return the entries that may be delivered now."""
        flying = set(in_flight)
        found = [held for seq, held in self._in_turn(step) if held.due_at <= now and seq not in flying]
        found.sort(key=lambda held: (held.due_at, held.entry.id), reverse=newest_first)
        return [held.entry for held in found[:limit]]

    def next_due_at(
        self,
        sink: str,  # noqa: ARG002 - there is but one
        step: EventKind,
        now: float,  # noqa: ARG002 - held messages wait for their time only
        in_flight: Iterable[int] = (),
    ) -> float | None:
        """Return the time when the next entry is due."""
        flying = set(in_flight)
        waiting = (held.due_at for seq, held in self._in_turn(step) if seq not in flying)
        return min(waiting, default=None)

    def _in_turn(self, step: EventKind) -> list[tuple[int, _Held]]:
        """Return the held messages of one kind; of each job id only the earliest start."""
        held = [(seq, each) for seq, each in self._held.items() if each.entry.kind is step]
        if step is EventKind.STOP:
            return held
        first: dict[tuple[str, int], int] = {}
        for _, each in held:
            key = each.entry.start.key
            job = (key.cluster, key.job_id)
            first[job] = min(key.start_at, first.get(job, key.start_at))
        starts = [(pair, pair[1].entry.start.key) for pair in held]
        return [pair for pair, key in starts if first[key.cluster, key.job_id] == key.start_at]

    def settle(self, verdicts: Sequence[tuple[OutboxEntry, Verdict]], now: float) -> None:
        """Apply decisions. One about a released message has no effect, since another relay retries it."""
        for entry, verdict in verdicts:
            if (held := self._held.get(entry.id)) is not None:
                self._carry_out(held, verdict, now)

    def hasten(self, ids: Iterable[int], now: float) -> None:
        """Make held messages due before their next attempt."""
        for id_ in ids:
            if (held := self._held.get(id_)) is not None:
                held.due_at = min(held.due_at, now)

    def _carry_out(self, held: _Held, verdict: Verdict, now: float) -> None:
        match verdict:
            case Delivered(next_at=next_at) if (
                held.entry.kind is EventKind.START and held.entry.stop is not None
            ):
                # This was the start that was rebuilt from a stop; the stop comes next.
                self._move(held, EventKind.STOP, next_at, now)
            case Delivered() | Drop():
                self._leave(held, AckKind.SETTLED)
            case Retry(at, charged=False):
                held.due_at = at  # a failure of the backend, which other relays see as well
            case Retry(at):
                self._move(held, held.entry.kind, at, now)
            case Park(at):
                self._leave(held, AckKind.LATER, delay_s=max(LEAST_S, at - now))
            case ResendStart(at):
                self._move(held, EventKind.START, at, now)
            case DeadLetter(reason, detail):
                self._leave(held, AckKind.DEAD, reason=reason, detail=detail)

    def _move(self, held: _Held, step: EventKind, at: float, now: float) -> None:
        if at - now > NEAR_S:
            self._leave(held, AckKind.LATER, delay_s=at - now)
            return
        held.entry = replace(held.entry, kind=step, attempts=held.entry.attempts + 1)
        held.due_at = at

    def _leave(
        self, held: _Held, kind: AckKind, *, delay_s: float = 0.0, reason: str = "", detail: str = ""
    ) -> None:
        del self._held[held.message.seq]
        self._bytes -= len(held.message.body)
        self._answer(Ack(held.message, kind, delay_s, reason, detail))
