"""What Slurm's own text says of each run: of its first size while it runs, and of its end."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.tools.lab import witness
from tests.tools.lab.witness import had_nodes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.tools.lab import Lab
    from tests.tools.lab.witness import Key, Shown

COLUMNS = (
    *("JobIDRaw", "JobID", "State", "Submit", "Start", "End", "TimelimitRaw", "NNodes", "NCPUS", "NodeList"),
    *("AllocTRES", "ExitCode", "User", "Account", "Partition", "QOS", "Reservation", "WCKey", "JobName"),
    *("Comment", "WorkDir", "SubmitLine"),
)
TOKEN = "@kinds@"
RUNNING = ("RUNNING", "CONFIGURING", "SUSPENDED")


@dataclass(slots=True)
class Witness:
    """Notes of each run what scontrol shows first while it runs: its size may change later."""

    seen: dict[Key, Shown] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def watching(cls, lab: Lab) -> Iterator[Witness]:
        """Have one watch."""
        found = cls()
        with witness.watching(lab, found._note):
            yield found

    def _note(self, shown: Shown) -> None:
        if shown.state in RUNNING:
            self.seen.setdefault(shown.key, shown)


def accounting(lab: Lab) -> list[dict[str, str]]:
    """Return all rows of accounting, one for each run and each size of a run."""
    form = ("-a", "-X", "-D", "-n", "-p", "--noconvert", f"--delimiter={TOKEN}")
    text = lab.run("sacct", *form, "-S", "uts1000000000", "-o", ",".join(COLUMNS))
    cells, width = text.split(TOKEN), len(COLUMNS)
    assert cells.pop() == "\n"
    rows = [cells[at : at + width] for at in range(0, len(cells), width)]
    return [dict(zip(COLUMNS, (row[0].removeprefix("\n"), *row[1:]), strict=True)) for row in rows]


def runs(rows: list[dict[str, str]]) -> dict[Key, dict[str, str]]:
    """
    Return the runs among the rows: those that had nodes; of a run that was resized, the last size.

    From 24.11 on, each size starts when the one before ended; in 22.05 all start when the run did.
    """
    found = [row for row in rows if had_nodes(row)]
    sizes = [row for row in found if row["State"] == "RESIZING"]
    result = {}
    for row in found:
        if row in sizes:
            continue
        start = row["Start"]
        while before := [s for s in sizes if (s["JobIDRaw"], s["End"]) == (row["JobIDRaw"], start)]:
            start = before[0]["Start"]
        result[int(row["JobIDRaw"]), int(start)] = row
    return result
