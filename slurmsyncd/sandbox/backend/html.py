"""The changing parts of the page as HTML. Pure; all foreign text is escaped by ``text``."""

from __future__ import annotations

import html
import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from slurmsyncd.sandbox.backend.listing import Filter
from slurmsyncd.sandbox.backend.ranges import fold_hosts, fold_numbers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from slurmsyncd.sandbox.backend.database import Row

_DAY = 86400
_LONG = 120
_CUT = 65536
_GROUP_TITLES = {"": "All", "running": "Running", "completed": "Completed", "unsuccessful": "Unsuccessful"}
_TONES = {
    "running": "run",
    "completed": "ok",
    "cancelled": "off",
    "timeout": "warn",
    "deadline": "warn",
    "preempted": "warn",
    "pending": "wait",
    "suspended": "wait",
}
_ARCHIVED = {0: "not monitored", 1: "waiting", 2: "failed", 3: "done"}


def text(value: object) -> str:
    """Escape anything; control and direction characters become visible placeholders."""
    plain = "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in str(value)[:_CUT])
    return html.escape(plain)


def span(seconds: int) -> str:
    """Return a duration as Slurm does: ``[days-]hh:mm:ss``."""
    days, rest = divmod(max(seconds, 0), _DAY)
    clock = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days}-{clock}" if days else clock


def moment(at: int, now: float) -> str:
    """Return an instant in local time, with the date if it is not near; epoch seconds."""
    try:
        local, utc = time.localtime(at), time.gmtime(at)
    except (OverflowError, ValueError, OSError):  # the API takes any 64 bits
        return text(at)
    shape = "%H:%M:%S" if abs(now - at) < _DAY / 2 else "%Y-%m-%d %H:%M"
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", utc)
    full = time.strftime("%Y-%m-%d %H:%M:%S %Z", local)
    return f'<time datetime="{stamp}" title="{text(full)}">{time.strftime(shape, local)}</time>'


def address(row: Row) -> str:
    """Return the key of a job, the same before and after its commit."""
    return f"{row['cluster']}/{row['job_id']}/{row['start_time']}"


def rows(jobs: Iterable[Row], wanted: Filter, now: float) -> str:
    """Return the table's rows."""
    return "".join(_row(job, wanted, now) for job in jobs)


def _row(job: Row, wanted: Filter, now: float) -> str:
    hosts = [resource.get("hostname", "") for resource in json.loads(job["resources"])]
    link = text("/?" + query(wanted, job=address(job)))
    name = text(job["name"] or "")
    return (
        f'<tr id="j/{text(address(job))}" data-state="{text(job["job_state"])}">'
        f'<td class="state">{_badge(job)}</td>'
        f'<td class="id"><a href="{link}">{job["job_id"]}</a>{_array(job)}</td>'
        f'<td class="name clip" title="{name}">{name}</td>'
        f'<td class="user">{text(job["hpc_user"])}</td>'
        f'<td class="project">{text(job["project"])}</td>'
        f'<td class="partition">{text(job["partition"])}</td>'
        f'<td class="nodes clip" title="{text(fold_hosts(hosts))}">{text(fold_hosts(hosts))}</td>'
        f'<td class="count num" data-unit="nodes">{job["num_nodes"]}</td>'
        f'<td class="count num" data-unit="CPUs">{job["num_hwthreads"] or ""}</td>'
        f'<td class="count num" data-unit="GPUs">{job["num_acc"] or ""}</td>'
        f'<td class="start num">{moment(job["start_time"], now)}</td>'
        f'<td class="end num">{_end(job, now)}</td>'
        f'<td class="span num">{_elapsed(job, now)}</td></tr>'
    )


def _badge(job: Row) -> str:
    state = job["job_state"]
    waiting = '<span class="cached" title="cached: in the API after the next commit">new</span>'
    label = text(state.replace("_", " "))
    return f'<span class="badge {_TONES.get(state, "bad")}">{label}</span>{waiting if job["cached"] else ""}'


def _array(job: Row) -> str:
    master = job["array_job_id"]
    return f'<span class="array" title="task of array {master}">of {master}</span>' if master else ""


def _end(job: Row, now: float) -> str:
    return "" if job["job_state"] == "running" else moment(job["start_time"] + job["duration"], now)


def _elapsed(job: Row, now: float) -> str:
    running = job["job_state"] == "running"
    seconds = int(now) - job["start_time"] if running else job["duration"]
    limit = job["walltime"]
    if not running or limit <= 0:
        return span(seconds)
    spent = min(max(seconds, 0), limit)
    return f'{span(seconds)}<progress max="{limit}" value="{spent}" title="limit {span(limit)}"></progress>'


def query(wanted: Filter, **more: str) -> str:
    """Return the query string of a filter."""
    pairs = {"q": " ".join(wanted.words), "state": wanted.group, "cluster": wanted.cluster, **more}
    if wanted.limit != Filter().limit:
        pairs["limit"] = str(wanted.limit)
    return urlencode({key: value for key, value in pairs.items() if value}, quote_via=quote)


def chips(totals: Mapping[str, int], wanted: Filter) -> str:
    """Return the choice of states, with counts."""
    checked = {wanted.group: " checked"}
    return "".join(
        f'<label><input type="radio" name="state" value="{group}"{checked.get(group, "")}>'
        f'<span>{title} <b id="n-{group}" data-live>{totals[group]}</b></span></label>'
        for group, title in _GROUP_TITLES.items()
    )


def cluster_choice(names: Iterable[str], wanted: Filter) -> str:
    """Return the choice of clusters."""
    options = "".join(
        f'<option{" selected" if name == wanted.cluster else ""} value="{text(name)}">{text(name)}</option>'
        for name in names
    )
    everything = '<option value="">all clusters</option>'
    return f'<select name="cluster" aria-label="Cluster">{everything}{options}</select>'


def node_bars(counts: Mapping[str, Mapping[str, int]]) -> str:
    """Return each cluster's node states as a bar with its numbers."""
    return "".join(_bar(cluster, states) for cluster, states in counts.items())


def _bar(cluster: str, states: Mapping[str, int]) -> str:
    total, at = sum(states.values()), 0
    parts, legend = "", ""
    for state, count in states.items():
        parts += f'<rect class="n-{state}" x="{at}" width="{count}" height="1"/>'
        legend += f'<li class="n-{state}">{count} {state}</li>'
        at += count
    return (
        f'<div class="bar"><h2>{text(cluster)} <small>{total} nodes</small></h2>'
        f'<svg viewBox="0 0 {total} 1" preserveAspectRatio="none" aria-hidden="true">{parts}</svg>'
        f"<ul>{legend}</ul></div>"
    )


def detail(job: Row, now: float) -> str:
    """Return everything about one job."""
    meta = json.loads(job["meta_data"] or "{}")
    short = {key: value for key, value in meta.items() if len(value) <= _LONG and "\n" not in value}
    long = ((text(key), text(value)) for key, value in meta.items() if key not in short)
    facts = [(label, value) for label, value in _facts(job, now) if value]
    named = [(text(key), text(value)) for key, value in short.items() if key != "jobName"]
    return (
        f'<h2>{_badge(job)} Job {job["job_id"]}</h2><p class="title">{text(job["name"] or "")}</p>'
        f"{_definitions(facts)}<h3>Resources</h3>{_resources(json.loads(job['resources']))}"
        + (f"<h3>Metadata</h3>{_definitions(named)}" if named else "")
        + "".join(f"<h3>{key}</h3><pre>{value}</pre>" for key, value in long)
    )


def _facts(job: Row, now: float) -> list[tuple[str, str]]:
    committed = "cached, waits for the commit" if job["cached"] else f"committed as {job['id']}"
    return [
        ("User", text(job["hpc_user"])),
        ("Project", text(job["project"])),
        ("Cluster", text(f"{job['cluster']} / {job['subcluster']}")),
        ("Partition", text(job["partition"])),
        ("Array job", text(job["array_job_id"] or "")),
        ("Start", moment(job["start_time"], now)),
        ("End", _end(job, now)),
        ("Elapsed", _elapsed(job, now)),
        ("Time limit", span(job["walltime"]) if job["walltime"] > 0 else ""),
        ("Nodes", text(job["num_nodes"])),
        ("CPUs", text(f"{job['num_hwthreads']} hardware threads" if job["num_hwthreads"] else "")),
        ("GPUs", text(job["num_acc"] or "")),
        ("Nodes shared", text(job["shared"].replace("_", " "))),
        ("SMT", text(job["smt"] or "")),
        ("Record", text(committed)),
        ("Archive", _ARCHIVED[job["monitoring_status"]] if job["job_state"] != "running" else ""),
    ]


def _definitions(pairs: Iterable[tuple[str, str]]) -> str:
    body = "".join(f"<div><dt>{label}</dt><dd>{value}</dd></div>" for label, value in pairs)
    return f"<dl>{body}</dl>"


def _resources(resources: list[dict[str, Any]]) -> str:
    """Return a line for each set of nodes on which the job holds the same."""
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for resource in resources:
        held = fold_numbers(resource.get("hwthreads", ())), tuple(resource.get("accelerators", ()))
        alike.setdefault(held, []).append(resource.get("hostname", ""))
    lines = "".join(
        f"<tr><td>{text(fold_hosts(hosts))}</td><td>{text(threads or 'whole node')}</td>"
        f"<td>{'<br>'.join(text(gpu) for gpu in gpus)}</td></tr>"
        for (threads, gpus), hosts in alike.items()
    )
    head = "<tr><th>Nodes</th><th>Hardware threads of each</th><th>Accelerators of each</th></tr>"
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{lines}</tbody></table></div>'
