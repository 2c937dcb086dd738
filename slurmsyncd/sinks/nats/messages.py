"""NATS messages of an event: subject, headers and payload, cut to the server's size limit. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Union

from slurmsyncd.config.nats_rules import CLUSTER, TOKEN
from slurmsyncd.model import EventKind
from slurmsyncd.sinks.bodies import (
    BodyOptions,
    NotRepresentable,
    RequestBody,
    backend_cluster_name,
    nodes_body,
    start_body,
    stop_body,
)
from slurmsyncd.sinks.nats.event import JOB_START, JOB_STOP, NODES, headers, job_event, nodes_event
from slurmsyncd.sinks.nats.line_protocol import job_line, message_id, nodes_line
from slurmsyncd.sinks.resources import Note

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from slurmsyncd.config import ClusterConfig
    from slurmsyncd.model import Job, NodeState, OutboxEntry, RunKey
    from slurmsyncd.sinks.topology import Topology

#: Kind in the id of a message that holds a short run's start and stop.
BOTH = "run"

# How near to the limit a script is cut, in bytes.
_STEP = 256


@dataclass(frozen=True, slots=True)
class NatsMessage:
    """
    A message that is ready to be published.

    Attributes:
        notes: Parts that were omitted.
    """

    subject: str
    payload: bytes
    headers: dict[str, str]
    notes: tuple[Note, ...] = ()

    @property
    def size(self) -> int:
        """Bytes that count towards the server's limit."""
        return len(self.payload) + headers_size(self.headers)


@dataclass(frozen=True, slots=True)
class MessageFormat:
    """
    Options for building messages.

    Attributes:
        limit: Largest message that the server accepts, in bytes.
        host: Name of this host, for the tag of a line.
    """

    job_subject: str
    node_subject: str
    script_limit: int
    limit: int
    host: str = ""


def headers_size(found: dict[str, str]) -> int:
    """Return the encoded size of headers in bytes; the server counts them with the payload."""
    lines = sum(len(key) + len(value.encode()) + 4 for key, value in found.items())
    return lines + len("NATS/1.0\r\n\r\n") if found else 0


def subject(template: str, cluster: str) -> str | NotRepresentable:
    """Return the subject of a cluster. A name that would not be exactly one token of it is rejected."""
    if CLUSTER in template and not TOKEN.fullmatch(cluster):
        detail = f"{cluster[:80]!a} cannot be part of a subject; set backend_name to letters, digits, _ and -"
        return NotRepresentable("bad_cluster", detail)
    return template.replace(CLUSTER, cluster)


def job_json(
    entry: OutboxEntry, config: ClusterConfig, form: MessageFormat
) -> NatsMessage | NotRepresentable:
    """Return the message with the JSON event of an outbox entry."""
    step, start, stop = entry.kind, entry.start, entry.stop
    cluster = backend_cluster_name(start.key.cluster, config)
    where = _checked(start.key, cluster, form)
    if isinstance(where, NotRepresentable):
        return where
    key = replace(start.key, cluster=cluster)
    kind, at = (JOB_START, key.start_at) if step is EventKind.START else (JOB_STOP, _end(entry))
    head = _identified(headers(kind, cluster, at, message_id(key, step.value)), key, step.value)

    def make(script_limit: int, *, slim: bool) -> NatsMessage:
        told = replace(start, comment="", submit_line="") if slim else start
        ended = replace(stop, comment="", submit_line="") if slim and stop else stop
        return NatsMessage(where, job_event(step, told, ended, cluster, script_limit), head)

    return _fitted(make, start, form)


def job_lines(
    steps: Sequence[EventKind],
    entry: OutboxEntry,
    config: ClusterConfig,
    topology: Topology,
    form: MessageFormat,
) -> NatsMessage | NotRepresentable:
    """Return the message with a start, a stop or both in line protocol, in this order."""
    key = replace(entry.start.key, cluster=backend_cluster_name(entry.start.key.cluster, config))
    where = _checked(key, key.cluster, form)
    if isinstance(where, NotRepresentable):
        return where
    head = _identified({}, key, BOTH if len(steps) > 1 else steps[0].value)

    def make(script_limit: int, *, slim: bool) -> NatsMessage | NotRepresentable:
        options = BodyOptions(script_limit=script_limit, without_long_texts=slim)
        lines, notes = b"", list[Note]()
        for step in steps:
            body = _body(replace(entry, kind=step), config, topology, options)
            if isinstance(body, NotRepresentable):
                return body
            at = key.start_at if step is EventKind.START else _end(entry)
            lines += job_line(step, body.content, at, host=form.host, partition=entry.start.partition or "")
            notes += body.notes
        return NatsMessage(where, lines, head, tuple(notes))

    return _fitted(make, entry.start, form)


def nodes_message(
    cluster: str, nodes: Sequence[NodeState], config: ClusterConfig, form: MessageFormat, *, cc: bool, at: int
) -> NatsMessage | NotRepresentable:
    """Return the message with the node states of a cluster, in the sink's format."""
    name = backend_cluster_name(cluster, config)
    where = subject(form.node_subject, name)
    if isinstance(where, NotRepresentable):
        return where
    if cc:
        message = NatsMessage(where, nodes_line(nodes_body(cluster, nodes, config).content, at), {})
    else:
        head = headers(NODES, name, at, f"{name}.nodes.{at}")
        message = NatsMessage(where, nodes_event(name, tuple(nodes), at), head)
    return message if message.size <= form.limit else _too_large(message, form)


def _checked(key: RunKey, cluster: str, form: MessageFormat) -> str | NotRepresentable:
    if key.job_id < 1 or key.start_at < 1:
        return NotRepresentable("bad_key", f"{key.job_id} {key.start_at}"[:80])
    if not TOKEN.fullmatch(cluster):
        # The name is also part of the message id, which is a header.
        return subject(CLUSTER, cluster)
    return subject(form.job_subject, cluster)


def _identified(head: dict[str, str], key: RunKey, kind: str) -> dict[str, str]:
    return {**head, "Nats-Msg-Id": message_id(key, kind)}


def _end(entry: OutboxEntry) -> int:
    return (entry.stop and entry.stop.end_at) or entry.start.key.start_at


def _body(
    entry: OutboxEntry, config: ClusterConfig, topology: Topology, options: BodyOptions
) -> Union[RequestBody, NotRepresentable]:
    if entry.kind is EventKind.START:
        return start_body(entry.start, config, topology, options, entry.stop)
    assert entry.stop is not None
    return stop_body(entry.start, entry.stop, config, options)


def _fitted(
    make: Callable[..., NatsMessage | NotRepresentable], start: Job, form: MessageFormat
) -> NatsMessage | NotRepresentable:
    """Return the message with as much of the script as fits the limit, otherwise without long texts."""
    best = make(form.script_limit, slim=False)
    if isinstance(best, NotRepresentable) or best.size <= form.limit:
        return best
    best = make(0, slim=False)
    if isinstance(best, NatsMessage) and best.size > form.limit:
        best = make(0, slim=True)
    if isinstance(best, NotRepresentable) or best.size > form.limit:
        return best if isinstance(best, NotRepresentable) else _too_large(best, form)
    fits, too_long = 0, min(form.script_limit, 4 * len(start.script or ""))
    while too_long - fits > _STEP:
        length = (fits + too_long) // 2
        tried = make(length, slim=False)
        if isinstance(tried, NatsMessage) and tried.size <= form.limit:
            fits, best = length, tried
        else:
            too_long = length
    return best


def _too_large(message: NatsMessage, form: MessageFormat) -> NotRepresentable:
    detail = f"{message.size} bytes without script; the server takes {form.limit}: raise max_payload there"
    return NotRepresentable("too_large", detail)
