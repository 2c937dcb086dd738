"""``sinfo --json``: one record per node in 22.05, one per group of like nodes later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurmsyncd.sandbox.slurm import node_usage as machines
from slurmsyncd.sandbox.slurm.commands.apply_faults import reach_slurmctld
from slurmsyncd.sandbox.slurm.commands.cluster import select_cluster
from slurmsyncd.sandbox.slurm.commands.invocation import CommandError
from slurmsyncd.sandbox.slurm.commands.options import parse
from slurmsyncd.sandbox.slurm.commands.squeue import json_shape

if TYPE_CHECKING:
    from slurmsyncd.sandbox.slurm.commands.invocation import Invocation

_OPTIONS = {
    **dict.fromkeys(("a", "all"), "all"),
    **dict.fromkeys(("N", "Node"), "node"),
    **dict.fromkeys(("h", "noheader"), "noheader"),
    **dict.fromkeys(("M", "clusters"), "clusters="),
    "local": "local",
    "json": "json?",
}


def run(answer: Invocation) -> int:
    """Answer one sinfo."""
    options, _ = parse("sinfo", answer.argv, _OPTIONS)
    if "json" in options:
        answer.shape = json_shape(answer, options["json"])
        if options["json"] == "list":
            return 0
    select_cluster(answer, options)
    if "json" not in options:
        reach_slurmctld(answer, "slurm_load_partitions")
        return _as_text(answer, options)
    shape = answer.shape
    around = shape.envelope("sinfo", answer.home, 0, ["sinfo", *answer.argv])
    try:
        reach_slurmctld(answer, "slurm_load_partitions")
        found = machines.loads(answer.state)
    except CommandError as refused:
        if shape.modern:
            raise
        answer.complain(refused.message.rpartition("\n")[0])  # exits 0; only errors[] tells
        around["errors"] = [{"error": "Unspecified error", "errno": -1}]
        found = []
    if shape.modern:
        answer.json("sinfo", (machines.group(some, shape) for some in machines.alike(found)), around)
    else:
        answer.json("nodes", (machines.record(load, shape) for load in found), around)
    return 0


def _as_text(answer: Invocation, options: dict[str, str]) -> int:
    if "noheader" not in options:
        answer.write("PARTITION AVAIL  TIMELIMIT  NODES  STATE NODELIST\n")
    for some in machines.alike(machines.loads(answer.state)):
        names = machines.names(some)
        answer.write(f"batch*       up 2-00:00:00 {len(some):6d} {some[0].state.lower():>6} {names}\n")
    return 0
