"""A state directory as a daemon leaves it behind, with runs in every state."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from slurmsyncd.model import Job, JobState, RunKey
from tests.tools.flips.world import CLUSTERS, T0, Daemon, World

if TYPE_CHECKING:
    from pathlib import Path

LEFT_AT = T0 + 311
BACK_AT = T0 + 1000
OVER_AT = T0 + 2000

#: What becomes of runs of each cluster: from when to when they run (seconds after T0).
KINDS = {
    "settled": (-3000, -2000),
    "running": (-500, 1900),
    "refused": (-500, 1900),
    "dropped": (-400, -100),
    "unmapped": (-500, -200),
    "failing": (200, 1900),
    "held": (280, 299),
    "not sent yet": (305, 1900),
    "over and not sent yet": (305, 308),
    "over while nobody looked": (-500, 600),
    "begun and over while nobody looked": (500, 700),
    "begun while nobody looked": (900, 1900),
}
#: Runs of a kind in each cluster. Of what was forgotten the pages are free; rejections in a row are the sink's.
_EACH = {"forgotten": 40, "refused": 1, "dropped": 1, "unmapped": 1}


@dataclass(frozen=True)
class Left:
    """
    What a daemon left.

    Attributes:
        directory: The state directory.
        world: As it was then.
    """

    directory: Path
    world: World


def runs_of(cluster: str, first_id: int) -> dict[str, list[Job]]:
    """Make the runs of a cluster by kind; every third has a long record, and every ninth a very long one."""
    spans = {"forgotten": (-9000, -8000), **KINDS}
    made: dict[str, list[Job]] = {}
    job_id = first_id
    for kind, (start, end) in spans.items():
        for number in range(_EACH.get(kind, 3)):
            job_id += 1
            made.setdefault(kind, []).append(
                Job(
                    key=RunKey(cluster, job_id, T0 + start + number),
                    state=JobState.COMPLETED,
                    end_at=T0 + end + number,
                    user="anna",
                    name=f"{kind} {job_id}",
                    nodes=("n1",),
                    num_nodes=1,
                    comment=Random(job_id).randbytes(600).hex() if job_id % 3 == 0 else "",
                    script=Random(job_id).randbytes(5000).hex() if job_id % 9 == 0 else None,
                )
            )
    return made


async def leave(root: Path, *, killed: bool) -> Left:
    """Let a daemon live, and stop or kill it."""
    made = [runs_of(cluster, 1000 * number) for number, cluster in enumerate(CLUSTERS, 1)]
    world = World(runs=[run for kinds in made for runs in kinds.values() for run in runs])
    for name, keys in (
        ("refused", world.refused),
        ("dropped", world.refused),
        ("unmapped", world.unmapped),
        ("failing", world.failing),
    ):
        keys.update(run.key for kinds in made for run in kinds[name])
    directory = root / "state"
    daemon = Daemon(directory, world)
    with daemon.closing():
        await _live(daemon, world)
    daemon = Daemon(directory, world)
    with daemon.closing():
        await _look_once_more(daemon, world)
        if killed:
            directory = shutil.copytree(directory, root / "killed")
    return Left(directory, world)


async def _live(daemon: Daemon, world: World) -> None:
    await daemon.begin()
    for at in (T0 - 1000, T0 - 800):
        world.clock.at = at
        await daemon.look()
        await daemon.deliver()
    await daemon.keep_house(keep_s=1.0)
    for at in (T0, T0 + 200, T0 + 300):
        world.clock.at = at
        await daemon.look()
        await daemon.deliver()
    names = {run.key: run.name for run in world.runs}
    daemon.store.drop(
        letter.id for letter in daemon.store.list_deliveries() if names[letter.key].startswith("dropped")
    )


async def _look_once_more(daemon: Daemon, world: World) -> None:
    """Look at one of the clusters, and be gone before anything is sent."""
    await daemon.begin()
    world.clock.at = LEFT_AT
    world.silent = {"beta"}
    await daemon.look()
    world.silent = set()
