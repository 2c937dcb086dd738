"""The job set played once on each release, at the same time on all of them."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from slurmsyncd.config import SlurmConfig
from slurmsyncd.sources.command_source import CommandSource
from tests.system.job_kinds import jobset
from tests.system.job_kinds.observer import Hooks, Observer, Polls, observing
from tests.system.job_kinds.witness import Witness, accounting, runs
from tests.system.job_kinds.world import RELEASES, world

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from slurmsyncd.model import Observation, OutboxEntry
    from tests.tools.lab import Lab
    from tests.tools.lab.witness import Key, Shown

POLL_S = 3.0
#: With hooks the polls are there for what no hook tells: jobs that never start.
SELDOM_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """
    What was played on one release, and what was seen of it. The lab is still there, without jobs.

    Attributes:
        version: Of the release.
        empty: What a look showed before anything was submitted.
        jobs: What was submitted.
        rows: All of accounting.
        runs: Run → its row of accounting.
        shown: Run → what scontrol said while it ran; short ones may be missing.
        observers: ``hooks`` and ``polls``.
    """

    version: str
    lab: Lab
    empty: Observation
    jobs: jobset.JobSet
    rows: Sequence[Mapping[str, str]]
    runs: Mapping[Key, Mapping[str, str]]
    shown: Mapping[Key, Shown]
    observers: Mapping[str, Observer]

    def of(self, kind: str) -> list[Key]:
        """Return the runs of a kind, in order: of all tasks and components, too."""
        own = {row["JobIDRaw"] for row in self.rows if self._is_of(row["JobID"], self.jobs.ids[kind])}
        return sorted((key for key in self.runs if str(key[0]) in own), key=lambda key: (key[1], key[0]))

    def told(self, kind: str, by: str = "hooks") -> list[OutboxEntry]:
        """Return what was told of the runs of a kind."""
        told = self.observers[by].by_key()
        return [told[key] for key in self.of(kind)]

    @staticmethod
    def _is_of(shown: str, job_id: int) -> bool:
        return shown.replace("+", "_").split("_")[0] == str(job_id)


class Stage:
    """Plays on first demand, on all wanted releases at once."""

    def __init__(self, versions: Sequence[str], directory: Path) -> None:
        self._open = ExitStack()
        self._versions = versions
        self._directory = directory
        self._scenes: dict[str, Future[Scene]] = {}

    def scene(self, version: str) -> Scene:
        """Return the scene of a release, once it was played."""
        if not self._scenes:
            pool = ThreadPoolExecutor(len(self._versions))
            self._open.callback(pool.shutdown)
            self._scenes = {version: pool.submit(self._play, version) for version in self._versions}
        return self._scenes[version].result()

    def close(self) -> None:
        """Take all labs away."""
        for future in self._scenes.values():
            future.cancel()
        self._open.close()

    def _play(self, version: str) -> Scene:
        directory = self._directory / version
        directory.mkdir()
        lab = self._open.enter_context(world(RELEASES[version], directory))
        empty = anyio.run(look, lab, directory)
        with observers(lab, directory) as seen, Witness.watching(lab) as witness:
            jobs = jobset.run(lab, lambda job_id: all(each.is_told(job_id) for each in seen.values()))
        rows = accounting(lab)
        shown = witness.seen
        return Scene(
            version=version,
            lab=lab,
            empty=empty,
            jobs=jobs,
            rows=rows,
            runs=runs(rows),
            shown=shown,
            observers=seen,
        )


def source_of(lab: Lab, directory: Path) -> CommandSource:
    """Return the daemon's source on a lab."""
    config = SlurmConfig(bin_dir=str(lab.bin_dir), command_timeout=30)
    return CommandSource(lab.cluster, config, slurm_conf=lab.env["SLURM_CONF"], directory=directory)


async def look(lab: Lab, directory: Path, since_s: int = 600) -> Observation:
    """Look once, some time back."""
    now = int(time.time())
    return await source_of(lab, directory).poll(now - since_s, now)


@contextmanager
def observers(lab: Lab, directory: Path) -> Iterator[Mapping[str, Observer]]:
    """Have one that is told by hooks and one that is not."""
    for name in ("hooks", "polls"):
        (directory / name).mkdir()
    with (
        observing(lab, directory / "hooks", Hooks(lab), poll_s=SELDOM_S) as hooks,
        observing(lab, directory / "polls", Polls(), poll_s=POLL_S) as polls,
    ):
        yield {"hooks": hooks, "polls": polls}
