"""The NATS sink: publishes events in cc-backend's line protocol or as JSON, by core NATS or JetStream."""

from __future__ import annotations

import socket
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING

import structlog

from slurmsyncd.delivery import Outcome, OutcomeKind
from slurmsyncd.model import EventKind
from slurmsyncd.sinks.bodies import NotRepresentable, backend_cluster_name, backend_stop_state
from slurmsyncd.sinks.dialect import V1_5
from slurmsyncd.sinks.filter import cluster_section, skip_reason
from slurmsyncd.sinks.nats.connection import ConnectionFailed, NatsConnection
from slurmsyncd.sinks.nats.connector import Connector
from slurmsyncd.sinks.nats.messages import MessageFormat, NatsMessage, job_json, job_lines, nodes_message
from slurmsyncd.sinks.nats.publish import publish_core, publish_stream
from slurmsyncd.sinks.nats.stream import StreamConfig, ensure_stream, stream_warnings, subjects_of
from slurmsyncd.sinks.text import printable
from slurmsyncd.sinks.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slurmsyncd.config import ClusterConfig, SinkConfig
    from slurmsyncd.model import Job, NodeState, OutboxEntry, RunKey
    from slurmsyncd.ports import Clock
    from slurmsyncd.sinks.rest.sink import RestSink

log = structlog.get_logger(__name__)

#: Short runs whose stop was published with the start and is not settled yet. A forgotten one is sent twice.
_REMEMBERED = 10_000
#: Bytes kept free for the header that names the stream.
_STREAM_HEADER = 128


class NatsSink:
    """
    A sink that publishes to one NATS cluster.

    Args:
        config: Section of the sink.
        clusters: Sections of clusters by Slurm's name; a cluster without a section has no special settings.
        clock: Time of node states.
        backend: The cc-backend behind NATS, for its topology and its audit; None if it cannot be queried.

    Attributes:
        notes: How often each kind of note was made, for metrics.

    Raises:
        ConfigError: A certificate or key cannot be used.
    """

    def __init__(
        self,
        config: SinkConfig,
        clusters: Mapping[str, ClusterConfig],
        clock: Clock,
        *,
        backend: RestSink | None = None,
    ) -> None:
        self._config = config
        self._clusters = clusters
        self._clock = clock
        self._backend = backend
        self._connector = Connector(config, self._look_around)
        self._stream: StreamConfig | None = None
        self._said: set[str] = set()
        self._sent_whole: OrderedDict[RunKey, None] = OrderedDict()
        self.notes: Counter[str] = Counter()

    @property
    def name(self) -> str:
        """Name of the sink's section in the configuration."""
        return self._config.name

    @property
    def inventory(self) -> RestSink | None:
        """The REST sink that lists the backend's runs; None if the backend cannot be queried."""
        return self._backend

    async def deliver(self, entry: OutboxEntry) -> Outcome:
        """Publish one event of one run. Errors of the server are returned as outcomes, never raised."""
        out = skip_reason(entry.start, self._clusters)
        if out is not None:
            return out
        if entry.kind is EventKind.STOP and entry.start.key in self._sent_whole:
            del self._sent_whole[entry.start.key]
            return Outcome(result=OutcomeKind.ALREADY_DELIVERED, reason="sent_with_start")
        if entry.kind is EventKind.STOP and self._config.format == "cc" and self._backend is not None:
            held = await self._backend.hold_back(entry)
            if held is not None:
                return held
        try:
            return await self._deliver(entry)
        except ConnectionFailed as err:
            return err.outcome

    async def send_node_states(self, cluster: str, nodes: Sequence[NodeState]) -> Outcome:
        """Publish the node states of a cluster at most once; the next report replaces a lost one."""
        try:
            link = await self._connector.link()
            message = nodes_message(
                cluster,
                nodes,
                cluster_section(cluster, self._clusters),
                self._form(link),
                cc=self._config.format == "cc",
                at=int(self._clock.now()),
            )
            return (
                _refused(message)
                if isinstance(message, NotRepresentable)
                else await publish_core(link, message)
            )
        except ConnectionFailed as err:
            return err.outcome

    async def probe(self) -> Outcome:
        """Return whether the server would accept events now. Publishes nothing."""
        try:
            await self._connector.link()
        except ConnectionFailed as err:
            return err.outcome
        return Outcome(result=OutcomeKind.ACCEPTED, reason="connected")

    async def aclose(self) -> None:
        """Close all connections of the sink."""
        await self._connector.aclose()
        if self._backend is not None:
            await self._backend.aclose()

    async def _deliver(self, entry: OutboxEntry) -> Outcome:
        link = await self._connector.link()
        outcome = await self._send(link, entry)
        if outcome.reason == "too_large" and self._stream is not None:
            # The stream's limit may have been changed since it was read.
            await self._look_around(link)
            outcome = await self._send(link, entry)
        return outcome

    async def _send(self, link: NatsConnection, entry: OutboxEntry) -> Outcome:
        steps = self._steps(entry)
        message = await self._message(entry, steps, self._form(link))
        if isinstance(message, Outcome):
            return message
        if isinstance(message, NotRepresentable):
            return _refused(message)
        self._say(entry.start, message)
        outcome = await self._publish(link, message)
        if len(steps) > 1 and outcome.result in (OutcomeKind.ACCEPTED, OutcomeKind.ALREADY_DELIVERED):
            self._remember(entry.start.key)
        return outcome

    async def _publish(self, link: NatsConnection, message: NatsMessage) -> Outcome:
        if self._config.mode == "core":
            return await publish_core(link, message)
        assert self._stream is not None
        return await publish_stream(link, message, self._stream.name)

    def _steps(self, entry: OutboxEntry) -> tuple[EventKind, ...]:
        """
        Return the events of the message: start and stop together if the run has ended when its start is due.

        The backend's workers may process two messages out of order and then lose the stop. They process two
        lines of one message in order.
        """
        over = entry.kind is EventKind.START and entry.stop is not None
        if self._config.format == "cc" and over and entry.stop and backend_stop_state(entry.stop, V1_5):
            return (EventKind.START, EventKind.STOP)
        return (entry.kind,)

    async def _message(
        self, entry: OutboxEntry, steps: Sequence[EventKind], form: MessageFormat
    ) -> NatsMessage | NotRepresentable | Outcome:
        config = cluster_section(entry.start.key.cluster, self._clusters)
        if self._config.format != "cc":
            return job_json(entry, config, form)
        topology = Topology({})
        if self._backend is not None and EventKind.START in steps:
            found = await self._backend.topology(entry.start)
            if isinstance(found, Outcome):
                return found
            topology = found
        return job_lines(steps, entry, config, topology, form)

    def _form(self, link: NatsConnection) -> MessageFormat:
        config, limit = self._config, link.max_payload
        if self._stream is not None and self._stream.max_msg_size > 0:
            limit = min(limit, self._stream.max_msg_size)
        return MessageFormat(
            config.job_subject,
            config.node_subject,
            config.script_limit,
            limit - _STREAM_HEADER,
            socket.gethostname(),
        )

    async def _look_around(self, link: NatsConnection) -> None:
        """Log settings of the stream that may lose events, each once. Raise if there is no stream."""
        if self._config.mode == "core":
            return
        names = [backend_cluster_name(name, cluster_section(name, self._clusters)) for name in self._clusters]
        subjects = subjects_of(self._config, names)
        self._stream = await ensure_stream(link, self._config, subjects)
        for warning in stream_warnings(self._stream, self._config, subjects):
            if warning not in self._said:
                self._said.add(warning)
                log.warning("nats_stream", sink=self.name, stream=self._stream.name, detail=warning)

    def _remember(self, key: RunKey) -> None:
        self._sent_whole[key] = None
        if len(self._sent_whole) > _REMEMBERED:
            self._sent_whole.popitem(last=False)

    def _say(self, job: Job, message: NatsMessage) -> None:
        """Count omitted parts of a message, and log each kind once."""
        for note in message.notes:
            self.notes[note.kind] += 1
            level = log.warning if self.notes[note.kind] == 1 else log.debug
            level(note.kind, sink=self.name, cluster=job.key.cluster, job=job.key.job_id, detail=note.detail)


def _refused(refusal: NotRepresentable) -> Outcome:
    # An operator can map a name or raise a limit. A record that is not a run stays invalid.
    result = OutcomeKind.REJECTED_UNTIL_FIXED if refusal.reason == "bad_cluster" else OutcomeKind.REJECTED
    return Outcome(
        result=result,
        reason=refusal.reason,
        detail=printable(refusal.detail),
        certain=refusal.reason != "too_large",  # the limit is the server's or the stream's
    )
