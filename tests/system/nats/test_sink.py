"""Which runs a NATS sink tells of, and what it answers for those that it cannot."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from slurmsyncd.config import load_config
from slurmsyncd.delivery import OutcomeKind
from slurmsyncd.model import EventKind, NodeState, RunKey
from slurmsyncd.sandbox.backend.server import BackendConfig, EmbeddedBackend
from slurmsyncd.sinks.nats import sink as module
from slurmsyncd.sinks.nats.sink import NatsSink
from slurmsyncd.sinks.preview import BackendInfo, preview
from slurmsyncd.sinks.registry import build_sink
from tests.unit.sinks.nats.parts import listener, over, sink, until
from tests.unit.sinks.nats.test_line import read
from tests.unit.sinks.parts import START, FixedClock, entry, job, token_file
from tests.unit.sinks.test_embedded import site

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.nats.server import NatsServer

pytestmark = pytest.mark.anyio

CC = {"type": "nats", "format": "cc", "job_subject": "cc.jobs", "node_subject": "cc.nodes"}


async def test_a_run_whose_cluster_is_not_configured_any_more_is_parked(server: NatsServer) -> None:
    """Its names went with the section; the remedy is said."""
    async with sink(server.url, clusters={"other": {}}) as told:
        outcome = await told.deliver(entry())
    assert (outcome.result, outcome.reason) == (OutcomeKind.REJECTED_UNTIL_FIXED, "cluster_not_configured")


async def test_ignored_hosts_are_told_to_nobody(server: NatsServer) -> None:
    """As with REST."""
    async with (
        listener(server.url) as heard,
        sink(server.url, clusters={"demo": {"ignore_hosts": ["cn*"]}}) as told,
    ):
        assert (await told.deliver(entry())).reason == "ignored_hosts"
        assert (await told.deliver(entry(run=job(nodes=("gpu01",))))).result is OutcomeKind.ACCEPTED
        await until(lambda: len(heard) == 1)


async def test_n9_a_discovered_cluster_with_a_dot_is_parked(server: NatsServer) -> None:
    """Slurm may call its cluster so; runs wait until it is given another name for others."""
    run = job(key=RunKey("a.b", 7, START))
    nodes = (NodeState("n1", "idle", 0, 0, 0, 0),)
    async with listener(server.url, ">") as heard, sink(server.url) as told:
        for outcome in (await told.deliver(entry(run=run)), await told.send_node_states("a.b", nodes)):
            assert (outcome.result, outcome.reason) == (OutcomeKind.REJECTED_UNTIL_FIXED, "bad_cluster")
            assert "backend_name" in outcome.detail
    assert heard == []


async def test_what_is_no_run_for_the_backend_is_a_dead_letter(server: NatsServer) -> None:
    """It would drop it with a line in its log, where nobody looks."""
    async with sink(server.url, **CC) as told:
        outcome = await told.deliver(entry(run=job(user="")))
    assert (outcome.result, outcome.reason) == (OutcomeKind.REJECTED, "no_user")


async def test_what_is_left_out_is_counted(server: NatsServer) -> None:
    """Without the backend's topology hardware threads are not known; that is noted."""
    async with sink(server.url, **CC) as told:
        assert (await told.deliver(entry())).result is OutcomeKind.ACCEPTED
        assert told.notes["hwthreads_unknown"] == 1


def audited(server: NatsServer, url: str, token: Path) -> NatsSink:
    """Return a sink that may ask the backend behind NATS."""
    section: dict[str, Any] = {
        **CC,
        "servers": [server.url],
        "url": url,
        "token_file": str(token),
        "timeout": 3.0,
    }
    config = load_config({"sinks": {"cc": section}})
    made = build_sink(config.sinks["cc"], config.clusters, FixedClock())
    assert isinstance(made, NatsSink)
    return made


async def test_hardware_threads_are_the_backends_and_starts_wait_for_it(
    server: NatsServer, tmp_path: Path
) -> None:
    """Its cluster.json says which; while it cannot be asked, nothing is sent that could not be corrected."""
    async with EmbeddedBackend.open(
        BackendConfig(clusters=site(), commit_interval=None, nats=server.url)
    ) as backend:
        told = audited(server, backend.url, token_file(tmp_path / "token", backend.token()))
        async with listener(server.url, "cc.jobs") as heard:
            assert (await told.deliver(entry())).result is OutcomeKind.ACCEPTED
            await until(lambda: heard)
        ((_, event, _),) = read(heard[0].data)
        assert event["resources"] == [{"hostname": "cn001", "hwthreads": [2, 6]}]
        await told.aclose()
        fresh = audited(server, backend.url, tmp_path / "token")
    async with listener(server.url, "cc.jobs") as heard:
        outcome = await fresh.deliver(entry(run=job(job_id=8)))
        assert (outcome.result, outcome.reason) == (OutcomeKind.SINK_UNAVAILABLE, "unreachable")
        # A backend that is away would miss a stop, too.
        outcome = await fresh.deliver(entry(EventKind.STOP))
        assert (outcome.result, outcome.reason) == (OutcomeKind.SINK_UNAVAILABLE, "unreachable")
        assert heard == []
    await fresh.aclose()


async def test_memory_of_whole_runs_is_bounded(server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is forgotten, which costs a repeat of its stop."""
    monkeypatch.setattr(module, "_REMEMBERED", 3)
    runs = [job(job_id=n + 1) for n in range(5)]
    async with sink(server.url, **CC) as told:
        for run in runs:
            await told.deliver(replace(entry(run=run), stop=over(run)))
        reasons = [
            (await told.deliver(replace(entry(EventKind.STOP, run), stop=over(run)))).reason for run in runs
        ]
    assert reasons == ["published"] * 2 + ["sent_with_start"] * 3


@pytest.mark.parametrize("more", [{}, CC])
async def test_what_an_operator_is_shown_of_a_run_is_what_is_published(
    server: NatsServer, more: dict[str, Any]
) -> None:
    """
    The preview of ``slurmsyncd job`` and of a dead letter: subject and body, byte for byte, in both formats.

    cc-backend's start and stop of a run that is over are two lines of one message.
    """
    run = job(script="#!/bin/sh\nsrun ./ü\n")
    settings = {"type": "nats", "servers": [server.url], **more}
    config = load_config({"sinks": {"nats": settings}})
    shown = preview(run, over(run), config.sinks["nats"], config.clusters, BackendInfo())
    async with listener(server.url, ">") as heard, sink(server.url, **more) as told:
        await told.deliver(replace(entry(run=run), stop=over(run)))
        await told.deliver(replace(entry(EventKind.STOP, run), stop=over(run)))
        await until(lambda: len(heard) == (1 if more else 2))
    sent = [(message.subject, line) for message in heard for line in message.data.decode().splitlines(True)]
    assert [(step.where, step.body) for step in shown.steps] == sent
