"""``-M``/``--clusters``: go to another cluster that the same slurmdbd knows; any other is unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurmsyncd.sandbox.slurm.commands.apply_faults import reach_slurmdbd
from slurmsyncd.sandbox.slurm.commands.invocation import CommandError

if TYPE_CHECKING:
    from slurmsyncd.sandbox.slurm.commands.invocation import Invocation


def select_cluster(answer: Invocation, options: dict[str, str], *, heading: bool = True) -> None:
    """
    Let a command that asks a controller go where ``-M`` says; without it, it stays where it is.

    Of several clusters the first is taken: for their JSON 22.05 does so, too.

    Args:
        answer: The call.
        options: As parsed.
        heading: The command begins what it prints with the cluster's name, unless it has ``-h``.

    Raises:
        Refused: slurmdbd does not answer, or knows no such cluster, or not its controller's address. That is
            so while it is down: unlike without ``-M`` the command fails at once then, also for JSON.
    """
    if "clusters" not in options:
        return
    reach_slurmdbd(answer)
    name = options["clusters"].split(",")[0].lower()
    head = f"{answer.command}: error: "
    known = answer.visit(name)
    if not known or answer.faults.get("ctld", "").startswith("down"):
        lines = [] if known else [f"{head}No cluster '{name}' known by database."]
        lines.append(
            f"{head}'{name}' can't be reached now, or it is an invalid entry for --cluster.  "
            "Use 'sacctmgr list clusters' to see available clusters."
        )
        if answer.shape.modern:
            lines.append(f"{answer.command}: fatal: Could not get cluster information")
        raise CommandError("\n".join(lines))
    if heading and "noheader" not in options and ("json" not in options or answer.shape.modern):
        answer.write(f"CLUSTER: {name}\n")
