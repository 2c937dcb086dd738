"""One sink: can it be reached, does it listen to us, and does it know what Slurm has."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from slurmsyncd.clock import SystemClock
from slurmsyncd.commands.check.nodes import assess_nodes
from slurmsyncd.commands.check.result import CheckLevel, CheckResult, compare_clocks
from slurmsyncd.commands.check.user import daemons_uid, user_name
from slurmsyncd.config import ClusterConfig
from slurmsyncd.delivery import Outcome, OutcomeKind
from slurmsyncd.errors import ConfigError
from slurmsyncd.sinks.bodies import backend_cluster_name
from slurmsyncd.sinks.rest.sink import RestSink
from slurmsyncd.text import duration, moment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from slurmsyncd.commands.check.slurm import SlurmReport
    from slurmsyncd.config import Config, SinkConfig
    from slurmsyncd.sinks.rest.sink import BackendReport

#: Seconds; the date of an answer is a whole second, and answers take their time.
_CLOCKS_APART_S: Final = 10.0
_EXPIRY_WARN_S: Final = 14 * 86400.0

_REMEDIES: Final = {
    "credentials": "have the backend's admin make a token with the role api, and put it into token_file",
    "token": "put it there, readable by the daemon's user alone (mode 0600), or have systemd hand it over",
    "tls": "set ca_file to the CA that signed its certificate, and url to the name in it",
    "unreachable": "see that the backend runs, that url names it, and that no firewall is between",
    "no_endpoint": "url has to be the backend's base address, without /api; or upgrade the backend",
    "redirected": "set url to where the backend really is",
}


async def check_sink(
    config: Config, sink: SinkConfig, clusters: Sequence[SlurmReport]
) -> tuple[CheckResult, ...]:
    """
    Ask a sink what a delivery would ask of it; change nothing there.

    Args:
        config: The whole configuration.
        sink: Its section.
        clusters: What was found of Slurm; of those whose name is known, the nodes are compared.
    """
    area = f"sink {sink.name}"
    found = (await _nats(area, config, sink),) if sink.type == "nats" else ()
    return (*found, *await _backend(area, config, sink, clusters)) if sink.url else found


async def _backend(
    area: str, config: Config, sink: SinkConfig, clusters: Sequence[SlurmReport]
) -> tuple[CheckResult, ...]:
    """Ask the cc-backend that takes the jobs, or that stands behind NATS and has the topology."""
    try:
        rest = RestSink(sink, config.clusters, SystemClock())
    except ConfigError as err:
        return (CheckResult(area, "settings", CheckLevel.FAIL, "; ".join(err.problems), "correct it"),)
    try:
        named: list[SlurmReport | None] = [seen for seen in clusters if seen.cluster] or [None]
        found: list[CheckResult] = []
        for seen in named:
            name = seen.cluster if seen else next(iter(config.clusters), "")
            said = await rest.inspect(name)
            if isinstance(said, Outcome):
                return (_trouble(area, sink, said),)
            found += () if found else _reached(area, sink, said, config)
            if seen and seen.nodes is not None:
                section = config.clusters.get(name) or ClusterConfig(name=name)
                theirs = backend_cluster_name(name, section)
                found += assess_nodes(seen.nodes, said.topology, theirs, section, area)
        return tuple(found)
    finally:
        await rest.aclose()


async def _nats(area: str, config: Config, sink: SinkConfig) -> CheckResult:
    """Connect, log in and look at the stream; publish nothing."""
    from slurmsyncd.sinks.nats.sink import NatsSink  # noqa: PLC0415 - only where there is one

    servers = ", ".join(sink.servers)
    try:
        built = NatsSink(sink, config.clusters, SystemClock(), backend=None)
    except ConfigError as err:
        return CheckResult(area, "settings", CheckLevel.FAIL, "; ".join(err.problems), "correct it")
    try:
        outcome = await built.probe()
    finally:
        await built.aclose()
    if outcome.result is OutcomeKind.ACCEPTED:
        return CheckResult(
            area, "reached", CheckLevel.OK, f"{servers} takes our events ({sink.mode}, {sink.format})"
        )
    text = f"{outcome.reason}: {outcome.detail}" if outcome.detail else outcome.reason
    return CheckResult(
        area, "reached", CheckLevel.FAIL, text, f"see what answers at {servers}, and docs/events.md"
    )


def _trouble(area: str, sink: SinkConfig, outcome: Outcome) -> CheckResult:
    text = f"{outcome.reason}: {outcome.detail}" if outcome.detail else outcome.reason
    remedy = next((words for key, words in _REMEDIES.items() if key in outcome.reason), "")
    return CheckResult(area, "reached", CheckLevel.FAIL, text, remedy or f"see what answers at {sink.url}")


def _reached(area: str, sink: SinkConfig, said: BackendReport, config: Config) -> Iterator[CheckResult]:
    yield CheckResult(
        area,
        "reached",
        CheckLevel.OK,
        f"{sink.url} takes our token; it speaks as cc-backend {said.dialect.name}",
    )
    yield _jobs(area, sink, by_rest=said.jobs_by_rest)
    yield _token(area, sink, said)
    yield from _unreadable(area, sink, config)
    if said.clock_s is not None:
        yield compare_clocks(area, "the backend", said.clock_s, _CLOCKS_APART_S)
    if said.topology.set_aside:
        odd = ", ".join(said.topology.set_aside[:3])
        yield CheckResult(
            area,
            "topology",
            CheckLevel.WARN,
            f"not understood: {odd}",
            "look at these in the backend's cluster.json",
        )


def _jobs(area: str, sink: SinkConfig, *, by_rest: bool) -> CheckResult:
    """Compare the way in which the backend takes starts and stops with the way in which they are sent."""
    name, way = "jobs", "NATS" if sink.type == "nats" else "REST"
    if by_rest == (way == "REST"):
        return CheckResult(area, name, CheckLevel.OK, f"{sink.url} takes starts and stops by {way}")
    if by_rest:
        said = f"{sink.url} takes starts and stops by REST, and none by NATS"
        remedy = 'set main.api-subjects in its config.json and restart it, or set type = "rest" here'
        return CheckResult(area, name, CheckLevel.WARN, said, remedy)
    said = f"{sink.url} takes no starts and stops by REST: its config.json sets main.api-subjects"
    remedy = (
        f'set type = "nats" and format = "cc" in sinks.{sink.name} (docs/events.md), '
        "or remove main.api-subjects there and restart it"
    )
    return CheckResult(area, name, CheckLevel.FAIL, said, remedy)


def _token(area: str, sink: SinkConfig, said: BackendReport) -> CheckResult:
    at, now = said.token_expires_at, time.time()
    if at is None:
        return CheckResult(area, "token", CheckLevel.OK, "the token names no end")
    text = f"the token expires at {moment(at)}, in {duration(at - now)}"
    if at - now >= _EXPIRY_WARN_S:
        return CheckResult(area, "token", CheckLevel.OK, text)
    remedy = f"have a new one made, and put it into {sink.token_file}; it is read again by itself"
    return CheckResult(area, "token", CheckLevel.WARN, text, remedy)


def _unreadable(area: str, sink: SinkConfig, config: Config) -> Iterator[CheckResult]:
    """Compare the token's owner with the daemon's user; only root can have read another user's file."""
    uid = daemons_uid(config)
    if os.geteuid() == uid or "/" not in sink.token_file:
        return
    found = Path(sink.token_file).stat()
    if found.st_uid != uid and not found.st_mode & (stat.S_IRGRP | stat.S_IROTH):
        said = f"{sink.token_file} belongs to {user_name(found.st_uid)}: {user_name(uid)} cannot read it"
        yield CheckResult(area, "token", CheckLevel.FAIL, said, f"chown {user_name(uid)} {sink.token_file}")
