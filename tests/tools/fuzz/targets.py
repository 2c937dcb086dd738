"""
What is fuzzed: for each entry into the pure core, what is fed to it and what must hold.

A check that returns is content, a check that raises has found something: the named error of an entry is
the only one that it lets pass.
"""

from __future__ import annotations

import base64
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from hypothesis import strategies as st
from msgspec import Raw

from slurmsyncd.config import Config, load_config
from slurmsyncd.config import toml as config_toml
from slurmsyncd.control.server import REQUESTS
from slurmsyncd.errors import ConfigError, DecodeError, NotificationError, SourceUnavailable
from slurmsyncd.model import EventKind, Gres, Job, JobState, NodeAllocation, RunEnded, RunKey, RunStarted
from slurmsyncd.sinks.nats.connection import ConnectionFailed
from slurmsyncd.sinks.nats.event import BadEvent, job_event, read_event
from slurmsyncd.sinks.nats.publish import _judged
from slurmsyncd.sinks.rest.responses import (
    BackendResponse,
    LookupNeeded,
    RequestContext,
    RequestKind,
    outcome_of_response,
    parse_retry_after,
)
from slurmsyncd.sinks.rest.token import token_expires_at
from slurmsyncd.sinks.topology import NotKnown, Topology, parse_topology
from slurmsyncd.slurm import controller_jobs as jobs
from slurmsyncd.slurm import nodes
from slurmsyncd.slurm.accounting import read_run
from slurmsyncd.slurm.controller_jobs import read_detail, read_job_id
from slurmsyncd.slurm.delimited_text import DelimitedRows
from slurmsyncd.slurm.gres import parse_gres
from slurmsyncd.slurm.hostlist import HOST_LIMIT, expand_hostlist
from slurmsyncd.slurm.job_list import WIDTH, read_listed_job
from slurmsyncd.slurm.json_documents import read_records
from slurmsyncd.slurm.nodes import read_node
from slurmsyncd.slurm.scalars import parse_tres
from slurmsyncd.triggers.notification import parse_notification
from tests.tools.fuzz import material
from tests.tools.fuzz.http import check_control, check_conversation
from tests.tools.fuzz.limits import check_job, check_number
from tests.tools.fuzz.material import altered, damaged, digits, joined, nested, texts
from tests.unit.slurm.captures import AFTERWARDS

if TYPE_CHECKING:
    from collections.abc import Callable

EVENTFUL = Job(
    key=RunKey("c", 7, 1_700_000_000),
    state=JobState.COMPLETED,
    end_at=1_700_000_060,
    nodes=("n1",),
    tres=(("cpu", 2),),
    allocation=(NodeAllocation("n1", ((0, 1),), 2, 100, (Gres("gpu", "a100", 1, (0,)),)),),
)
NOW = 1_795_300_000.0
TOKEN = b"4f1d8a90c2b7e653"


class Target(NamedTuple):
    feed: st.SearchStrategy[Any]
    check: Callable[[Any], object]


# Slurm's little languages

ranges = joined(digits | st.tuples(digits, digits).map("-".join), ",")
host = joined(
    st.sampled_from(["n", "a-b", "c.d", "_", "0", "٣", "[", "]", " "]) | ranges.map("[{}]".format), ""
)
hostlists = joined(host, ",") | texts
details = st.sampled_from(["", "(S:0)", "(CNT:2)", "(1/4,0/4)", "(IDX:N/A)"]) | ranges.map("(IDX:{})".format)
gres_words = st.sampled_from(
    ["gpu", "gres/gpu", "shard", "mps", "a100", "(null)", "", "1g.5gb", "K", "G", "T"]
)
gres = joined(st.tuples(joined(gres_words | digits, ":", 4), details).map("".join), ",") | texts
units = st.sampled_from(["", "K", "M", "G", "T", "P", "E", "n", "Mn", ".5", ".", "Z"])
tres_names = st.sampled_from(["cpu", "mem", "node", "billing", "gres/gpu:a100", "", "x" * 2000])
tres = joined(st.tuples(tres_names, st.just("="), digits, units).map("".join), ",") | texts


def check_hostlist(text: str) -> None:
    with suppress(DecodeError):
        hosts = expand_hostlist(text)
        assert len(hosts) <= HOST_LIMIT
        assert all(0 < len(name) <= 255 for name in hosts)


def check_gres(text: str) -> None:
    with suppress(DecodeError):
        for each in parse_gres(text):
            check_number(each.count)
            assert each.indexes == tuple(sorted(set(each.indexes)))
            assert all(0 <= index < 1024 for index in each.indexes)


def check_tres(text: str) -> None:
    flaws: list[str] = []
    for name, count in parse_tres(text, flaws):
        assert name
        check_number(count)
    assert len(flaws) <= text.count(",") + 1


# Slurm's text

fields = (
    digits | texts | st.sampled_from(["RUNNING", "CANCELLED by 5", "TIMEOUT", "COMPLETING", "1700000000"])
)
accounting_rows = st.tuples(
    st.sampled_from(material.accounting_rows()),
    st.dictionaries(
        st.sampled_from(sorted(material.accounting_rows()[0])), fields | hostlists | tres, max_size=4
    ),
).map(lambda pair: pair[0] | pair[1])
listing = st.lists(st.lists(fields, min_size=WIDTH, max_size=WIDTH), max_size=4).map(
    lambda rows: b"".join(
        b"".join(field.encode("utf-8", "surrogatepass") + TOKEN for field in row) + b"\n" for row in rows
    )
)


def check_accounting_row(row: dict[str, str]) -> None:
    flaws: list[str] = []
    with suppress(DecodeError):
        found = read_run(row, "c", flaws)
        if isinstance(found, Job):
            check_job(found)
    assert all(len(flaw) < 1000 for flaw in flaws)


def check_listing(text: bytes) -> None:
    rows = DelimitedRows(text, TOKEN, WIDTH)
    for row in rows:
        with suppress(DecodeError):
            job, _ = read_listed_job(row, now=AFTERWARDS)
            assert 0 < job.job_id < 2**32
            assert job.start_at is None or 0 < job.start_at < 2**62
    assert rows.set_aside <= text.count(b"\n") + 1


# Slurm's JSON

json_words = (b"null", b"[]", b"{}", b'""', b"true", b"NaN", b"-Infinity", b'"\\ud800"', b"\xff", b"\\u0000")


def records(real: tuple[bytes, ...], names: tuple[str, ...]) -> st.SearchStrategy[bytes]:
    slim = st.sampled_from([material.slim(record, names) for record in real])
    return damaged(st.sampled_from(real), json_words) | damaged(slim, json_words) | altered(slim)


documents = (
    damaged(st.sampled_from(material.documents()), json_words)
    | st.tuples(st.sampled_from(["errors", "jobs", "nodes", "last_update", "meta"]), nested).map(
        lambda pair: f'{{"jobs": [], "{pair[0]}": [{pair[1]}]}}'.encode()
    )
    | altered(st.just(b'{"errors": [], "jobs": [{}], "nodes": null, "last_update": {"number": 0}}'))
)


def check_job_record(data: bytes) -> None:
    read_job_id(Raw(data))
    with suppress(DecodeError):
        found = read_detail(Raw(data), "c", now=AFTERWARDS)
        if found:
            check_job(found.job)


def check_node_record(data: bytes) -> None:
    with suppress(DecodeError):
        node = read_node(Raw(data), {})
        for number in (node.cpus, node.memory_mib, node.gpus):
            check_number(number)
        assert node.state in {"allocated", "reserved", "idle", "down", "mixed", "unknown"}


def check_document(data: bytes) -> None:
    for key in ("jobs", "nodes"):
        with suppress(DecodeError, SourceUnavailable):
            for record in read_records(data, key):
                check_job_record(bytes(record))
                check_node_record(bytes(record))


# The hook's messages

pairs = st.tuples(
    st.sampled_from(["context", "cluster", "job", "restarts", "task", "secret", "x"]),
    digits | texts | st.sampled_from(["prolog", "epilog", "test", "alpha"]),
).map("=".join)
messages = damaged(
    joined(pairs, " ", 8).map(lambda text: f"slurmsyncd/1 {text}\n".encode("utf-8", "replace"))
)


def check_message(data: bytes) -> None:
    for secret in ("", "s3cret"):
        with suppress(NotificationError):
            hint = parse_notification(data, secret=secret)
            assert 0 <= hint.job_id < 2**32
            assert 0 <= hint.restarts < 2**32
            assert len(hint.cluster) <= 64
            assert hint.context in {"prolog", "epilog", "test"}


# The backend's answers

date_words = st.sampled_from(["Mon", "Mon,", "31", "Feb", "Jan", "1970", "0001", "9999", "99999", "23:59:60"])
zones = st.sampled_from(["GMT", "+0000", "-2359", "+9999", "+99999999999", "EST", "(", ")", "-", ""])
headers = joined(date_words | zones | digits | texts, " ") | texts
claims = damaged(
    st.sampled_from([b'{"exp": 1e308}', b'{"exp": 1800000000}', b'{"exp": null, "a": []}', b"[]"])
)
tokens = joined(claims.map(lambda raw: base64.urlsafe_b64encode(raw).decode().rstrip("=")) | texts, ".", 4)
answer_words = (b"dbid: ", b"already exists", b"UNIQUE constraint failed: job_cache", *json_words)
answers = st.tuples(
    st.sampled_from(RequestKind),
    st.sampled_from([200, 201, 302, 400, 401, 403, 404, 405, 413, 422, 429, 500, 503, 999]),
    damaged(
        st.sampled_from(
            [b'{"error": "already exists (dbid: 7)"}', b"", b'{"status": "Not Found"}', b'{"jobId": 7}']
        ),
        answer_words,
    )
    | nested.map(str.encode),
    st.booleans(),
)
subcluster = b'{"name": "s", "nodes": "n[01-20]", "coresPerSocket": 2, "topology": {"core": [[0, 4]], "accelerators": [{"id": "g"}]}}'
topologies = altered(
    st.just(b'{"clusters": [{"name": "c", "subClusters": [%s]}]}' % subcluster)
) | nested.map(str.encode)


def check_retry_after(value: str) -> None:
    found = parse_retry_after(value, NOW)
    assert found is None or 0 <= found < 1e19


def check_token(token: str) -> None:
    found = token_expires_at(token)
    assert found is None or isinstance(found, float)


def check_answer(case: tuple[RequestKind, int, bytes, bool]) -> None:
    request, status, body, cut = case
    found = outcome_of_response(
        RequestContext(request, 7, "completed"), BackendResponse(status=status, body=body, truncated=cut)
    )
    if not isinstance(found, LookupNeeded):
        assert found.detail.isprintable()
        assert len(found.detail) <= 200


def check_topology(body: bytes) -> None:
    found = parse_topology(body)
    assert isinstance(found, Topology | NotKnown)
    if isinstance(found, Topology):
        for sub in (sub for cluster in found.clusters.values() for sub in cluster):
            sub.has("n" * 255)


# NATS

events = st.sampled_from(
    [
        job_event(EventKind.START, replace(EVENTFUL, end_at=None, state=JobState.RUNNING), None, "c", 100),
        job_event(EventKind.STOP, EVENTFUL, EVENTFUL, "c", 100),
    ]
)
acks = st.sampled_from(
    [
        b'{"stream": "S", "seq": 7}',
        b'{"stream": "S", "seq": 7, "duplicate": true}',
        b'{"error": {"code": 503, "err_code": 10077, "description": "maximum messages exceeded"}}',
    ]
)


def check_event(body: bytes) -> None:
    with suppress(BadEvent):
        assert isinstance(read_event(body), RunStarted | RunEnded)


def check_acknowledgement(body: bytes) -> None:
    with suppress(ConnectionFailed):
        assert _judged(body).detail.isprintable()


# The operator's files

sections = st.sampled_from(["daemon", "slurm", "hook", "sinks.cc", "clusters.alpha", "sinks", "nats", "x"])
keys = st.sampled_from(
    [
        "poll_interval",
        "max_span",
        "state_dir",
        "bin_dir",
        "batch",
        "socket",
        "listen",
        "url",
        "token_file",
        "name",
        "hwthreads",
        "gpus",
        "servers",
        "requeue",
        "type",
        "a.b",
        '"\\n"',
        "script_limit",
    ]
)
odd_values = [
    "true",
    '"x"',
    "1e400",
    "nan",
    "-inf",
    "0x" + "f" * 5000,
    '"\\u0000"',
    "{a = 1}",
    "[[0, 1], [2]]",
]
toml_values = digits | st.sampled_from([*odd_values, "1979-05-27", "[" * 500])
headings = st.tuples(st.sampled_from(["[{}]", "[[{}]]"]), sections).map(lambda pair: pair[0].format(pair[1]))
lines = st.tuples(keys, toml_values).map(" = ".join)
configs = damaged(joined(headings | lines, "\n", 10).map(str.encode))


def check_config(data: bytes) -> None:
    try:
        tree = config_toml.parse(data.decode())
    except ValueError:  # UnicodeDecodeError is one
        return
    problems: tuple[str, ...] = ()
    try:
        assert isinstance(load_config(tree), Config)
    except ConfigError as err:
        problems = err.problems
    assert all(line.isprintable() and len(line) < 2000 for line in problems)


# Whoever finds the HTTP port

request_heads = (
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /a%20b?x=1&y=%ff HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    b"HEAD / HTTP/1.0\r\nAccept-Encoding: gzip;q=0, *\r\n\r\n",
)
http_words = (
    b"\r\n",
    b"\n",
    b"Content-Length: ",
    b"Transfer-Encoding: chunked\r\n",
    b": ",
    b"%",
    b"Upgrade: x\r\n",
)
conversations = st.lists(damaged(st.sampled_from(request_heads), http_words), min_size=1, max_size=3).map(
    b"".join
)

control_words = (b"ids", b"sink", b"now", b"key", b"job_id", *json_words)
controls = st.tuples(
    st.sampled_from([*sorted(REQUESTS), "AskNothing", ""]),
    damaged(st.sampled_from([b"{}", b'{"job_id": 7}', b'{"ids": [1]}', b'{"minutes": 5}']), control_words)
    | altered(
        st.just(b'{"ids": [7], "job_id": 7, "sink": "cc", "state": "dead", "reason": null, "now": 1.5}')
    )
    | nested.map(str.encode),
)

TARGETS = {
    "hostlist": Target(hostlists, check_hostlist),
    "gres": Target(gres, check_gres),
    "tres": Target(tres, check_tres),
    "accounting_row": Target(accounting_rows, check_accounting_row),
    "listing": Target(damaged(listing, (TOKEN, b"\n", TOKEN + b"\n")), check_listing),
    "job_record": Target(records(material.job_records(), jobs._Record.__struct_fields__), check_job_record),
    "node_record": Target(
        records(material.node_records(), nodes._Record.__struct_fields__), check_node_record
    ),
    "document": Target(documents, check_document),
    "message": Target(messages, check_message),
    "retry_after": Target(headers, check_retry_after),
    "token": Target(tokens, check_token),
    "answer": Target(answers, check_answer),
    "topology": Target(topologies, check_topology),
    "event": Target(damaged(events, json_words) | altered(events), check_event),
    "acknowledgement": Target(
        damaged(acks, json_words) | altered(acks) | nested.map('{{"a":{}}}'.format).map(str.encode),
        check_acknowledgement,
    ),
    "config": Target(configs, check_config),
    "control": Target(controls, check_control),
    "http": Target(conversations, check_conversation),
}
