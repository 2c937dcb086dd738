"""A Slurm cluster, asked by its commands."""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections import Counter
from typing import TYPE_CHECKING, Final, TypeVar

import anyio
import anyio.lowlevel

from slurmsyncd.errors import DecodeError, SourceError, SourceUnavailable
from slurmsyncd.model import Answers, Job, Listed, NodeState, Observation
from slurmsyncd.slurm.hostlist import expand_hostlist
from slurmsyncd.slurm.jobs import Detail, read_detail
from slurmsyncd.slurm.nodes import read_node
from slurmsyncd.slurm.rows import Rows
from slurmsyncd.slurm.sacct import END_STATES, NoRun, read_run
from slurmsyncd.slurm.squeue import WIDTH, listing_format, read_listed
from slurmsyncd.sources.runner import CommandFailed
from slurmsyncd.sources.slurm_commands import SlurmCommands, is_forgotten

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from slurmsyncd.config import SlurmConfig
    from slurmsyncd.model import Questions
    from slurmsyncd.sources.runner import Tally

    T = TypeVar("T")
    A = TypeVar("A")
    B = TypeVar("B")

_BREATH: Final = 200
"""Records decoded before the loop may turn: some 2 ms."""

_SCRIPTS: Final = 50
"""Batch scripts fetched for one set of questions; each is a command."""

_SCRIPT_LIMIT: Final = 1024 * 1024
_EARLIEST: Final = 1_000_000  # Slurm refuses `uts` below


@dataclasses.dataclass(slots=True)
class _Found:
    """Runs of a text or document, with what was not understood."""

    jobs: list[Job] = dataclasses.field(default_factory=list)
    never_started: int = 0
    set_aside: int = 0


class CommandSource:
    """
    ``ports.Source`` on the commands squeue, sacct, scontrol and sinfo of this host.

    Attributes:
        tally: What was asked of Slurm and what it cost, by command.
    """

    def __init__(
        self,
        cluster: str,
        config: SlurmConfig,
        *,
        slurm_conf: str = "",
        directory: Path | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._cluster = cluster
        self._config = config
        self._commands = SlurmCommands(config, slurm_conf=slurm_conf, directory=directory)
        self._now = now
        self._held: Counter[str] | None = None  # host list → runs, as last listed

    @property
    def cluster(self) -> str:
        """Slurm's name of the cluster."""
        return self._cluster

    @property
    def tally(self) -> Tally:
        """What was asked of Slurm and what it cost, by command."""
        return self._commands.tally

    async def look(self, since: int, until: int, *, listing: bool = True) -> Observation:
        """
        List what the controller holds and what ended from ``since`` on, at most one slice of it.

        A wider window is not read at once: ``through`` says how far this look came; call again from there
        while it is before ``until``, without ``listing``.

        Raises:
            SourceUnavailable: Nothing that was asked for answered.
        """
        now = int(self._now())
        since = max(since, _EARLIEST)
        through = max(since, min(until, since + int(self._config.slice)))
        listed, found = await _both(
            lambda: self._list(now) if listing else _nothing(), lambda: self._window(since, through)
        )
        self._say("controller", listed)
        self._say("accounting", found)
        trouble = tuple(str(half) for half in (listed, found) if isinstance(half, SourceError))
        if len(trouble) == 1 + listing:
            raise SourceUnavailable("; ".join(trouble))
        reached = None if isinstance(found, SourceError) else through
        found = _Found() if isinstance(found, SourceError) else found
        return Observation(
            cluster=self._cluster,
            looked_at=now,
            listed=None if isinstance(listed, SourceError) else listed,
            finished=tuple(newest(found.jobs)),
            through=reached,
            never_started=found.never_started,
            set_aside=found.set_aside,
            trouble=trouble,
        )

    async def ask(self, questions: Questions) -> Answers:
        """
        Answer questions by job id; a half that does not answer is None.

        Raises:
            SourceUnavailable: Nothing answered.
        """
        details, runs = await _both(
            lambda: self._details(questions.details), lambda: self._accounting(questions.accounting)
        )
        failures = [
            half
            for half, asked in ((details, questions.details), (runs, questions.accounting))
            if asked and isinstance(half, SourceError)
        ]
        if failures and len(failures) == bool(questions.details) + bool(questions.accounting):
            raise SourceUnavailable("; ".join(map(str, failures)))
        return Answers(
            details=None if isinstance(details, SourceError) else tuple(newest(details.jobs)),
            accounting=None if isinstance(runs, SourceError) else tuple(newest(runs.jobs)),
            set_aside=sum(half.set_aside for half in (details, runs) if isinstance(half, _Found)),
            trouble=tuple(map(str, failures)),
        )

    async def node_states(self) -> tuple[NodeState, ...]:
        """
        Give the state of every node; running jobs as the last look listed them.

        Raises:
            SourceUnavailable: The controller does not answer.
        """
        if self._held is None:
            await self._list(int(self._now()))
        offers = await self._commands.offers()
        old = (0, 0) < offers.version < (23, 2)  # 22.05 has no `scontrol --json`, later sinfo groups nodes
        command = ("sinfo",) if old else ("scontrol", "show", "nodes")
        try:
            records = await self._commands.records("nodes", *command)
        except DecodeError as err:
            raise SourceUnavailable(str(err)) from err
        jobs = self._jobs_by_host()
        states = []
        async for record in _breathe(records):
            try:
                states.append(read_node(record, jobs))
            except DecodeError as err:
                self._set_aside(err)
        return tuple(states)

    async def _list(self, now: int) -> tuple[Listed, ...]:
        token = secrets.token_hex(8)
        output = await self._commands.run("squeue", "-h", "-a", "-t", "all", "-o", listing_format(token))
        rows = Rows(output.data, token.encode(), WIDTH)
        listed: list[Listed] = []
        held: Counter[str] = Counter()
        async for row in _breathe(rows):
            try:
                job, hosts = read_listed(row, now=now)
            except DecodeError as err:
                self._set_aside(err)
            else:
                listed.append(job)
                held[hosts] += 1
        _refuse_cut(rows, "squeue")
        del held[""]
        self._held = held
        return tuple(listed)

    def _jobs_by_host(self) -> Counter[str]:
        jobs: Counter[str] = Counter()
        for hosts, count in (self._held or {}).items():
            try:
                names = expand_hostlist(hosts)
            except DecodeError as err:
                self._set_aside(err)
            else:
                jobs.update(dict.fromkeys(names, count))
        return jobs

    async def _window(self, since: int, until: int) -> _Found:
        return await self._sacct("-S", f"uts{since}", "-E", f"uts{until}", "-s", END_STATES)

    async def _accounting(self, ids: frozenset[int]) -> _Found:
        # Without -S every run of an id is given, however old.
        found = _Found()
        for batch in _batches(ids, self._config.batch):
            answer = await self._sacct("-j", _joined(batch))
            found.jobs += [job for job in answer.jobs if job.key.job_id in ids]
            found.set_aside += answer.set_aside
        return found

    async def _sacct(self, *which: str) -> _Found:
        fields = (await self._commands.offers()).fields
        token = secrets.token_hex(8)
        # -D: each run of a requeued job; -p ends also the last column with the token.
        form = ("-a", "-X", "-D", "-p", "-n", "--noconvert", f"--delimiter={token}", "-o", ",".join(fields))
        output = await self._commands.run("sacct", *form, *which)
        rows = Rows(output.data, token.encode(), len(fields))
        found = _Found()
        flaws: list[str] = []
        async for row in _breathe(rows):
            try:
                run = read_run(dict(zip(fields, row, strict=True)), self._cluster, flaws)
            except DecodeError as err:
                found.set_aside += 1
                self._set_aside(err)
                continue
            if isinstance(run, Job):
                found.jobs.append(run)
            found.never_started += run is NoRun.NEVER_STARTED
        _refuse_cut(rows, "sacct")
        found.set_aside += rows.set_aside + len(flaws)
        for flaw in flaws:
            self._commands.notices.once("part_set_aside", flaw)
        return found

    async def _details(self, ids: frozenset[int]) -> _Found:
        found = _Found()
        if not ids:
            return found
        details: list[Detail] = []
        if (await self._commands.offers()).filters:
            for batch in _batches(ids, self._config.batch):
                details += await self._shown(batch, found, "-j", _joined(batch))
        else:
            details += await self._shown(ids, found)
        found.jobs += await self._with_scripts(details)
        return found

    async def _shown(self, ids: Iterable[int], found: _Found, *which: str) -> list[Detail]:
        wanted = frozenset(ids)
        try:
            records = await self._commands.records("jobs", "squeue", "-a", "-t", "all", *which)
        except CommandFailed as err:
            if len(wanted) == 1 and is_forgotten(err):
                return []  # forgotten: squeue asks slurmctld for a single id and calls that a failure
            raise
        details, now = [], int(self._now())
        async for record in _breathe(records):
            try:
                detail = read_detail(record, self._cluster, now=now)
            except DecodeError as err:
                found.set_aside += 1
                self._set_aside(err)
                continue
            if detail and detail.job.key.job_id in wanted:
                details.append(detail)
                found.set_aside += len(detail.flaws)
                for flaw in detail.flaws:
                    self._commands.notices.once("part_set_aside", flaw)
        return details

    async def _with_scripts(self, details: Sequence[Detail]) -> list[Job]:
        jobs = [detail.job for detail in details]
        if not self._config.job_script:
            return jobs
        batch = [index for index, detail in enumerate(details) if detail.batch]
        for index in batch[:_SCRIPTS]:
            script = await self._script(jobs[index].key.job_id)
            jobs[index] = dataclasses.replace(jobs[index], script=script)
        return jobs

    async def _script(self, job_id: int) -> str | None:
        # Exit code 0 and nothing printed is how scontrol says that it failed (S12).
        try:
            output = await self._commands.run("scontrol", "write", "batch_script", str(job_id), "-")
        except CommandFailed:
            return None
        return output.data[:_SCRIPT_LIMIT].decode("utf-8", "replace") or None

    def _say(self, part: str, half: object) -> None:
        self._commands.notices.availability(part, half if isinstance(half, SourceError) else None)

    def _set_aside(self, err: DecodeError) -> None:
        self._commands.notices.once("record_set_aside", str(err))


async def _nothing() -> None:
    """Stand in for a half that is not asked."""


def newest(jobs: Iterable[Job]) -> Iterator[Job]:
    """Give each run once: of records of the same run, the one that knows its end, then the later (S20)."""
    best: dict[object, Job] = {}
    for job in jobs:
        known = best.get(job.key)
        if known is None or _rank(job) >= _rank(known):
            best[job.key] = job
    return iter(best.values())


def _rank(job: Job) -> tuple[bool, int, int]:
    return job.state.final, job.restarts or 0, job.end_at or 0


def _refuse_cut(rows: Rows, command: str) -> None:
    if rows.truncated:
        raise DecodeError(f"{command}: the answer is cut, or is no listing")


def _batches(ids: Iterable[int], size: int) -> Iterator[list[int]]:
    ordered = sorted(ids)
    return (ordered[start : start + size] for start in range(0, len(ordered), size))


def _joined(ids: Iterable[int]) -> str:
    return ",".join(map(str, ids))


async def _breathe(items: Iterable[T]) -> AsyncIterator[T]:
    """Give items, and the loop its turn now and then."""
    for count, item in enumerate(items):
        if count % _BREATH == _BREATH - 1:
            await anyio.lowlevel.checkpoint()
        yield item


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
