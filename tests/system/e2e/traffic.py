"""Jobs that come and go while something is wrong, and what the backend must have of them in the end."""

from __future__ import annotations

import random
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.system.e2e.witness import comparable, expected, runs
from tests.tools.lab import LabError, until
from tests.tools.lab.lab import EVER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.system.e2e.site import Backend
    from tests.system.e2e.witness import Run, Witness
    from tests.tools.lab import Lab

#: Options of the jobs, in turn.
KINDS = (
    ("-n3",),
    ("-N2", "-n6", "--gres=gpu:1"),
    ("-n1", "--gres=gpu:2"),
    ("-n2", "--time=30"),
)


@dataclass(slots=True)
class Traffic:
    """
    Jobs of a test.

    Attributes:
        ids: Theirs, in the order of their submission.
        name: Of all of them; a test that streams has one of its own.
    """

    lab: Lab
    witness: Witness
    ids: list[int] = field(default_factory=list)
    name: str = "traffic"

    def submit(self, *args: str, seconds: float, flag: Path | None = None) -> int:
        """Submit a job that sleeps, or waits until a file is there, and then ends by itself."""
        script = f"until [ -e {flag} ]; do sleep 0.2; done" if flag else f"sleep {seconds:g}"
        self.ids.append(self.lab.sbatch("-J", self.name, *args, script=script))
        return self.ids[-1]

    def start(self, *args: str, seconds: float = 300, flag: Path | None = None) -> int:
        """Submit a job and wait until it runs."""
        job_id = self.submit(*args, seconds=seconds, flag=flag)
        self.lab.wait(job_id, "RUNNING")
        return job_id

    def any(self, dice: random.Random, kinds: Sequence[tuple[str, ...]] = KINDS) -> int:
        """
        Submit the next kind of job, for some seconds.

        Longer ones hold GPUs: nobody can learn of a GPU that was held while no daemon lived.
        """
        args = kinds[len(self.ids) % len(kinds)]
        long_ = any("gpu" in arg for arg in args)
        return self.submit(*args, seconds=dice.choice([6, 8, 10] if long_ else [0, 1, 3, 5]))

    @contextmanager
    def stream(self, *kinds: tuple[str, ...], every_s: float = 0.8) -> Iterator[None]:
        """
        Have short jobs of these kinds come and go all the time, whether Slurm takes one or not.

        Call `find` afterwards where Slurm may have taken one without saying so.
        """
        over = threading.Event()
        thread = threading.Thread(target=self._submit_on, args=(over, kinds, every_s))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _submit_on(self, over: threading.Event, kinds: Sequence[tuple[str, ...]], every_s: float) -> None:
        dice = random.Random()
        while not over.wait(every_s):
            with suppress(LabError):  # Slurm may be away
                self.any(dice, kinds)

    def find(self) -> None:
        """Take up the jobs that Slurm took without saying so, since it went away."""
        listed = self.lab.run("squeue", "-h", "-t", "all", "-n", self.name, "-o", "%A").split()
        rows = self.lab.sacct("-S", EVER, "--name", self.name, fields="JobIDRaw")
        self.ids[:] = sorted({*self.ids, *map(int, listed), *(int(row["JobIDRaw"]) for row in rows)})

    def runs(self) -> list[Run]:
        """Return the runs that accounting has of them."""
        return runs(self.lab, *self.ids)

    def wait_for_ends(self, *, timeout_s: float = 60) -> None:
        """Wait until accounting has the end of each job."""
        until(
            lambda: len(found := self.runs()) == len(self.ids) and all(run.over for run in found),
            f"accounted end of the one run of each of jobs {self.ids}",
            timeout_s=timeout_s,
        )

    def rows(self, backend: Backend) -> list[dict[str, Any]]:
        """Return the backend's rows of them, for a comparison."""
        rows = [comparable(job) for job in backend.jobs() if job["jobId"] in self.ids]
        return sorted(rows, key=lambda row: (row["jobId"], row["startTime"]))

    def expected(self) -> list[dict[str, Any]]:
        """Return the records that follow from Slurm's text."""
        found = sorted(self.runs(), key=lambda run: run.key)
        return [expected(run, self.witness.shown(run), self.lab.cluster, name=self.name) for run in found]

    def check(self, backend: Backend, *, timeout_s: float = 60) -> None:
        """All jobs are over: wait until the backend says so too, and compare every field of every row."""
        self.wait_for_ends()
        wanted = self.expected()

        def ended() -> bool:
            rows = self.rows(backend)
            return len(rows) >= len(wanted) and all(row["jobState"] != "running" for row in rows)

        until(ended, "end of every job in the backend", timeout_s=timeout_s)
        rows = self.rows(backend)
        assert len(rows) == len(wanted), "a row for each run"
        differences = [difference(row, want) for row, want in zip(rows, wanted, strict=True)]
        assert not any(differences), f"(found, wanted): {differences}"


def difference(row: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return what differs: field → (found, wanted); with the job's id, if anything does."""
    fields = sorted(row.keys() | wanted.keys())
    found = {each: (row.get(each), wanted.get(each)) for each in fields if row.get(each) != wanted.get(each)}
    return {"jobId": (row["jobId"], wanted["jobId"]), **found} if found else {}
