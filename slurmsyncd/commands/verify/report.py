"""What was found: counts by cluster, sink and day, and the runs that are missing, one by one."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from slurmsyncd.commands.verify.compare import FAILING, RunStatus

if TYPE_CHECKING:
    from slurmsyncd.model import Gap, Job

#: Runs that are named one by one unless all are wanted.
NAMED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingRun:
    """
    A run that a sink should have and has not.

    Attributes:
        fate: ``missing`` or ``lost``.
        why: In words.
        repaired: It has been written down now and is being sent.
    """

    cluster: str
    sink: str
    job_id: int
    start_at: int
    end_at: int | None
    state: str
    user: str
    name: str
    fate: RunStatus
    why: str
    repaired: bool = False


@dataclass(slots=True)
class StatusCounts:
    """
    What became of the runs of one cluster, as far as one sink goes.

    Attributes:
        days: First second of the day (UTC) on which they ended → fate → how many.
        running: Of those that run: fate → how many.
    """

    days: dict[int, Counter[RunStatus]] = field(default_factory=lambda: defaultdict(Counter))
    running: Counter[RunStatus] = field(default_factory=Counter)

    def total(self) -> Counter[RunStatus]:
        """Count all."""
        return sum((*self.days.values(), self.running), Counter())


@dataclass(slots=True)
class ClusterReport:
    """
    What was found of one cluster.

    Attributes:
        sinks: Name → what became of the runs.
        never_started: Day → jobs that ended without having begun; they are told to nobody.
        set_aside: Day → records of accounting that were not understood.
        cursor: The daemon's position in accounting (epoch seconds), None if it never looked.
        known_from: What is settled and ended before may be forgotten.
        unread: Spans of accounting that could not be read, and why.
    """

    cluster: str
    sinks: dict[str, StatusCounts]
    never_started: Counter[int] = field(default_factory=Counter)
    set_aside: Counter[int] = field(default_factory=Counter)
    cursor: int | None = None
    known_from: int = 0
    unread: tuple[Gap, ...] = ()


@dataclass(slots=True)
class Report:
    """
    What was found.

    Attributes:
        since: First second (epoch seconds).
        until: The second behind the last.
        named: How many differences are kept at most, None for all; the others are counted.
        daemon: One runs.
        commands: Slurm's commands that were run → how often.
        questions: Sink → how many questions it was asked.
    """

    since: int
    until: int
    named: int | None = NAMED
    clusters: list[ClusterReport] = field(default_factory=list)
    differences: list[MissingRun] = field(default_factory=list)
    unnamed: int = 0
    repaired: int = 0
    daemon: bool = False
    commands: Counter[str] = field(default_factory=Counter)
    questions: dict[str, int] = field(default_factory=dict)

    def differs(self, difference: MissingRun) -> None:
        """Take note of a run."""
        self.repaired += difference.repaired
        if self.named is None or len(self.differences) < self.named:
            self.differences.append(difference)
        else:
            self.unnamed += 1

    def total(self) -> Counter[RunStatus]:
        """Count all fates, of all clusters and sinks."""
        return sum((tally.total() for each in self.clusters for tally in each.sinks.values()), Counter())

    @property
    def complete(self) -> bool:
        """Whether nothing is missing, and all of accounting could be read."""
        total = self.total()
        return not any(total[fate] for fate in FAILING) and not any(each.unread for each in self.clusters)


def missing_run(run: Job, sink: str, fate: RunStatus, why: str, *, repaired: bool) -> MissingRun:
    """Name a run."""
    return MissingRun(
        cluster=run.key.cluster,
        sink=sink,
        job_id=run.key.job_id,
        start_at=run.key.start_at,
        end_at=run.end_at,
        state=run.state.value,
        user=run.user,
        name=run.name,
        fate=fate,
        why=why,
        repaired=repaired,
    )
