"""``slurmsyncd events``: what a NATS sink publishes, as it comes; ``--since``: from a stream's past on."""

from __future__ import annotations

import secrets
import sys
import time
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final

import anyio
import msgspec
import nats.errors

from slurmsyncd.config.nats_rules import CLUSTER, TOKEN
from slurmsyncd.console.terminal import Colour, Styled, Terminal
from slurmsyncd.errors import ConfigError
from slurmsyncd.foreign import MalformedJson, decode_json
from slurmsyncd.logs import configure_logs
from slurmsyncd.model import RunEnded
from slurmsyncd.relay.decode import parse_message
from slurmsyncd.sinks.nats.connection import ConnectionFailed, sink_unavailable
from slurmsyncd.sinks.nats.connector import Connector
from slurmsyncd.sinks.nats.event import BadEvent, read_event
from slurmsyncd.sinks.nats.publish import JetStreamError  # noqa: TC001 - msgspec looks it up at run time
from slurmsyncd.sinks.nats.stream import ensure_stream, subjects_of
from slurmsyncd.text import cut, moment, safe, width

if TYPE_CHECKING:
    import argparse

    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
    from nats.aio.msg import Msg

    from slurmsyncd.config import Config, SinkConfig
    from slurmsyncd.model import Event
    from slurmsyncd.sinks.nats.connection import NatsConnection

#: Columns, and how wide: an instant of another day has room.
_COLUMNS = (
    ("TIME", 19),
    ("KIND", 5),
    ("CLUSTER", 10),
    ("JOB", 9),
    ("USER", 10),
    ("PARTITION", 10),
    ("NODES", 5),
    ("STATE", 13),
    ("NAME", 0),
)
_WAITING = 256  # messages between server and terminal
_AGAIN_S = 1.0
_NS = 10**9


def run(args: argparse.Namespace, config: Config) -> int:
    """
    Print events until interrupted.

    Raises:
        ConfigError: The configuration has no sink that publishes them, or it is not clear which.
    """
    configure_logs("error", "console")
    sink = _choose(config, args.source, stream=args.since is not None)
    if args.cluster is not None and not TOKEN.fullmatch(args.cluster):
        raise ConfigError([f"--cluster {args.cluster[:80]!a}: letters, digits, _ and - are wanted"])
    anyio.run(_Reader(sink, args).run)
    return 0


class _Reply(msgspec.Struct):
    error: JetStreamError | None = None


_REPLY: Final = msgspec.json.Decoder(_Reply)
_ANYTHING: Final = msgspec.json.Decoder()


class _Reader:
    """One subscription after the other, and what is shown of it."""

    def __init__(self, sink: SinkConfig, args: argparse.Namespace) -> None:
        self._sink = sink
        self._args = args
        self._subject = sink.job_subject.replace(CLUSTER, args.cluster or "*")
        self._since = None if args.since is None else max(0.0, time.time() - args.since)
        self._last = 0
        self._stream = ""
        self._terminal = Terminal()
        self._said = ""

    async def run(self) -> None:
        """Show events for ever; a connection that is lost is made anew."""
        connector = Connector(self._sink, self._greet)
        if not self._args.json:
            self._terminal.print_line(Styled(_line([title for title, _ in _COLUMNS]), Colour.DIM))
            sys.stdout.flush()
        try:
            while True:
                try:
                    await self._follow(await connector.link())
                except ConnectionFailed as err:
                    self._complain(f"{err.outcome.reason}: {err.outcome.detail}; trying again")
                await anyio.sleep(_AGAIN_S)
        finally:
            await connector.aclose()

    async def _follow(self, link: NatsConnection) -> None:
        self._said = ""
        send, receive = anyio.create_memory_object_stream[Any](_WAITING)
        with send, receive:
            await self._subscribe(link, send)
            while link.alive:
                await self._show_next(link, receive)

    async def _subscribe(self, link: NatsConnection, send: MemoryObjectSendStream[Any]) -> None:
        async def hear(msg: Msg) -> None:
            await send.send(msg)

        if self._since is None:
            await link.subscribe(hear, self._subject)
            return
        # The server sees nobody there where only a wildcard listens.
        inbox = await link.subscribe(hear, f"_INBOX.{secrets.token_hex(11)}")
        wanted = {"stream_name": self._stream, "config": self._consumer(inbox, self._since)}
        try:
            answer = await link.request(
                f"$JS.API.CONSUMER.CREATE.{self._stream}", msgspec.json.encode(wanted)
            )
            fault = decode_json(answer.data, _REPLY).error
        except nats.errors.NoRespondersError as err:
            raise sink_unavailable("no_jetstream", "nobody answers for JetStream") from err
        except MalformedJson as err:
            raise sink_unavailable("no_jetstream", f"its answer is not understood: {err}") from err
        if fault is not None:
            raise sink_unavailable("no_consumer", fault.description)

    def _consumer(self, deliver_subject: str, since: float) -> dict[str, object]:
        """Return a consumer that ends with us, and never sends more than we have shown and a bit."""
        start: dict[str, object] = {
            "deliver_policy": "by_start_time",
            "opt_start_time": datetime.fromtimestamp(since, tz=timezone.utc).isoformat(),
        }
        if self._last:
            start = {"deliver_policy": "by_start_sequence", "opt_start_seq": self._last + 1}
        return {
            **start,
            "deliver_subject": deliver_subject,
            "filter_subject": self._subject,
            "ack_policy": "explicit",
            "ack_wait": 60 * _NS,
            "max_ack_pending": _WAITING,
            "inactive_threshold": 30 * _NS,
            "replay_policy": "instant",
        }

    async def _show_next(self, link: NatsConnection, receive: MemoryObjectReceiveStream[Any]) -> None:
        with anyio.move_on_after(1.0):
            msg: Msg = await receive.receive()
            message = parse_message(msg.subject, msg.reply, msg.data)
            # Given again because we were slow to say that we have it.
            if message is None or message.seq > self._last:
                self._show(msg.data)
            if message is not None:
                self._last = max(self._last, message.seq)
                await link.publish_unconfirmed(message.reply, b"+ACK")

    def _show(self, body: bytes) -> None:
        try:
            event = read_event(body)
        except BadEvent as err:
            self._complain(f"not understood: {err}")
            return
        if self._args.user is not None and event.job.user != self._args.user:
            return
        if self._args.json:
            self._terminal.json(decode_json(body, _ANYTHING))
        else:
            self._terminal.print_line(_row(event))
        sys.stdout.flush()

    def _complain(self, text: str) -> None:
        if text != self._said:
            sys.stderr.write(f"slurmsyncd: {safe(text, 500)}\n")
        self._said = text

    async def _greet(self, link: NatsConnection) -> None:
        if self._since is not None:
            found = await ensure_stream(
                link, replace(self._sink, manage_stream=False), subjects_of(self._sink, ())
            )
            self._stream = found.name


def _row(event: Event) -> str:
    job = event.job
    ended = isinstance(event, RunEnded)
    at = (job.end_at or 0) if ended else job.key.start_at
    nodes, kind = str(job.num_nodes or len(job.nodes)), "stop" if ended else "start"
    cells = [moment(at, time.time()), kind, job.key.cluster, str(job.key.job_id), job.user, job.partition]
    return _line([*cells, nodes, job.state.value, job.name])


def _line(cells: list[str]) -> str:
    shown = []
    for cell, (_, room) in zip(cells, _COLUMNS, strict=True):
        text = cut(safe(cell, 200), room) if room else safe(cell, 200)
        shown.append(text + " " * (room - width(text)))
    return "  ".join(shown).rstrip()


def _choose(config: Config, wanted: str | None, *, stream: bool) -> SinkConfig:
    """Return the sink that is wanted, or the first one that publishes events (into a stream, if need be)."""
    found = {
        name: sink
        for name, sink in config.sinks.items()
        if sink.type == "nats" and sink.format == "json" and (sink.mode == "jetstream" or not stream)
    }
    if wanted in found:
        return found[wanted]
    if wanted is None and found:
        return next(iter(found.values()))
    mode = ' and mode = "jetstream", for --since,' if stream else ""
    names = ", ".join(sorted(found)) or "none"
    raise ConfigError(
        [f'sinks: one of type = "nats"{mode} with format = "json" is wanted; there are: {names}']
    )
