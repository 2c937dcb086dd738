"""The JSON event: lossless, documented, and made so that no name can get out of its place."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmsyncd.config import ClusterConfig
from slurmsyncd.model import EventKind, Gres, Job, JobState, NodeState, RunEnded, RunKey, RunStarted
from slurmsyncd.sinks.bodies import NotRepresentable
from slurmsyncd.sinks.nats import event
from slurmsyncd.sinks.nats.event import BadEvent, job_event, nodes_event, read_event
from slurmsyncd.sinks.nats.messages import MessageFormat, NatsMessage, job_json, nodes_message, subject
from slurmsyncd.sinks.text import clean
from tests.paths import ROOT
from tests.strategies import jobs
from tests.unit.sinks.nats.parts import over
from tests.unit.sinks.parts import START, entry, gpu_job, job

DOCS = ROOT / "docs"
FORM = MessageFormat("slurm.{cluster}.job", "slurm.{cluster}.node", 65536, 1_000_000)
DEMO = ClusterConfig(name="demo")


def published(
    step: EventKind = EventKind.START, run: Job | None = None, form: MessageFormat = FORM, **end: Any
) -> NatsMessage:
    made = job_json(entry(step, run, **end), DEMO, form)
    assert isinstance(made, NatsMessage)
    return made


def test_the_schema_is_the_documented_one() -> None:
    """Write it anew with: json.dump(slurmsyncd.sinks.nats.event.schema(), …, indent=1, ensure_ascii=False)."""
    assert json.loads((DOCS / "event.schema.json").read_text()) == json.loads(json.dumps(event.schema()))


def test_the_documented_example_is_an_event() -> None:
    """What the page shows can be read, and says what it shows."""
    (example,) = re.findall(r"```json\n(.*?)```", (DOCS / "events.md").read_text(), re.DOTALL)
    read = read_event(example.encode())
    assert isinstance(read, RunStarted)
    assert read.job.key == RunKey("alpha", 4711, 1_700_000_000)
    assert read.job.allocation is not None
    assert read.job.allocation[0].gres == (Gres("gpu", "a100", 1, (3,)),)


def test_no_field_of_a_run_is_forgotten() -> None:
    """A field that the model gains is in the event, too."""
    told = {spec.name for spec in msgspec.structs.fields(event.Run)}
    assert {spec.name for spec in fields(Job)} - {"key"} == told - {"cluster", "job_id", "start_at"}


@given(jobs(), st.text())
def test_a_start_comes_back_as_it_was(run: Job, script: str) -> None:
    """Whatever Slurm knew of a run is in its event; only what is no valid text is replaced."""
    run = replace(run, key=replace(run.key, cluster="demo"), script=script or None)
    again = read_event(job_event(EventKind.START, run, None, "demo", 65536))
    assert isinstance(again, RunStarted)
    shown = replace(run, user=clean(run.user, 99), account=clean(run.account, 99), script=None)
    assert replace(again.job, script=None) == shown


def test_a_stop_repeats_what_only_the_start_knew() -> None:
    """Cores, GPUs and names of the start, state and end of the stop, and the script no second time."""
    run = gpu_job(Gres("gpu", "a100", 2, (0, 1)), script="#!/bin/sh\n", time_limit_s=60)
    again = read_event(job_event(EventKind.STOP, run, over(run, JobState.FAILED), "demo", 65536))
    assert isinstance(again, RunEnded)
    assert again.job == replace(run, state=JobState.FAILED, end_at=START + 60, exit_code="0:0", script=None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b'{"version":2,"kind":"start","run":{"cluster":"a","job_id":1,"start_at":1,"state":"RUNNING"}}',
        b'{"kind":"start","run":{"cluster":"a","job_id":1,"start_at":1,"state":"RUNNING"}}',
        b'{"version":1,"kind":"start","run":{"cluster":"a.>","job_id":1,"start_at":1,"state":"RUNNING"}}',
        b'{"version":1,"kind":"start","run":{"cluster":"a","job_id":-1,"start_at":1,"state":"RUNNING"}}',
        b'{"version":1,"kind":"start","run":{"cluster":"a","job_id":"1","start_at":1,"state":"RUNNING"}}',
        b'{"version":1,"kind":"stop","run":{"cluster":"a","job_id":1,"start_at":1,"state":"RUNNING"}}',
        b'{"version":1,"kind":"nodes","cluster":"a","at":1,"nodes":[]}',
    ],
)
def test_what_is_no_event_is_refused(body: bytes) -> None:
    """Hostile bytes, other versions, identities that nothing has, stops without an end."""
    with pytest.raises(BadEvent):
        read_event(body)


def test_unknown_fields_are_passed_over() -> None:
    """A younger publisher may add some."""
    body = b'{"version":1,"kind":"start","x":1,"run":{"cluster":"a","job_id":1,"start_at":1,"state":"RUNNING","y":2}}'
    assert isinstance(read_event(body), RunStarted)


def test_headers_are_cloudevents_attributes() -> None:
    """Type, source, a time of its own, and an id that is the same each time it is sent."""
    start, stop = published(), published(EventKind.STOP)
    assert start.headers == {
        "ce-specversion": "1.0",
        "ce-type": "slurmsyncd.job.start",
        "ce-source": "/slurm/demo",
        "ce-id": f"demo.7.{START}.start",
        "ce-time": "2023-11-14T22:13:20Z",
        "ce-dataschema": "urn:slurmsyncd:event:1",
        "content-type": "application/json",
        "Nats-Msg-Id": f"demo.7.{START}.start",
    }
    assert (stop.headers["ce-id"], stop.headers["ce-time"]) == (
        f"demo.7.{START}.stop",
        "2023-11-14T22:14:20Z",
    )
    assert published(run=job(start_at=START + 1)).headers["Nats-Msg-Id"] != start.headers["Nats-Msg-Id"]


@pytest.mark.parametrize("name", ["a.b", "*", ">", "a b", "a\r\nPUB x 1", "", "a\n", "ä", "x" * 65])
@pytest.mark.parametrize("template", ["slurm.{cluster}.job", "all.jobs"])
def test_n9_a_cluster_name_cannot_change_subject_or_header(name: str, template: str) -> None:
    """Refused by us, before the client library sees it; also where it is only in the message's id."""
    run = job(key=RunKey(name, 7, START))
    form = replace(FORM, job_subject=template)
    made = job_json(entry(run=run), ClusterConfig(name=name), form)
    assert isinstance(made, NotRepresentable)
    assert made.reason == "bad_cluster"
    assert isinstance(subject("slurm.{cluster}.node", name), NotRepresentable)
    assert isinstance(
        nodes_message(name, (), ClusterConfig(name=name), FORM, cc=False, at=1), NotRepresentable
    )


def test_n9_nothing_that_users_write_is_in_subject_or_headers() -> None:
    """User, account, partition and job name are in the payload only, where JSON escapes them."""
    canary = "x\r\n*.>y"
    made = published(run=job(user=canary, account=canary, partition=canary, name=canary))
    assert "\r\n" not in made.payload.decode()
    assert made.subject == "slurm.demo.job"
    assert not any("x" in value and "y" in value and ">" in value for value in made.headers.values())


def test_the_backends_name_of_the_cluster_is_told() -> None:
    """In subject, identity and headers, so that clusters of many sites can be told apart."""
    made = job_json(entry(), ClusterConfig(name="demo", backend_name="site-demo"), FORM)
    assert isinstance(made, NatsMessage)
    assert made.subject == "slurm.site-demo.job"
    assert read_event(made.payload).job.key.cluster == "site-demo"


@pytest.mark.parametrize("limit", [100_000, 20_000, 5_000])
def test_n5_a_script_is_cut_so_that_the_message_just_fits(limit: int) -> None:
    """As much of it as the server takes, and no byte more."""
    run = job(script='echo "hällo"\n' * 20_000)
    made = published(run=run, form=replace(FORM, script_limit=200_000, limit=limit))
    assert limit - 2000 < made.size <= limit
    kept = json.loads(made.payload)["run"]["script"]
    assert kept
    assert run.script is not None
    assert run.script.startswith(kept)


def test_n5_without_a_script_long_texts_go_and_then_it_is_refused() -> None:
    """A comment is given up, the nodes of a run are not."""
    made = published(run=job(comment="x" * 4000, submit_line="y" * 4000), form=replace(FORM, limit=2000))
    assert "comment" not in json.loads(made.payload)["run"]
    many = job(nodes=tuple(f"n{n}" for n in range(1000)))
    refused = job_json(entry(run=many), DEMO, replace(FORM, limit=2000))
    assert isinstance(refused, NotRepresentable)
    assert refused.reason == "too_large"


def test_the_size_of_headers_counts() -> None:
    """As the server counts it: version line, each header, and the empty line."""
    made = published()
    wire = "NATS/1.0\r\n" + "".join(f"{key}: {value}\r\n" for key, value in made.headers.items()) + "\r\n"
    assert made.size == len(wire) + len(made.payload)


def test_node_states_are_one_event() -> None:
    """With the cluster's name and the time."""
    body = json.loads(nodes_event("demo", (NodeState("n1", "idle", 0, 0, 0, 0),), 5))
    assert (body["kind"], body["cluster"], body["at"], body["nodes"][0]["host"]) == ("nodes", "demo", 5, "n1")
