"""cc-backend's line protocol: one line a step, escaped so that only the JSON's own end is its end."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmsyncd.config import ClusterConfig
from slurmsyncd.model import EventKind, Job, JobState, NodeState, RunKey
from slurmsyncd.sinks.bodies import BodyOptions, NotRepresentable, RequestBody, start_body, stop_body
from slurmsyncd.sinks.nats.line_protocol import job_line
from slurmsyncd.sinks.nats.messages import MessageFormat, NatsMessage, job_lines, nodes_message
from slurmsyncd.sinks.topology import Topology
from tests.unit.sinks.parts import START, entry, job

FORM = MessageFormat("cc.jobs", "cc.nodes", 65536, 1_000_000)
DEMO = ClusterConfig(name="demo")
BOTH = (EventKind.START, EventKind.STOP)
TAGS = "partition=batch,type=node,type-id=0"
_LINE = re.compile(
    r'(job,function=(?:start|stop)_job(?:,[a-z-]+=(?:[^\\ ,=\n]|\\[ ,=])+)+|nodestate) event="((?:[^"\\]|\\.)*)" (\d+)\n',
    re.DOTALL,
)


def told(
    *steps: EventKind, run: Job | None = None, form: MessageFormat = FORM, **end: Any
) -> NatsMessage | NotRepresentable:
    return job_lines(steps, entry(EventKind.STOP, run, **end), DEMO, Topology(), form)


def read(payload: bytes) -> list[tuple[str, Any, int]]:
    """Read lines as the contract says; there must be nothing between them."""
    text = payload.decode()
    found = list(_LINE.finditer(text))
    assert "".join(match[0] for match in found) == text
    return [
        (match[1], json.loads(re.sub(r"\\(.)", r"\1", match[2], flags=re.DOTALL)), int(match[3]))
        for match in found
    ]


def test_start_and_stop_are_the_bodies_of_the_rest_interface() -> None:
    """The same JSON, with function and a timestamp in nanoseconds."""
    run = job(script='#!/bin/sh\necho "\\n"\n')
    options, end = BodyOptions(), entry(EventKind.STOP, run)
    start = start_body(run, DEMO, Topology(), options, end.stop)
    assert end.stop is not None
    stop = stop_body(run, end.stop, DEMO, options)
    assert isinstance(start, RequestBody)
    assert isinstance(stop, RequestBody)
    both = told(*BOTH, run=run)
    assert isinstance(both, NatsMessage)
    assert read(both.payload) == [
        (f"job,function=start_job,{TAGS}", json.loads(start.content), START * 10**9),
        (f"job,function=stop_job,{TAGS}", json.loads(stop.content), (START + 60) * 10**9),
    ]


def summary_of(message: NatsMessage | NotRepresentable) -> str:
    assert isinstance(message, NatsMessage)
    summary: str = read(message.payload)[0][1]["metaData"]["slurmInfo"]
    return summary


def test_a_run_sent_in_one_message_has_the_summary_of_its_end() -> None:
    """A stop carries no metadata and NATS has no edit, so the start carries the summary of an end that is known."""
    end: dict[str, Any] = {"state": JobState.FAILED, "exit_code": "3:0"}
    summary = summary_of(told(*BOTH, **end))
    for text in ("JobState=FAILED", "ExitCode=3:0", "EndTime=", "RunTime=0-00:01:00"):
        assert text in summary


def tags_of(partition: str) -> dict[str, str]:
    (line,) = read(job_line(EventKind.STOP, b"{}", 1, host="head", partition=partition))
    tags = re.findall(r",([a-z-]+)=((?:[^\\ ,=]|\\[ ,=])+)", line[0])
    return {key: re.sub(r"\\(.)", r"\1", value) for key, value in tags}


def test_a_line_has_the_tags_of_cc_slurm_adapter() -> None:
    """By the partition's tag a stock cc-energy-manager with a partitionRegex takes the stop of a run."""
    assert tags_of("batch") == {
        "function": "stop_job",
        "hostname": "head",
        "partition": "batch",
        "type": "node",
        "type-id": "0",
    }


@given(st.text())
def test_n9_a_tag_is_its_value_or_is_left_out(partition: str) -> None:
    """No partition ends its tag, and one that no tag can hold costs only its tag."""
    sent = partition if partition and partition.isprintable() and "\\" not in partition else None
    assert tags_of(partition).get("partition") == sent


def test_each_kind_of_message_has_an_id_of_its_own() -> None:
    """A start that went out alone is no duplicate of one that has its stop with it."""
    made = [told(EventKind.START), told(EventKind.STOP), told(*BOTH)]
    ids = [each.headers["Nats-Msg-Id"] for each in made if isinstance(each, NatsMessage)]
    assert ids == [f"demo.7.{START}.{kind}" for kind in ("start", "stop", "run")]


@given(st.text())
def test_n9_no_text_can_end_its_line(text: str) -> None:
    """Quotes, backslashes and line ends of users stay inside the event's field."""
    body = json.dumps({"x": text}).encode()
    line = job_line(EventKind.START, body, 1) + job_line(EventKind.STOP, body, 2)
    assert [event for _, event, _ in read(line)] == [{"x": text}] * 2


def test_n9_hostile_names_make_neither_lines_nor_tags() -> None:
    """Two lines for two steps, whatever the job is called."""
    made = told(*BOTH, run=job(name='x" 1\njob,function=stop_job event="', user="a\\", comment='\r\n\\"'))
    assert isinstance(made, NatsMessage)
    assert len(read(made.payload)) == 2


def test_n5_the_script_is_cut_by_what_it_takes_when_escaped() -> None:
    """A quote of the script takes four bytes there."""
    made = told(EventKind.START, run=job(script='"\\"' * 30_000), form=replace(FORM, limit=40_000))
    assert isinstance(made, NatsMessage)
    assert 35_000 < made.size <= 40_000
    assert read(made.payload)[0][1]["metaData"]["jobScript"].startswith('"\\""')


def test_n5_what_is_too_large_without_its_script_is_refused() -> None:
    """With the limit's name for the operator."""
    made = told(
        EventKind.START, run=job(nodes=tuple(f"n{n}" for n in range(2000))), form=replace(FORM, limit=9000)
    )
    assert isinstance(made, NotRepresentable)
    assert "max_payload" in made.detail


@pytest.mark.parametrize(
    ("run", "end", "reason"),
    [
        (job(key=RunKey("demo", 0, START)), {}, "bad_key"),
        (job(user=""), {}, "no_user"),
        (job(nodes=(), allocation=None), {}, "no_nodes"),
        (None, {"state": JobState.RUNNING}, "not_over"),
    ],
)
def test_what_the_backend_would_only_log_is_refused_here(run: Job | None, end: Any, reason: str) -> None:
    """Nobody would ever hear of it."""
    made = told(*BOTH, run=run, **end)
    assert isinstance(made, NotRepresentable)
    assert made.reason == reason


def test_node_states_are_a_line() -> None:
    """With the same JSON as in the REST upload."""
    nodes = (NodeState("cn001", "idle", 1, 2, 3, 4),)
    made = nodes_message("demo", nodes, DEMO, FORM, cc=True, at=5)
    assert isinstance(made, NatsMessage)
    ((kind, event, at),) = read(made.payload)
    assert (kind, made.subject, at) == ("nodestate", "cc.nodes", 5 * 10**9)
    assert event["nodes"][0]["states"] == ["idle"]
