"""Jobs that come and go while something is wrong, and what the backend must have of them in the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.e2e.witness import comparable, expected, runs
from tests.lab import until

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping

    from tests.e2e.site import Backend
    from tests.e2e.witness import Run, Witness
    from tests.lab import Lab

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
    """

    lab: Lab
    witness: Witness
    ids: list[int] = field(default_factory=list)

    def submit(self, *args: str, seconds: float) -> int:
        """Submit a job that sleeps and then ends by itself."""
        self.ids.append(self.lab.sbatch("-J", "traffic", *args, script=f"sleep {seconds:g}"))
        return self.ids[-1]

    def start(self, *args: str, seconds: float = 300) -> int:
        """Submit a job and wait until it runs."""
        job_id = self.submit(*args, seconds=seconds)
        self.lab.wait(job_id, "RUNNING")
        return job_id

    def any(self, dice: random.Random) -> int:
        """
        Submit the next kind of job, for some seconds.

        Longer ones hold GPUs: nobody can learn of a GPU that was held while no daemon lived.
        """
        args = KINDS[len(self.ids) % len(KINDS)]
        long_ = any("gpu" in arg for arg in args)
        return self.submit(*args, seconds=dice.choice([6, 8, 10] if long_ else [0, 1, 3, 5]))

    def runs(self) -> list[Run]:
        """Give the runs that accounting has of them."""
        return runs(self.lab, *self.ids)

    def wait_for_ends(self) -> None:
        """Wait until accounting has the end of each job."""
        until(
            lambda: len(found := self.runs()) == len(self.ids) and all(run.over for run in found),
            f"accounted end of the one run of each of jobs {self.ids}",
            timeout_s=60,
        )

    def rows(self, backend: Backend) -> list[dict[str, Any]]:
        """Give the backend's rows of them, for a comparison."""
        rows = [comparable(job) for job in backend.jobs() if job["jobId"] in self.ids]
        return sorted(rows, key=lambda row: (row["jobId"], row["startTime"]))

    def expected(self) -> list[dict[str, Any]]:
        """Give the records that follow from Slurm's text."""
        found = sorted(self.runs(), key=lambda run: run.key)
        return [expected(run, self.witness.shown(run), self.lab.cluster, name="traffic") for run in found]

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
    """Give what differs: field → (found, wanted); with the job's id, if anything does."""
    fields = sorted(row.keys() | wanted.keys())
    found = {each: (row.get(each), wanted.get(each)) for each in fields if row.get(each) != wanted.get(each)}
    return {"jobId": (row["jobId"], wanted["jobId"]), **found} if found else {}
