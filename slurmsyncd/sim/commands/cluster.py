"""``-M``/``--clusters``: there is one cluster, and any other is unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurmsyncd.sim.commands.answer import Refused

if TYPE_CHECKING:
    from slurmsyncd.sim.commands.answer import Answer


def check_cluster(answer: Answer, wanted: str | None) -> None:
    """
    Let a command go on if it asks for this cluster.

    Raises:
        Refused: It asks for another one; sacct alone does not mind (measured).
    """
    names = (wanted or answer.cluster).split(",")
    unknown = [name for name in names if name not in (answer.cluster, "all")]
    if unknown:
        name, head = unknown[0], f"{answer.command}: error: "
        raise Refused(
            f"{head}No cluster '{name}' known by database.\n"
            f"{head}'{name}' can't be reached now, or it is an invalid entry for --cluster.  "
            "Use 'sacctmgr list clusters' to see available clusters."
        )
