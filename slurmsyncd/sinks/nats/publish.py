"""Publishing of one message, at most once or until JetStream acknowledges it, with the outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import msgspec
import nats.errors

from slurmsyncd.delivery import Outcome, OutcomeKind
from slurmsyncd.foreign import MalformedJson, decode_json
from slurmsyncd.sinks.nats.connection import ConnectionFailed, sink_unavailable
from slurmsyncd.sinks.text import printable

if TYPE_CHECKING:
    from slurmsyncd.sinks.nats.connection import NatsConnection
    from slurmsyncd.sinks.nats.messages import NatsMessage

# No server responds while a stream elects a new leader.
_LEADERLESS_S = (0.25, 0.5)
_STREAM_FULL = frozenset({10077, 10047, 10048, 10023})
_TOO_LARGE = 10054
_WRONG_STREAM = 10060


class JetStreamError(msgspec.Struct):
    """An error response of JetStream."""

    code: int = 0
    err_code: int = 0
    description: str = ""


class _Ack(msgspec.Struct):
    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    error: JetStreamError | None = None


_decoder = msgspec.json.Decoder(_Ack)


async def publish_core(link: NatsConnection, message: NatsMessage) -> Outcome:
    """
    Publish and flush a message. Success means that the server has read it: at most once.

    Raises:
        ConnectionFailed: The server may not have read the message. The caller keeps it and sends it again.
    """
    await link.publish(message.subject, message.payload, message.headers)
    return Outcome(result=OutcomeKind.ACCEPTED, reason="published")


async def publish_stream(link: NatsConnection, message: NatsMessage, stream: str) -> Outcome:
    """
    Publish a message and wait until the stream acknowledges it as new or as a duplicate.

    Raises:
        ConnectionFailed: No acknowledgement. The caller keeps the message and resends it with the same id.
    """
    headers = {**message.headers, "Nats-Expected-Stream": stream}
    for wait_s in (*_LEADERLESS_S, None):
        try:
            answer = await link.request(message.subject, message.payload, headers)
        except nats.errors.NoRespondersError as err:
            if wait_s is None:
                detail = f"no stream takes {message.subject}; make one, or set manage_stream = true"
                raise sink_unavailable("no_stream", detail, alarm=True) from err
            await anyio.sleep(wait_s)
        else:
            return _judged(answer.data)
    raise AssertionError  # pragma: no cover - the last round returns or raises


def _judged(answer: bytes) -> Outcome:
    try:
        ack = decode_json(answer, _decoder)
    except MalformedJson as err:
        detail = "what answers on this subject is no stream; choose another subject"
        raise sink_unavailable("no_acknowledgement", detail, alarm=True) from err
    if ack.error is not None:
        return _refused(ack.error)
    if not ack.stream or ack.seq < 1:
        raise sink_unavailable("no_acknowledgement", "what answers on this subject is no stream", alarm=True)
    if ack.duplicate:
        return Outcome(result=OutcomeKind.ALREADY_DELIVERED, reason="duplicate")
    return Outcome(result=OutcomeKind.ACCEPTED, reason="stored")


def _refused(fault: JetStreamError) -> Outcome:
    detail = printable(f"{fault.description} ({fault.err_code})")
    if fault.err_code in _STREAM_FULL:
        return Outcome(result=OutcomeKind.FAILED, reason="stream_full", detail=detail, status=fault.code)
    if fault.err_code == _TOO_LARGE:
        return Outcome(result=OutcomeKind.REJECTED, reason="too_large", detail=detail, status=fault.code)
    if fault.err_code == _WRONG_STREAM:
        raise sink_unavailable("wrong_stream", f"{detail}; another stream takes this subject", alarm=True)
    return Outcome(result=OutcomeKind.FAILED, reason="stream_error", detail=detail, status=fault.code)


__all__ = ["ConnectionFailed", "JetStreamError", "publish_core", "publish_stream"]
