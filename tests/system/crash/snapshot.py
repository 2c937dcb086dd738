"""All of a state directory that anybody can see, read by opening it again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from slurmsyncd.model import EventKind
from slurmsyncd.store import checkpoint_file as lastrun
from tests.system.crash.script import LASTRUN, SCRIPTS, SINK, Life, opened, prepare
from tests.unit.store.builders import CLUSTER, T0, known

if TYPE_CHECKING:
    from pathlib import Path

    from slurmsyncd.model import OutboxEntry, RunKey, RunPhase
    from slurmsyncd.store.queries import RunHistory

LATER = T0 + 10**6


@dataclass(frozen=True)
class Snapshot:
    """
    What a daemon that starts now finds; bodies and delivery ids included.

    Attributes:
        position: From where it reads on: the earlier of store and checkpoint file. A file that was made and
            not yet dated is later than any, and moves nothing.
    """

    recovered: bool
    cursor: int | None
    position: int | None
    known: dict[RunKey, RunPhase]
    due: tuple[OutboxEntry, ...]
    stories: tuple[RunHistory, ...]


def look(directory: Path) -> Snapshot:
    """Open a directory as a daemon would, and look."""
    now = opened(directory)
    store = now.store
    try:
        cursor = store.cursor(CLUSTER)
        checkpoint = lastrun.read(directory / LASTRUN)
        return Snapshot(
            recovered=now.recovered is not None,
            cursor=cursor,
            position=min((at for at in (cursor, checkpoint) if at is not None), default=None),
            known=known(store, CLUSTER, range(10)),
            due=tuple(entry for step in EventKind for entry in store.due(SINK, step, LATER, 100)),
            stories=tuple(story for job_id in range(10) for story in store.run_histories(job_id)),
        )
    finally:
        store.close()


def expected(name: str, root: Path) -> list[Snapshot]:
    """Return what is there after none, one, two, … of the script's steps, without any trouble."""
    found = []
    for number in range(len(SCRIPTS[name]) + 1):
        directory = root / f"after-{number}"
        prepare(name, directory)
        life = Life(directory)
        for step in SCRIPTS[name][:number]:
            step(life)
        life.close()
        found.append(look(directory))
    return found
