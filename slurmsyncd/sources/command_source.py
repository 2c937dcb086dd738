"""A Slurm cluster, asked by its commands."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, TypeVar

import anyio

from slurmsyncd.errors import SourceError, SourceUnavailable, is_disk_full
from slurmsyncd.model import JobAnswers, JobQuestions, Observation
from slurmsyncd.sources.accounting import EARLIEST, AccountingReader
from slurmsyncd.sources.batches import BatchAnswers
from slurmsyncd.sources.cluster_identity import ClusterIdentity
from slurmsyncd.sources.controller import ControllerReader
from slurmsyncd.sources.decoding import DecodedRuns, JobList, latest_per_run
from slurmsyncd.sources.discovery import active_controller, queued_messages, slurm_settings
from slurmsyncd.sources.sight import Visibility, own_name
from slurmsyncd.sources.slurm_cli import SlurmCli
from slurmsyncd.sources.width import Width

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from slurmsyncd.config import SlurmConfig
    from slurmsyncd.model import Job, NodeState
    from slurmsyncd.slurm.settings import SlurmSettings
    from slurmsyncd.sources.executors.local import CommandCosts
    from slurmsyncd.sources.sight import Blindness

    A = TypeVar("A")
    B = TypeVar("B")

_REMEMBERED: Final = 10_000
"""Jobs that never started and are remembered, since windows are read again: some 2 MB at most."""


class CommandSource:
    """``ports.Source`` on the commands squeue, sacct, scontrol and sinfo of this host."""

    def __init__(
        self,
        cluster: str,
        config: SlurmConfig,
        *,
        slurm_conf: str = "",
        remote: bool = False,
        accelerators: Sequence[str] = ("gpu",),
        user: str = "",
        directory: Path | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._cluster = cluster
        self._config = config
        self._commands = SlurmCli(
            config, slurm_conf=slurm_conf, cluster=cluster if remote else "", directory=directory
        )
        self._identity = ClusterIdentity(cluster, self._commands, remote=remote)
        parts = (cluster, config, self._commands, self._identity, now)
        self._accounting = AccountingReader(*parts)
        self._sight = Visibility(cluster, self._commands, user or own_name(), now=now)
        self._controller = ControllerReader(*parts, rows=self._rows_of, accelerators=accelerators)
        self._now = now
        self._width = Width(config.slice)
        self._never_started: dict[tuple[str, str], None] = {}  # counted already, the oldest first

    @property
    def cluster(self) -> str:
        """Slurm's name of the cluster."""
        return self._cluster

    @property
    def blind(self) -> Blindness | None:
        """What the user that asks does not see, None if nothing is known to be hidden."""
        return self._sight.blind

    @property
    def doubted_from(self) -> float | None:
        """Accounting since then may have been incomplete when it was read; see ``ports.Source``."""
        return self._sight.doubted_from

    @property
    def is_narrowest(self) -> bool:
        """Whether the next window of accounting is as narrow as failures make it."""
        return self._width.is_narrowest

    @property
    def tally(self) -> CommandCosts:
        """What was asked of Slurm and what it cost, by command."""
        return self._commands.tally

    async def poll(
        self, since: int, until: int, *, listing: bool = True, accounting: bool = True
    ) -> Observation:
        """
        List what the controller holds and what ended from ``since`` on, at most one slice of it.

        A wider window is not read at once: ``through`` says how far this look came; call again from there
        while it is before ``until``, without ``listing``.

        Raises:
            SourceUnavailable: Nothing that was asked for answered.
        """
        now = int(self._now())
        since = max(since, EARLIEST)
        through = max(since, min(until, since + int(self._width.s)))
        listed, ended = await _both(
            lambda: self._controller.listing() if listing else _nothing(),
            lambda: self._accounting.window(since, through) if accounting else _nothing(),
        )
        if isinstance(listed, JobList) and isinstance(ended, SourceError) and not self._identity.is_confirmed:
            listed = ended  # accounting showed another cluster meanwhile, so this is that one's queue
        listed, ended = await self._believed(listed, ended)
        if isinstance(ended, SourceError):
            self._width.failed(through - since)
        trouble, disk_full = _trouble(listed, ended), is_disk_full(listed) or is_disk_full(ended)
        if len(trouble) == listing + accounting:
            raise SourceUnavailable("; ".join(trouble), disk_full=disk_full)
        found = ended if isinstance(ended, DecodedRuns) else DecodedRuns()
        if isinstance(ended, DecodedRuns):
            self._width.answered(len(found.jobs), through - since)
        return Observation(
            cluster=self._cluster,
            observed_at=now,
            job_list=listed.listed if isinstance(listed, JobList) else None,
            ended_runs=latest_per_run(found.jobs),
            accounting_read_until=through if isinstance(ended, DecodedRuns) else None,
            never_started=self._count(ended),
            records_skipped=found.records_skipped
            + (listed.records_skipped if isinstance(listed, JobList) else 0),
            errors=trouble,
            disk_full=disk_full,
        )

    async def _believed(
        self, listed: JobList | SourceError | None, ended: DecodedRuns | SourceError | None
    ) -> tuple[JobList | SourceError | None, DecodedRuns | SourceError | None]:
        """Replace the answers that leave out jobs of other users."""
        if listed is None and self._sight.blind is None:
            return listed, ended
        empty = not listed.held if isinstance(listed, JobList) else None
        if (blind := await self._sight.check(empty=empty)) is None:
            return listed, ended
        hidden = SourceUnavailable(blind.reason)
        return (
            hidden if blind.listing and listed is not None else listed,
            hidden if blind.accounting and ended is not None else ended,
        )

    def _count(self, ended: DecodedRuns | SourceError | None) -> int:
        """Count jobs that never started once, though windows overlap."""
        if not isinstance(ended, DecodedRuns):
            return 0
        new = [job for job in ended.never_started if job not in self._never_started]
        self._never_started.update(dict.fromkeys(new))
        while len(self._never_started) > _REMEMBERED:
            del self._never_started[next(iter(self._never_started))]
        return len(new)

    async def query_jobs(self, questions: JobQuestions) -> JobAnswers:
        """
        Answer questions by job id, in batches. A half of which no batch was answered is None.

        Raises:
            SourceUnavailable: Nothing answered.
        """
        until = time.monotonic() + self._config.command_timeout

        def has_time() -> bool:
            return time.monotonic() < until

        details, accounting = await _both(
            lambda: self._controller.details(questions.details, has_time) if questions.details else _none(),
            lambda: (
                self._accounting.runs(questions.accounting, has_time) if questions.accounting else _none()
            ),
        )
        if (blind := self._sight.blind) is not None:  # what it does not show proves nothing
            hidden = SourceUnavailable(blind.reason)
            details = hidden if blind.listing and questions.details else details
            accounting = hidden if blind.accounting and questions.accounting else accounting
        halves = _Half(questions.details, details), _Half(questions.accounting, accounting)
        trouble = tuple(text for half in halves for text in half.trouble)
        if trouble and all(half.jobs is None for half in halves if half.wanted):
            raise SourceUnavailable("; ".join(trouble), disk_full=any(half.disk_full for half in halves))
        return JobAnswers(
            details=halves[0].jobs,
            accounting=halves[1].jobs,
            unanswered=JobQuestions(details=halves[0].left, accounting=halves[1].left),
            records_skipped=sum(half.set_aside for half in halves),
            errors=trouble,
            disk_full=any(half.disk_full for half in halves),
        )

    async def _rows_of(self, ids: frozenset[int]) -> list[Job]:
        found = await self._accounting.runs(ids, lambda: False)
        return [job for each in found.answers for job in each.jobs]

    async def detail_batch_size(self) -> int:
        """Return how many jobs' details to ask for at once; asks what squeue offers, the first time."""
        return await self._controller.portion()

    async def queued_messages(self) -> int | None:
        """Return how many messages slurmctld holds for slurmdbd, None if it does not say."""
        return await queued_messages(self._commands)

    async def settings(self) -> SlurmSettings:
        """
        Return the settings of slurmctld.

        Raises:
            SourceUnavailable: It does not answer.
        """
        return await slurm_settings(self._commands)

    async def active_controller(self) -> str:
        """
        Return the host of the slurmctld that is in charge, empty if none is.

        Raises:
            SourceUnavailable: None answers.
        """
        return await active_controller(self._commands)

    async def node_states(self) -> tuple[NodeState, ...]:
        """
        Return the state of every node; running jobs as the last look listed them.

        Raises:
            SourceUnavailable: The controller does not answer.
        """
        return await self._controller.node_states()


class _Half:
    """What one half of Slurm said to questions by job id."""

    def __init__(self, wanted: frozenset[int], said: BatchAnswers[DecodedRuns] | SourceError) -> None:
        self.wanted = wanted
        self.jobs: tuple[Job, ...] | None = None
        self.left = wanted
        self.trouble: tuple[str, ...] = ()
        self.disk_full = is_disk_full(said)
        self.set_aside = 0
        if isinstance(said, SourceError):
            self.trouble = (str(said),)
            return
        self.trouble = tuple(said.trouble) if said.left else ()
        self.disk_full = said.disk_full and bool(said.left)
        self.set_aside = sum(each.records_skipped for each in said.answers)
        self.left = frozenset(said.left)
        if said.answers or not wanted:
            self.jobs = latest_per_run(job for each in said.answers for job in each.jobs)


async def _none() -> BatchAnswers[DecodedRuns]:
    """Stand in for questions that are not asked."""
    return BatchAnswers()


async def _nothing() -> None:
    """Stand in for a half that is not asked."""


def _trouble(*halves: object) -> tuple[str, ...]:
    return tuple(str(half) for half in halves if isinstance(half, SourceError))


async def _both(
    first: Callable[[], Awaitable[A]], second: Callable[[], Awaitable[B]]
) -> tuple[A | SourceError, B | SourceError]:
    """Wait for two halves at once; one that fails does not disturb the other."""
    halves: list[object] = [None, None]

    async def wait(index: int, half: Callable[[], Awaitable[object]]) -> None:
        try:
            halves[index] = await half()
        except SourceError as err:
            halves[index] = err

    async with anyio.create_task_group() as group:
        group.start_soon(wait, 0, first)
        group.start_soon(wait, 1, second)
    return halves[0], halves[1]  # type: ignore[return-value]
