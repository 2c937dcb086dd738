"""
The releases in between: what was recorded, varied as it varies from one release to the next, says the same.

Data versions differ in how they write what they say: a number plain or as an object, a state as a word or a list,
cores by key or by index, keys that are new, gone or moved. Known facts come out right or are missing, never wrong.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmsyncd.model import Job
from slurmsyncd.slurm.accounting import choose_columns, read_run
from slurmsyncd.slurm.controller_jobs import JobDetails, read_detail
from slurmsyncd.slurm.json_documents import read_records
from slurmsyncd.slurm.nodes import read_node
from tests.unit.slurm.captures import AFTERWARDS, CAPTURES, VERSIONS, records_by_id, sacct_rows

RECORDED = [
    record
    for version in VERSIONS
    for moment in ("running.squeue--json", "ended-in-memory.squeue--t-all--json")
    for record in records_by_id(CAPTURES / version / moment).values()
]
ROWS = [row for version in VERSIONS for row in sacct_rows(version, "ended.sacct-X-D-p2-epoch")]
NODES = [
    node
    for name in ("22.05.8/running.sinfo--json", "26.05.5/running.scontrol-show-nodes--json")
    for node in json.loads((CAPTURES / name).read_text())["nodes"]
]

NUMBERS = (
    *("job_id", "start_time", "end_time", "submit_time", "time_limit", "restart_cnt", "array_job_id"),
    *("array_task_id", "het_job_id", "het_job_offset", "cpus", "node_count", "threads_per_core"),
)
#: Key → field of a run that is empty without it.
OPTIONAL = {
    "submit_time": "submit_at",
    "time_limit": "time_limit_s",
    "restart_cnt": "restarts",
    "cpus": "num_cpus",
    "user_name": "user",
    "account": "account",
    "partition": "partition",
    "qos": "qos",
    "name": "name",
    "comment": "comment",
    "wckey": "wckey",
    "resv_name": "reservation",
    "features": "features",
    "licenses": "licenses",
    "tres_alloc_str": "tres",
    "current_working_directory": "work_dir",
    "step_id": "sluid",
}

anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
new_keys = st.dictionaries(st.from_regex(r"new_[a-z]{1,5}", fullmatch=True), anything, max_size=3)


def read(record: dict[str, Any]) -> JobDetails | None:
    return read_detail(msgspec.Raw(json.dumps(record).encode()), "lab", now=AFTERWARDS)


def plain(value: Any) -> Any:
    """Return what an object says; null for what is not set."""
    if isinstance(value, dict) and "number" in value:
        return value["number"] if value.get("set") and not value.get("infinite") else None
    return value


@st.composite
def number(draw: st.DrawFn, value: Any) -> Any:
    """Write a number as some release does."""
    value = plain(value)
    if value is None:
        unset = {"set": False, "infinite": False, "number": 0}
        return draw(st.sampled_from([None, unset, unset | {"number": 4294967294}, 4294967294]))
    struct = {"set": True, "infinite": False, "number": value}
    return draw(st.sampled_from([value, struct, struct | {"number": float(value)}, str(value)]))


@st.composite
def words(draw: st.DrawFn, value: Any) -> Any:
    """Write words as a list, or as one where it is only one."""
    found = list(value) if isinstance(value, list) else [value]
    return (
        draw(st.permutations(found) | st.just(found[0])) if len(found) == 1 else draw(st.permutations(found))
    )


@st.composite
def resources(draw: st.DrawFn, value: Any) -> Any:
    """Write an allocation in one of the two shapes, with all cores or only those that are held."""
    nodes = list(_nodes(value))
    if not nodes:
        return draw(
            st.sampled_from([None, {}, {"nodes": "", "allocated_nodes": []}, {"nodes": {"allocation": []}}])
        )
    if draw(st.booleans()):
        old = [_old(name, cores, memory) for name, cores, memory in nodes]
        by_index = {str(index): node for index, node in enumerate(old)}
        return {"nodes": "any", "allocated_nodes": draw(st.sampled_from([old, by_index]))}
    every = draw(st.booleans())
    allocation = [draw(_new(name, cores, memory, every=every)) for name, cores, memory in nodes]
    whole = {} if _whole(value) is None else {"whole": _whole(value)}
    return {"nodes": {"allocation": allocation, **whole}, **draw(new_keys)}


def _nodes(value: Any) -> Any:
    value = value or {}
    if isinstance(value.get("nodes"), dict):
        for node in value["nodes"]["allocation"]:
            cores = [
                (socket["index"], core["index"])
                for socket in node["sockets"]
                for core in socket["cores"]
                if "UNALLOCATED" not in core["status"]
            ]
            yield node["name"], cores, node["memory"]["allocated"]
        return
    for node in value.get("allocated_nodes") or ():
        cores = [(int(s), int(c)) for s, socket in node["sockets"].items() for c in socket["cores"]]
        yield node["nodename"], cores, node["memory_allocated"]


def _whole(value: Any) -> bool | None:
    return value["nodes"].get("whole") if isinstance((value or {}).get("nodes"), dict) else None


def _old(name: str, cores: list[tuple[int, int]], memory: Any) -> dict[str, Any]:
    sockets: dict[str, Any] = {}
    for socket, core in cores:
        sockets.setdefault(str(socket), {"cores": {}})["cores"][str(core)] = "allocated"
    return {"nodename": name, "sockets": sockets, "cpus_used": 0, "memory_allocated": plain(memory)}


@st.composite
def _new(
    draw: st.DrawFn, name: str, cores: list[tuple[int, int]], memory: Any, *, every: bool
) -> dict[str, Any]:
    shown = [(s, c) for s in range(2) for c in range(8)] if every else cores
    shown = sorted({*shown, *cores})
    words_ = {
        True: draw(st.sampled_from([["ALLOCATED"], "ALLOCATED", ["ALLOCATED", "IN_USE"]])),
        False: ["UNALLOCATED"],
    }
    sockets = [
        {"index": s, "cores": [{"index": c, "status": words_[(s, c) in cores]} for t, c in shown if t == s]}
        for s in draw(st.permutations(sorted({s for s, _ in shown})))
    ]
    held = {"used": 0, "allocated": draw(number(memory))}
    return {"index": 0, "name": name, "cpus": {"used": 0}, "memory": held, "sockets": sockets}


@st.composite
def variants(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a recorded job, and the same as another release might write it."""
    record = draw(st.sampled_from(RECORDED))
    changed = {key: draw(number(record[key])) for key in NUMBERS if key in record}
    for key in ("job_state", "shared", "exclusive"):
        if record.get(key):
            changed[key] = draw(words(record[key]))
    changed["job_resources"] = draw(resources(record.get("job_resources")))
    return record, record | changed | draw(new_keys)


def comparable(detail: JobDetails | None) -> tuple[Job, bool] | None:
    """Return a run without what only one of the two shapes of an allocation says."""
    if detail is None:
        return None
    assert detail.skipped_fields == ()
    job = detail.job
    held = job.allocation and tuple(dataclasses.replace(node, cpus=None) for node in job.allocation)
    return dataclasses.replace(job, allocation=held, sharing=None, threads_per_core=None), detail.batch


def without(job: Job, field: str) -> Job:
    """Return a run without one of its facts."""
    default: Any = next(spec.default for spec in dataclasses.fields(Job) if spec.name == field)
    change: dict[str, Any] = {field: default}
    return dataclasses.replace(job, **change)


@given(variants())
def test_a_job_says_the_same_however_it_is_written(variant: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """S17: numbers, words and allocations in any release's form, with keys that nobody knows yet."""
    recorded, changed = variant
    assert comparable(read(changed)) == comparable(read(recorded))


@given(st.sampled_from(RECORDED), st.sampled_from(sorted(OPTIONAL)), st.booleans())
def test_a_key_that_is_gone_costs_its_own_fact_alone(record: dict[str, Any], key: str, renamed: bool) -> None:
    """Missing or renamed, it is empty, and no other fact takes its place."""
    before, rest = read(record), {name: value for name, value in record.items() if name != key}
    after = read(rest | ({f"{key}_new": record.get(key)} if renamed else {}))
    if before is None:
        assert after is None
        return
    assert after is not None
    assert after.job == without(before.job, OPTIONAL[key])


@given(
    st.sampled_from(["jobs", "nodes"]),
    st.sampled_from([None, 22, "22", {"major": "24", "minor": "11"}, {"major": 24, "minor": 5, "micro": 0}]),
    st.sampled_from([{}, {"last_update": 7}, {"last_update": {"set": True, "infinite": False, "number": 7}}]),
    st.sampled_from(
        [{}, {"errors": []}, {"errors": None}, {"errors": [], "warnings": [{"description": "x"}]}]
    ),
    new_keys,
)
def test_an_envelope_is_read_whatever_its_versions_look_like(
    key: str, version: Any, updated: dict[str, Any], errors: dict[str, Any], new: dict[str, Any]
) -> None:
    """Versions as numbers, strings or not at all: nothing depends on them."""
    meta = {"Slurm": {"version": version}, "slurm": {"version": version, "release": version}}
    document = {"meta": meta, key: [{"a": 2**80}, {}], **updated, **errors, **new}
    assert len(list(read_records(json.dumps(document).encode(), key))) == 2


@given(st.sampled_from(ROWS), st.data())
def test_a_row_of_accounting_says_the_same_with_fewer_columns(
    row: dict[str, str], data: st.DataObject
) -> None:
    """A release that lacks a column loses that fact alone."""
    flaws: list[str] = []
    whole = read_run(row, "lab", flaws)
    needed = {"JobIDRaw", "JobID", "State", "Start", "End", "NodeList"}
    gone = data.draw(
        st.sampled_from(sorted({"Submit", "AllocTRES", "Restarts", "QOS", "NNodes", "JobName"} & row.keys()))
    )
    assert gone not in needed
    less = read_run({key: value for key, value in row.items() if key != gone}, "lab", flaws)
    assert isinstance(less, Job) == isinstance(whole, Job)
    if isinstance(whole, Job) and isinstance(less, Job):
        fields = {"Submit": "submit_at", "AllocTRES": "tres", "Restarts": "restarts", "QOS": "qos"}
        field = {**fields, "NNodes": "num_nodes", "JobName": "name"}[gone]
        assert less == without(whole, field)
    assert flaws == []


@pytest.mark.parametrize("version", VERSIONS)
@given(data=st.data())
def test_columns_are_chosen_by_name(version: str, data: st.DataObject) -> None:
    """In whatever order and company sacct offers them: what is chosen is offered, and always the same."""
    offered = (CAPTURES / version / "sacct-helpformat.txt").read_text().split()
    mixed = data.draw(st.permutations(offered))
    more = data.draw(st.lists(st.from_regex(r"New[A-Z][a-z]{1,6}", fullmatch=True), max_size=3))
    assert choose_columns(" ".join([*mixed, *more])) == choose_columns("\n".join(offered))


@given(st.sampled_from(NODES), st.data())
def test_a_node_says_the_same_however_it_is_written(node: dict[str, Any], data: st.DataObject) -> None:
    """State and flags in one list, in two, or as words; counts plain or as objects."""
    state = (
        node["state"] if isinstance(node["state"], list) else [node["state"], *node.get("state_flags", [])]
    )
    written = data.draw(
        st.sampled_from(
            [{"state": state}, {"state": state[0], "state_flags": state[1:]}, {"state": "+".join(state)}]
        )
    )
    rest = {key: value for key, value in node.items() if key not in ("state", "state_flags")}
    counts = {key: data.draw(number(node[key])) for key in ("alloc_cpus", "alloc_memory")}
    changed = rest | written | counts | data.draw(new_keys)
    assert _node(changed) == _node(node)


def _node(record: dict[str, Any]) -> Any:
    return read_node(msgspec.Raw(json.dumps(record).encode()), {})
