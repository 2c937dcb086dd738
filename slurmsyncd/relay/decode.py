"""Parsing of stream messages into outbox entries. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from slurmsyncd.config.nats_rules import CLUSTER
from slurmsyncd.model import EventKind, JobState, OutboxEntry, RunStarted
from slurmsyncd.sinks.nats.event import BadEvent, read_event

if TYPE_CHECKING:
    from slurmsyncd.model import Event, Job


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamMessage:
    """
    One message as received from the stream.

    Attributes:
        seq: Sequence number in the stream, the same at each delivery of the message.
        delivery_count: Number of deliveries to any relay, including this one.
        stored_at: Time when the stream stored the message, in seconds since the epoch.
        reply: Subject for the acknowledgement of the message.
    """

    seq: int
    delivery_count: int
    stored_at: float
    reply: str
    subject: str
    body: bytes


_ACK = "$JS.ACK."
# $JS.ACK.<stream>.<consumer>.<given>.<stream seq>.<consumer seq>.<ns>.<pending>; newer servers put
# domain and account in front, and may put a token behind.
_FIELDS, _LONG_FIELDS = 9, 11


def parse_message(subject: str, reply: str, body: bytes) -> StreamMessage | None:
    """Parse a message of a stream; return None for any other message."""
    words = reply.split(".")
    if not reply.startswith(_ACK) or len(words) not in (_FIELDS, _LONG_FIELDS, _LONG_FIELDS + 1):
        return None
    given, seq, _, stored_ns, *_ = words[4:] if len(words) == _FIELDS else words[6:]
    if not (given.isdecimal() and seq.isdecimal() and stored_ns.isdecimal()):
        return None
    return StreamMessage(
        seq=int(seq),
        delivery_count=int(given),
        stored_at=int(stored_ns) / 1e9,
        reply=reply,
        subject=subject,
        body=body,
    )


def parse_entry(message: StreamMessage, sink: str, job_subject: str) -> OutboxEntry:
    """
    Parse a stream message into an outbox entry.

    Args:
        message: Message as received.
        sink: Name of the sink.
        job_subject: Template of the subject. A publisher for one cluster must not report runs of another.

    Raises:
        BadEvent: Not an event, or an event of an unsupported version or of another cluster.
    """
    event = read_event(message.body)
    if message.subject != job_subject.replace(CLUSTER, event.job.key.cluster):
        raise BadEvent(f"of cluster {event.job.key.cluster}, on the subject of another")
    starts = isinstance(event, RunStarted)
    return OutboxEntry(
        id=message.seq,
        sink=sink,
        kind=EventKind.START if starts else EventKind.STOP,
        start=event.job if starts else _began(event),
        stop=None if starts else event.job,
        attempts=message.delivery_count - 1,
        recorded_at=message.stored_at,
        trigger=event.trigger,
    )


def _began(event: Event) -> Job:
    """Return the run as it was at its start."""
    return replace(event.job, state=JobState.RUNNING, end_at=None, exit_code="")
