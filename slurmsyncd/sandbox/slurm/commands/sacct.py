"""``sacct``: what slurmdbd holds, chosen by window, state or id."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurmsyncd.sandbox.slurm import sacct_record as accounts
from slurmsyncd.sandbox.slurm import visibility as views
from slurmsyncd.sandbox.slurm.commands.invocation import CommandError
from slurmsyncd.sandbox.slurm.commands.options import parse
from slurmsyncd.sandbox.slurm.commands.squeue import json_shape
from slurmsyncd.sandbox.slurm.commands.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slurmsyncd.sandbox.slurm.commands.invocation import Invocation
    from slurmsyncd.sandbox.slurm.records import RunRow

_OPTIONS = {
    **dict.fromkeys(("a", "allusers"), "allusers"),
    **dict.fromkeys(("X", "allocations"), "allocations"),
    **dict.fromkeys(("D", "duplicates"), "duplicates"),
    **dict.fromkeys(("n", "noheader"), "noheader"),
    **dict.fromkeys(("p", "parsable"), "parsable"),
    **dict.fromkeys(("P", "parsable2"), "parsable2"),
    **dict.fromkeys(("T", "truncate"), "truncate"),
    **dict.fromkeys(("e", "helpformat"), "helpformat"),
    **dict.fromkeys(("S", "starttime"), "starttime="),
    **dict.fromkeys(("E", "endtime"), "endtime="),
    **dict.fromkeys(("s", "state"), "state="),
    **dict.fromkeys(("j", "jobs"), "jobs="),
    **dict.fromkeys(("u", "user"), "user="),
    **dict.fromkeys(("r", "partition"), "partition="),
    **dict.fromkeys(("o", "format"), "format="),
    **dict.fromkeys(("M", "clusters"), "clusters="),
    "local": "local",
    "delimiter": "delimiter=",
    "noconvert": "noconvert",
    "json": "json?",
}
_DEFAULT_FIELDS = "JobID,JobName,Partition,Account,AllocCPUS,State,ExitCode"


def run(answer: Invocation) -> int:
    """Answer one sacct."""
    options, _ = parse("sacct", answer.argv, _OPTIONS)
    if "helpformat" in options:
        answer.write(answer.shape.text("helpformat"))
        return 0
    if "json" in options:
        answer.shape = json_shape(answer, options["json"])
        if options["json"] == "list":
            return 0
    window = Window(options, answer.now)
    fields = _fields(answer, options)
    # Of a cluster that slurmdbd does not know there is nothing, with exit code 0 (measured).
    known = answer.visit(options.get("clusters", answer.cluster).split(",")[0].lower())
    found = answer.told(_runs(answer, window, options)) if known else iter(())
    if "json" in options:
        shape = answer.shape
        around = shape.envelope("dbd", answer.home, 0, ["sacct", *answer.argv])
        answer.json(
            "jobs",
            (answer.spoil(accounts.record(one, shape, answer.cluster, answer.now)) for one in found),
            around,
        )
        return 0
    _as_text(answer, options, fields, found)
    return 0


def _fields(answer: Invocation, options: dict[str, str]) -> list[str]:
    known = {name.lower(): name for name in answer.shape.text("helpformat").split()}
    fields = []
    for field in options.get("format", _DEFAULT_FIELDS).split(","):
        name = field.partition("%")[0].strip()
        if name.lower() not in known:
            raise CommandError(f'sacct: error: Invalid field requested: "{name}"')
        fields.append(known[name.lower()])
    return fields


def _as_text(answer: Invocation, options: dict[str, str], fields: list[str], found: Iterator[RunRow]) -> None:
    parsable = "parsable" in options or "parsable2" in options
    between = options.get("delimiter", "|") if parsable else " "
    after = between if "parsable" in options else "" if parsable else " "
    if "noheader" not in options:
        answer.write(between.join(f if parsable else f"{f:>10}" for f in fields) + after + "\n")
        if not parsable:
            answer.write(" ".join("-" * 10 for _ in fields) + " \n")
    for run in found:
        values = accounts.fields(run, answer.shape.release, answer.cluster, answer.now, answer.instant)
        if answer.poison == ("types", run["job_id"]):
            values |= {"start": "soon", "end": "-1", "uid": "", "jobidraw": run["job_id"], "nnodes": "many"}
        texts = [str(values.get(field.lower(), "")) for field in fields]
        answer.write(between.join(t if parsable else f"{t[:10]:>10}" for t in texts) + after + "\n")


def _runs(answer: Invocation, window: Window, options: dict[str, str]) -> Iterator[RunRow]:
    """Return the runs by job id, the oldest run of an id first; without -D only its newest."""
    ids = _candidates(answer, window)
    newest = {} if "duplicates" in options or _json_doubles(answer, options) else _newest(answer)
    users = options.get("user", "").split(",") if options.get("user") else []
    for run in answer.state.by_id(ids):
        if newest.get(run["job_id"], run["id"]) != run["id"]:
            continue
        shown = views.in_accounting(run, answer.now)
        if shown is None or not window.takes(shown) or (users and shown["request"]["user"] not in users):
            continue
        yield window.cut(shown) if "truncate" in options else shown


def _json_doubles(answer: Invocation, options: dict[str, str]) -> bool:
    """22.05's JSON has every record of a requeued job, asked or not."""
    return "json" in options and not answer.shape.modern


def _newest(answer: Invocation) -> dict[int, int]:
    """Return job id → row of its newest run that slurmdbd knows of, for ids with more than one."""
    newest: dict[int, int] = {}
    where = "WHERE job_id IN (SELECT job_id FROM run WHERE state = 'REQUEUED') ORDER BY id"
    for run in answer.state.runs(where):
        if run["submit_seen"] <= answer.now:
            newest[run["job_id"]] = run["id"]
    return newest


def _candidates(answer: Invocation, window: Window) -> list[int]:
    """Return the rows that may fit, found by index; the window decides."""
    state = answer.state
    if window.ids:
        marks = ",".join("?" * len(window.ids))
        numbers = list(window.ids) * 3
        where = f"job_id IN ({marks}) OR array_job_id IN ({marks}) OR het_job_id IN ({marks})"
        return state.ids(f"WHERE {where} ORDER BY job_id, id", numbers)
    ended = "(end_at BETWEEN ? AND ? OR end_seen > ?)"
    values = [window.start, window.end, answer.now]
    if not window.only_ended:
        ended = "(end_at = 0 OR end_at >= ? OR end_seen > ?)"
        values = [window.start, answer.now]
    return state.ids(f"WHERE {ended} ORDER BY job_id, id", values)
