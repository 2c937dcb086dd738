"""Preview of the requests for a run, built again from the store. Sends no query."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slurmsyncd.model import EventKind, OutboxEntry
from slurmsyncd.sinks.bodies import BodyOptions, NotRepresentable, RequestBody, start_body, stop_body
from slurmsyncd.sinks.dialect import V1_5, Dialect
from slurmsyncd.sinks.filter import cluster_section, skip_reason
from slurmsyncd.sinks.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from slurmsyncd.config import ClusterConfig, SinkConfig
    from slurmsyncd.model import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendInfo:
    """The facts learned from a backend so far; None for an unknown one."""

    topology: Topology | None = None
    dialect: Dialect | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewRequest:
    """
    The request for one event.

    Attributes:
        where: Path below the sink's URL, or NATS subject.
        body: Body as text; empty if it cannot be built.
        notes: Notes for the operator, for example about omitted parts.
        refusal: Why the body cannot be built; empty if it can.
    """

    step: EventKind
    where: str
    body: str = ""
    notes: tuple[str, ...] = ()
    refusal: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """
    The requests of one run to one sink.

    Attributes:
        left_out: Why the run is not reported to the sink; empty if the run is reported.
        guessed: The backend has not been queried yet, so hardware threads and GPUs may differ.
    """

    sink: str
    left_out: str = ""
    guessed: bool = False
    steps: tuple[PreviewRequest, ...] = ()


def preview(
    start: Job, stop: Job | None, sink: SinkConfig, clusters: Mapping[str, ClusterConfig], facts: BackendInfo
) -> Preview:
    """Build the preview of a run for a sink."""
    out = skip_reason(start, clusters)
    if out is not None:
        return Preview(sink=sink.name, left_out=f"{out.reason}{out.detail and f': {out.detail}'}")
    steps = (EventKind.START,) if stop is None else (EventKind.START, EventKind.STOP)
    config = cluster_section(start.key.cluster, clusters)
    entries = [OutboxEntry(id=0, sink=sink.name, kind=step, start=start, stop=stop) for step in steps]
    make = _nats if sink.type == "nats" else _rest
    as_json = sink.type == "nats" and sink.format == "json"
    return Preview(
        sink=sink.name,
        guessed=facts.topology is None and not as_json,
        steps=tuple(make(entries, sink, config, facts)),
    )


def _rest(
    entries: list[OutboxEntry], sink: SinkConfig, config: ClusterConfig, facts: BackendInfo
) -> Iterator[PreviewRequest]:
    options = BodyOptions(dialect=facts.dialect or V1_5, script_limit=sink.script_limit)
    for entry in entries:
        where = f"/api/jobs/{entry.kind.value}_job/"
        if entry.stop is not None and entry.kind is EventKind.STOP:
            yield _sending(entry.kind, where, stop_body(entry.start, entry.stop, config, options))
        else:
            body = start_body(entry.start, config, facts.topology or Topology(), options, entry.stop)
            yield _sending(entry.kind, where, body)


def _sending(step: EventKind, where: str, made: RequestBody | NotRepresentable) -> PreviewRequest:
    if isinstance(made, NotRepresentable):
        return PreviewRequest(step=step, where=where, refusal=f"{made.reason}: {made.detail}")
    notes = tuple(f"{note.kind}: {note.detail}" for note in made.notes)
    return PreviewRequest(step=step, where=where, body=made.content.decode("utf-8", "replace"), notes=notes)


def _nats(
    entries: list[OutboxEntry], sink: SinkConfig, config: ClusterConfig, facts: BackendInfo
) -> Iterator[PreviewRequest]:
    from slurmsyncd.sinks.nats.messages import MessageFormat, job_json, job_lines  # noqa: PLC0415 - only its users pay

    form = MessageFormat(
        sink.job_subject, sink.node_subject, sink.script_limit, _NO_LIMIT, socket.gethostname()
    )
    for entry in entries:
        if sink.format == "cc":
            made = job_lines((entry.kind,), entry, config, facts.topology or Topology(), form)
        else:
            made = job_json(entry, config, form)
        if isinstance(made, NotRepresentable):
            yield PreviewRequest(
                step=entry.kind, where=sink.job_subject, refusal=f"{made.reason}: {made.detail}"
            )
        else:
            notes = tuple(f"{note.kind}: {note.detail}" for note in made.notes)
            body = made.payload.decode("utf-8", "replace")
            yield PreviewRequest(step=entry.kind, where=made.subject, body=body, notes=notes)


_NO_LIMIT = 2**31
