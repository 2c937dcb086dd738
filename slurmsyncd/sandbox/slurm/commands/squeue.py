"""``squeue``: what slurmctld holds, as text by a format or as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from slurmsyncd.sandbox.slurm import formatting as words
from slurmsyncd.sandbox.slurm import squeue_record as jobs
from slurmsyncd.sandbox.slurm import visibility as views
from slurmsyncd.sandbox.slurm.commands.apply_faults import reach_slurmctld
from slurmsyncd.sandbox.slurm.commands.cluster import select_cluster
from slurmsyncd.sandbox.slurm.commands.invocation import CommandError
from slurmsyncd.sandbox.slurm.commands.options import parse
from slurmsyncd.sandbox.slurm.commands.queue_format import SHORT_STATES, Format
from slurmsyncd.sandbox.slurm.release_format import ReleaseFormat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slurmsyncd.sandbox.slurm.commands.invocation import Invocation
    from slurmsyncd.sandbox.slurm.records import RunRow

_OPTIONS = {
    **dict.fromkeys(("a", "all"), "all"),
    **dict.fromkeys(("h", "noheader"), "noheader"),
    **dict.fromkeys(("j", "jobs"), "jobs="),
    **dict.fromkeys(("t", "states"), "states="),
    **dict.fromkeys(("u", "user"), "user="),
    **dict.fromkeys(("p", "partition"), "partition="),
    **dict.fromkeys(("n", "name"), "name="),
    **dict.fromkeys(("o", "format"), "format="),
    **dict.fromkeys(("S", "sort"), "sort="),
    **dict.fromkeys(("M", "clusters"), "clusters="),
    **dict.fromkeys(("r", "array"), "array"),
    "json": "json?",
    "local": "local",
}


def run(answer: Invocation) -> int:
    """Answer one squeue."""
    options, _ = parse("squeue", answer.argv, _OPTIONS)
    if "json" in options:
        answer.shape = json_shape(answer, options["json"])
    if options.get("json") == "list":
        return 0
    select_cluster(answer, options)
    if "json" in options:
        return _as_json(answer, options)
    reach_slurmctld(answer, "slurm_load_jobs error")
    found = _wanted(answer, options)
    form = Format(answer, options.get("format", "%.18i %.9P %.8j %.8u %.2t %.10M %.6D %R"))
    if "noheader" not in options:
        answer.write(form.header() + "\n")
    for one in found:
        answer.write(form.row(one) + "\n")
    return 0


def json_shape(answer: Invocation, version: str) -> ReleaseFormat:
    """
    Choose the data version that ``--json=VERSION`` names.

    Raises:
        Refused: There is none of that name; 22.05 takes no name at all.
    """
    offered = answer.shape.parsers
    name = answer.command
    if not version:
        return answer.shape
    if not offered:
        raise CommandError(
            f"{name}: option '--json' doesn't allow an argument\nTry \"{name} --help\" for more information"
        )
    if version == "list":
        answer.complain("Possible data_parser plugins:")
        answer.write("".join(f"data_parser/{parser}\n" for parser in offered))
        return answer.shape
    version = version.removeprefix("data_parser/")
    if version not in offered:
        default = answer.shape.parser
        raise CommandError(
            f"{name}: error: load_plugins: unable to find plugin: data_parser/{version}\n"
            f"{name}: error: application/json output not supported by data_parser/{default}"
        )
    if answer.faults.get("mute") == version:
        raise CommandError("", 0)
    return ReleaseFormat(answer.shape.release, version)


def _as_json(answer: Invocation, options: dict[str, str]) -> int:
    shape = answer.shape
    around = shape.envelope("ctld", answer.home, int(answer.now), ["squeue", *answer.argv])
    found: Iterator[RunRow]
    if not shape.modern:
        options = {}  # 22.05 shows everything, whatever was asked for
    try:
        reach_slurmctld(answer, "slurm_load_jobs error")
        found = _wanted(answer, options, everything=not shape.modern)
    except CommandError as refused:
        if shape.modern:
            raise
        answer.complain(refused.message.rpartition("\n")[0])  # exits 0; only errors[] tells
        around["errors"] = [dict(json.loads(_FAILED))]
        found = iter(())
    records = (answer.spoil(jobs.record(one, shape, answer.cluster)) for one in found)
    answer.json("jobs", records, around)
    return 0


_FAILED = (
    '{"description": "Failed while looking for jobs", "error_number": -1,'
    ' "error": "Unspecified error", "source": "slurm_load_jobs"}'
)


def _wanted(answer: Invocation, options: dict[str, str], *, everything: bool = False) -> Iterator[RunRow]:
    """Choose what to show: by default nothing that is over."""
    ids = options.get("jobs", "").split(",") if options.get("jobs") else []
    if len(ids) == 1 and not list(in_memory(answer, ids)):
        raise CommandError("slurm_load_jobs error: Invalid job id specified")
    return _filtered(answer, options, ids, everything=everything)


def _filtered(
    answer: Invocation, options: dict[str, str], ids: list[str], *, everything: bool
) -> Iterator[RunRow]:
    words_of_state = options.get("states", "").upper().replace(" ", "").split(",")
    states = {SHORT_STATES.get(word, word) for word in words_of_state if word}
    for run in in_memory(answer, ids):
        now_in = {run["state"], run["phase"], views.shown_state(run)}
        if states and "ALL" not in states:
            shown = bool(states & now_in)
        else:
            shown = everything or bool(states) or not run["end_at"] or bool(run["phase"])
        if not shown:
            continue
        if "user" in options and run["request"]["user"] not in options["user"].split(","):
            continue
        if "partition" in options and run["request"]["partition"] not in options["partition"].split(","):
            continue
        yield run


def in_memory(answer: Invocation, ids: list[str]) -> Iterator[RunRow]:
    """Return what slurmctld holds, all or by id; ``4`` is all of array or het job 4."""
    if not ids:
        yield from answer.told(answer.state.runs("WHERE in_memory = 1 ORDER BY job_id"))
        return
    numbers = [int(word.partition("_")[0].partition("+")[0]) for word in ids if word[:1].isdigit()]
    marks = ",".join("?" * len(numbers))
    chosen = " OR ".join(f"{column} IN ({marks})" for column in ("job_id", "array_job_id", "het_job_id"))
    found = answer.state.runs(f"WHERE in_memory = 1 AND ({chosen}) ORDER BY job_id", numbers * 3)
    for run in answer.told(found):
        if any(words.matches(run, word) for word in ids):
            yield run
