"""The JetStream stream of a sink: found or created, and checked on every new connection."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import nats.errors

from slurmsyncd.config.nats_rules import CLUSTER
from slurmsyncd.foreign import MalformedJson, decode_json
from slurmsyncd.sinks.nats.connection import sink_unavailable
from slurmsyncd.sinks.nats.publish import JetStreamError  # noqa: TC001 - msgspec looks it up at run time
from slurmsyncd.sinks.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from slurmsyncd.config import SinkConfig
    from slurmsyncd.sinks.nats.connection import NatsConnection

_API = "$JS.API.STREAM"
_NS = 1_000_000_000
_NOT_FOUND = 10059
_NOT_NOW = 503
_KEPT_S = 7 * 86400
_ROOM = 16384  # bytes of a start without its script, on some nodes
_REPLICAS = 3


class StreamConfig(msgspec.Struct):
    """The settings of a stream that the sink checks; times in nanoseconds, -1 or 0 for no limit."""

    name: str = ""
    subjects: tuple[str, ...] = ()
    retention: str = "limits"
    discard: str = "old"
    max_msgs: int = -1
    max_msgs_per_subject: int = -1
    max_bytes: int = -1
    max_age: int = 0
    max_msg_size: int = -1
    duplicate_window: int = 0
    no_ack: bool = False


class _Reply(msgspec.Struct):
    config: StreamConfig | None = None
    streams: tuple[str, ...] | None = None
    error: JetStreamError | None = None


_decoder = msgspec.json.Decoder(_Reply)


def longest_retry_s(config: SinkConfig) -> int:
    """Return the longest time between two attempts of one event while the daemon runs, in seconds."""
    return math.ceil(max(config.backoff_max, config.park_interval * 1.25) + config.timeout)


def subject_covers(pattern: str, subject: str) -> bool:
    """Return whether ``pattern`` matches every subject that ``subject`` can stand for."""
    ours = subject.split(".")
    theirs = pattern.split(".")
    for index, word in enumerate(theirs):
        if word == ">":
            return len(ours) > index
        if index >= len(ours) or word not in ("*", ours[index]):
            return False
    return len(theirs) == len(ours)


def stream_warnings(found: StreamConfig, config: SinkConfig, subjects: Sequence[str]) -> Iterator[str]:
    """Yield a warning, with its remedy, for each setting of the stream that may lose events."""
    edit = f"nats stream edit {found.name}"
    for subject in subjects:
        if not any(subject_covers(pattern, subject) for pattern in found.subjects):
            yield f"does not take all of {subject}: add it ({edit} --subjects)"
    longest_s = longest_retry_s(config)
    if found.duplicate_window < longest_s * _NS:
        yield (
            f"forgets a message's id after {found.duplicate_window / _NS:g} s, but it may be sent again "
            f"after {longest_s} s and would be stored twice: {edit} --dupe-window={longest_s}s"
        )
    limits = (found.max_msgs, found.max_bytes, found.max_msgs_per_subject)
    if found.discard != "new" and any(limit > 0 for limit in limits):
        yield f"drops its oldest events when it is full: {edit} --discard=new, or remove its limits"
    if found.retention != "limits":
        yield f"keeps events only while a consumer wants them (retention {printable(found.retention, 20)})"
    if 0 < found.max_msg_size < config.script_limit + _ROOM:
        yield f"takes messages up to {found.max_msg_size} bytes: longer scripts are cut; raise max_msg_size"


def subjects_of(config: SinkConfig, clusters: Sequence[str]) -> list[str]:
    """Return the subjects of starts and stops. A cluster whose name only Slurm knows becomes a wildcard."""
    return list(dict.fromkeys(config.job_subject.replace(CLUSTER, name) for name in clusters or ("*",)))


async def ensure_stream(link: NatsConnection, config: SinkConfig, subjects: Sequence[str]) -> StreamConfig:
    """
    Return the stream that stores the sink's events. Create it if it is missing and ``manage_stream`` is set.

    Raises:
        ConnectionFailed: There is no such stream, or it does not acknowledge messages.
    """
    name = config.stream or await _find(link, subjects[0])
    found = await _call(link, f"INFO.{name}")
    if found.error is not None and found.error.err_code == _NOT_FOUND and config.manage_stream:
        found = await _call(link, f"CREATE.{name}", stream_config(config, subjects))
    if found.error is not None or found.config is None:
        raise _none(name, found.error)
    if found.config.no_ack:
        raise sink_unavailable(
            "stream_without_acks", f"{name} acknowledges nothing; make it without no_ack", alarm=True
        )
    return found.config


def stream_config(config: SinkConfig, subjects: Sequence[str]) -> dict[str, Any]:
    """Return the settings of a new stream: it keeps messages for a week, and rejects new ones when full."""
    return {
        "name": config.stream,
        "subjects": list(subjects),
        "retention": "limits",
        "discard": "new",
        "storage": "file",
        "max_consumers": -1,
        "max_msgs": -1,
        "max_bytes": -1,
        "max_age": _KEPT_S * _NS,
        "num_replicas": _REPLICAS if len(config.servers) >= _REPLICAS else 1,
        "duplicate_window": min(longest_retry_s(config), _KEPT_S) * _NS,
    }


async def _find(link: NatsConnection, subject: str) -> str:
    reply = await _call(link, "NAMES", {"subject": subject})
    if reply.error is not None:
        raise _none(subject, reply.error)
    if not reply.streams:
        raise sink_unavailable(
            "no_stream", f"none takes {subject}; make one, or set stream and manage_stream", alarm=True
        )
    return reply.streams[0]


def _none(name: str, fault: JetStreamError | None) -> Exception:
    said = printable(fault.description) if fault else "an answer without a configuration"
    if fault is not None and fault.code == _NOT_NOW:
        return sink_unavailable(
            "jetstream_unavailable", f"{name}: {said}"
        )  # no leader yet: resolves without an operator
    return sink_unavailable("no_stream", f"{name}: {said}; make it, or set manage_stream = true", alarm=True)


async def _call(link: NatsConnection, what: str, body: dict[str, Any] | None = None) -> _Reply:
    try:
        answer = await link.request(f"{_API}.{what}", msgspec.json.encode(body) if body else b"")
    except nats.errors.NoRespondersError as err:
        detail = 'the server has no JetStream for this account; enable it there, or set mode = "core"'
        raise sink_unavailable("no_jetstream", detail, alarm=True) from err
    try:
        return decode_json(answer.data, _decoder)
    except MalformedJson as err:
        raise sink_unavailable("no_jetstream", f"its answer is not understood: {err}", alarm=True) from err
