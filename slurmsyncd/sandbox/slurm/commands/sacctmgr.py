"""``sacctmgr``: list clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurmsyncd.sandbox.slurm.commands.invocation import CommandError
from slurmsyncd.sandbox.slurm.commands.options import parse

if TYPE_CHECKING:
    from slurmsyncd.sandbox.slurm.commands.invocation import Invocation

_OPTIONS = {
    **dict.fromkeys(("n", "noheader"), "noheader"),
    **dict.fromkeys(("p", "parsable"), "parsable"),
    **dict.fromkeys(("P", "parsable2"), "parsable2"),
    **dict.fromkeys(("i", "immediate"), "immediate"),
}
_COLUMNS = (
    "Cluster",
    "ControlHost",
    "ControlPort",
    "RPC",
    "Share",
    "GrpJobs",
    "GrpTRES",
    "GrpSubmit",
    "MaxJobs",
    "MaxTRES",
    "MaxSubmit",
    "MaxWall",
    "QOS",
    "Def QOS",
)
_RPC = {"22.05": "9728", "24.11": "10752", "26.05": "11520"}


def run(answer: Invocation) -> int:
    """Answer one sacctmgr."""
    known = _OPTIONS | ({"json": "json?"} if answer.shape.modern else {})
    options, words = parse("sacctmgr", answer.argv, known)
    verb, what, *rest = [*words, "", ""]
    if verb not in ("list", "show") or not what.startswith("cluster"):
        raise CommandError(f" Unknown option: {' '.join(words)}\n Use keyword set to modify value")
    if "json" in options:
        return _as_json(answer)
    names = [word.partition("=")[2] or word for word in rest if word and not word.startswith("format=")]
    wanted = next((word[7:].split(",") for word in rest if word.startswith("format=")), _COLUMNS)
    columns = [name for want in wanted for name in _COLUMNS if name.lower() == want.partition("%")[0].lower()]
    after = "|" if "parsable" in options else ""
    if "noheader" not in options:
        answer.write("|".join(columns) + after + "\n")
    for cluster in sorted({answer.cluster, *answer.neighbours}):
        if not names or cluster in names:
            answer.visit(cluster)
            values = _values(answer)
            answer.write("|".join(values[name] for name in columns) + after + "\n")
    return 0


def _values(answer: Invocation) -> dict[str, str]:
    up = "ctld" not in answer.faults
    values = dict.fromkeys(_COLUMNS, "")
    return values | {
        "Cluster": answer.cluster,
        "ControlHost": "127.0.0.1" if up else "",
        "ControlPort": "6817" if up else "0",
        "RPC": _RPC[answer.shape.release],
        "Share": "1",
        "QOS": "normal",
    }


def _as_json(answer: Invocation) -> int:
    document = answer.shape.records["clusters"]
    around = {key: value for key, value in document.items() if key != "clusters"}
    answer.json("clusters", [document["clusters"][0] | {"name": answer.cluster}], around)
    return 0
