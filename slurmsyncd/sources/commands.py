"""A Slurm cluster, asked by its commands."""

from __future__ import annotations

import dataclasses
import secrets
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, TypeVar

import anyio

from slurmsyncd.errors import DecodeError, SourceError, SourceUnavailable
from slurmsyncd.model import Answers, Job, NodeState, Observation
from slurmsyncd.slurm.sacct import END_STATES, RESIZED, is_partial
from slurmsyncd.slurm.squeue import listing_format
from slurmsyncd.sources.completion import Nodes, name_users
from slurmsyncd.sources.decoding import (
    Details,
    Listing,
    Runs,
    decode_details,
    decode_facts,
    decode_listing,
    decode_nodes,
    decode_runs,
    newest,
    unite,
)
from slurmsyncd.sources.discover import active_controller, slurm_settings
from slurmsyncd.sources.identity import Identity
from slurmsyncd.sources.runner import CommandFailed
from slurmsyncd.sources.slurm_commands import SlurmCommands, is_forgotten

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from msgspec import Raw

    from slurmsyncd.config import SlurmConfig
    from slurmsyncd.model import NodeFacts, Questions, RunKey
    from slurmsyncd.slurm.jobs import Detail
    from slurmsyncd.slurm.settings import SlurmSettings
    from slurmsyncd.sources.runner import Tally

    A = TypeVar("A")
    B = TypeVar("B")

_ROWS: Final = 10_000
"""Runs wanted of one sacct at most: some 60 MB of its memory, by the captures' scale table."""

_LEAST_SLICE_S: Final = 60.0
_MOST_SLICE_S: Final = 6 * 3600.0  # a busy day may follow a quiet month

PORTION: Final = 500
"""Jobs whose details are asked for at once: a record is some 5 KB in our memory, and 150 KB in squeue's."""

WHOLE_PORTION: Final = 5000
"""The same where squeue's JSON has all jobs whatever it is asked for (22.05): each portion reads it whole."""

_SCRIPTS: Final = 50
"""Batch scripts fetched for one set of questions; each is a command."""

_SOON_S: Final = 5.0
"""Within this slurmdbd answers something small, once it let us wait longer in vain."""

_SCRIPT_LIMIT: Final = 1024 * 1024
_EARLIEST: Final = 1_000_000  # Slurm refuses `uts` below


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
        directory: Path | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._cluster = cluster
        self._config = config
        self._commands = SlurmCommands(
            config, slurm_conf=slurm_conf, cluster=cluster if remote else "", directory=directory
        )
        self._identity = Identity(cluster, self._commands, remote=remote)
        self._now = now
        self._accelerators = accelerators
        self._nodes = Nodes(self._node_facts)
        self._slice_s = config.slice
        self._hangs = False  # slurmdbd, or its database
        self._held: Mapping[str, int] | None = None  # host list → active jobs, as last listed
        # Of the last window, which overlaps with the next: runs that had one size only, jobs counted already.
        self._whole: frozenset[RunKey] = frozenset()
        self._never_started: frozenset[tuple[str, str]] = frozenset()

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
        through = max(since, min(until, since + int(self._slice_s)))
        listed, ended = await _both(
            lambda: self._list(now) if listing else _nothing(), lambda: self._window(since, through)
        )
        if isinstance(listed, Listing) and isinstance(ended, SourceError) and not self._identity.is_confirmed:
            listed = ended  # accounting showed another cluster meanwhile, so this is that one's queue
        trouble = _trouble(listed, ended)
        if len(trouble) == 1 + listing:
            raise SourceUnavailable("; ".join(trouble))
        found = ended if isinstance(ended, Runs) else Runs()
        if isinstance(ended, Runs):
            self._adapt(len(found.jobs), through - since)
        return Observation(
            cluster=self._cluster,
            looked_at=now,
            listed=listed.listed if isinstance(listed, Listing) else None,
            finished=newest(found.jobs),
            through=through if isinstance(ended, Runs) else None,
            never_started=self._count(ended),
            set_aside=found.set_aside + (listed.set_aside if isinstance(listed, Listing) else 0),
            trouble=trouble,
        )

    def _count(self, ended: Runs | SourceError) -> int:
        """Count jobs that never started once, though windows overlap."""
        if not isinstance(ended, Runs):
            return 0
        before, self._never_started = self._never_started, frozenset(ended.never_started)
        return len(self._never_started - before)

    def _adapt(self, runs: int, span_s: int) -> None:
        """Widen the slice over quiet spans and narrow it over busy ones: sacct's memory follows its rows."""
        if runs > _ROWS:
            self._slice_s = max(_LEAST_SLICE_S, span_s * _ROWS / runs / 2)
        elif runs < _ROWS / 4 and span_s >= int(self._slice_s):
            self._slice_s = min(2 * self._slice_s, max(self._config.slice, _MOST_SLICE_S))

    async def ask(self, questions: Questions) -> Answers:
        """
        Answer questions by job id; a half that does not answer is None.

        Raises:
            SourceUnavailable: Nothing answered.
        """
        details, runs = await _both(
            lambda: self._details(questions.details), lambda: self._accounting(questions.accounting)
        )
        trouble = _trouble(details, runs)
        if trouble and len(trouble) == bool(questions.details) + bool(questions.accounting):
            raise SourceUnavailable("; ".join(trouble))
        return Answers(
            details=newest(details.jobs) if isinstance(details, Runs) else None,
            accounting=newest(runs.jobs) if isinstance(runs, Runs) else None,
            set_aside=sum(half.set_aside for half in (details, runs) if isinstance(half, Runs)),
            trouble=trouble,
        )

    async def portion(self) -> int:
        """Give how many jobs' details to ask for at once; asks what squeue offers, the first time."""
        try:
            return PORTION if (await self._commands.offers()).filters else WHOLE_PORTION
        except SourceUnavailable:
            return PORTION  # they will not be had either

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
        Give the state of every node; running jobs as the last look listed them.

        Raises:
            SourceUnavailable: The controller does not answer.
        """
        try:
            if self._held is None:
                await self._list(int(self._now()))
            async with self._node_records() as records:
                held, notices = self._held or {}, self._commands.notices
                return await decode_nodes(records, held, notices, self._accelerators)
        except DecodeError as err:
            raise SourceUnavailable(str(err)) from err

    async def _node_facts(self) -> dict[str, NodeFacts]:
        async with self._node_records() as records:
            return await decode_facts(records, self._commands.notices)

    @asynccontextmanager
    async def _node_records(self) -> AsyncIterator[Iterable[Raw]]:
        offers = await self._commands.offers()
        # 22.05 has no `scontrol --json`; sinfo groups nodes since.
        old = (0, 0) < offers.version < (23, 2)
        # -h: no heading with the cluster's name before the JSON, which squeue and sinfo have under -M.
        command = ("sinfo", "-h") if old else ("scontrol", "show", "nodes")
        async with self._commands.records("nodes", *command) as records:
            yield records

    async def _list(self, now: int) -> Listing:
        token = secrets.token_hex(8)
        output = await self._commands.run("squeue", "-h", "-a", "-t", "all", "-o", listing_format(token))
        try:
            await self._identity.confirm()
            listing = await decode_listing(output.data, token, now, self._commands.notices)
        finally:
            await output.close()
        self._held = listing.held
        return listing

    async def _window(self, since: int, until: int) -> Runs:
        found = await self._sacct("-S", f"uts{since}", "-E", f"uts{until}", "-s", END_STATES)
        ever = ("-S", f"uts{_EARLIEST}", "-E", f"uts{until}")
        for batch in _batches({key.job_id for key in found.doubtful - self._whole}, self._config.batch):
            found.sizes += (await self._sacct("-j", _joined(batch), "-s", RESIZED, *ever)).sizes
        resized = {size.job_id for size in found.sizes}
        self._whole = frozenset(key for key in found.doubtful if key.job_id not in resized)
        unite(found)
        return found

    async def _accounting(self, ids: frozenset[int]) -> Runs:
        found = Runs()
        for batch in _batches(ids, self._config.batch):
            # Without -S all runs of an id are given, however old. The id of an array gives its tasks, too.
            answer = await self._sacct("-j", _joined(batch))
            found.jobs += [job for job in answer.jobs if job.key.job_id in ids]
            found.sizes += answer.sizes
            found.set_aside += answer.set_aside
        unite(found)
        return found

    async def _sacct(self, *which: str) -> Runs:
        """
        Ask slurmdbd, but wait only once for all of a command's deadline in vain.

        Meanwhile nobody looks at slurmctld, which alone knows the GPUs of jobs, and only while they run.
        """
        if self._hangs:
            small = ("-X", "-n", "-j", "1", "-o", "JobIDRaw")
            await self._commands.run("sacct", *small, timeout_s=_SOON_S)
        began = time.monotonic()
        try:
            found = await self._read_sacct(*which)
        except SourceUnavailable:
            self._hangs = time.monotonic() - began > _SOON_S
            raise
        self._hangs = False
        return found

    async def _read_sacct(self, *which: str) -> Runs:
        fields = await self._commands.fields()
        token = secrets.token_hex(8)
        # -D: each run of a requeued job; -p ends also the last column with the token.
        form = ("-a", "-X", "-D", "-p", "-n", "--noconvert", f"--delimiter={token}", "-o", ",".join(fields))
        by_name = self._identity.by_name
        output = await self._commands.run("sacct", *form, *(("-M", self._cluster) if by_name else ()), *which)
        try:
            found = await decode_runs(output.data, token, fields, self._cluster, self._commands.notices)
        except DecodeError:
            self._commands.doubt("sacct")
            raise
        finally:
            await output.close()
        if "Partition" in fields:
            found.jobs = [job for job in found.jobs if not is_partial(job, int(self._now()))]
        self._identity.met(found.rows, found.strangers)
        if not found.rows:  # of a cluster that it does not know sacct says that nothing ever ran
            await self._identity.confirm_accounting()
            if self._identity.by_name != by_name:
                return await self._read_sacct(*which)
        return found

    async def _details(self, ids: frozenset[int]) -> Runs:
        found = Runs()
        if not ids:
            return found
        filters = (await self._commands.offers()).filters
        batches = _batches(ids, self._config.batch) if filters else [sorted(ids)]
        for batch in batches:
            which = ("-j", _joined(batch)) if filters else ()
            shown = await self._shown(frozenset(batch), *which)
            found.set_aside += shown.set_aside
            await self._identity.confirm()
            details = await name_users(shown.details, self._rows_of)
            found.jobs += [await self._nodes.complete(job) for job in await self._with_scripts(details)]
        return found

    async def _rows_of(self, ids: frozenset[int]) -> list[Job]:
        return (await self._accounting(ids)).jobs

    async def _shown(self, ids: frozenset[int], *which: str) -> Details:
        try:
            return await self._read_details(ids, *which)
        except CommandFailed as err:
            if not is_forgotten(err):
                raise
            if len(ids) == 1:
                return Details()
            # Of several, no release we know fails for one; should it, the others still have to be asked for.
            return await self._read_details(ids)

    async def _read_details(self, ids: frozenset[int], *which: str) -> Details:
        now = int(self._now())
        async with self._commands.records("jobs", "squeue", "-h", "-a", "-t", "all", *which) as records:
            return await decode_details(records, ids, self._cluster, now, self._commands.notices)

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


async def _nothing() -> None:
    """Stand in for a half that is not asked."""


def _trouble(*halves: object) -> tuple[str, ...]:
    return tuple(str(half) for half in halves if isinstance(half, SourceError))


def _batches(ids: Iterable[int], size: int) -> Iterator[list[int]]:
    ordered = sorted(ids)
    return (ordered[start : start + size] for start in range(0, len(ordered), size))


def _joined(ids: Iterable[int]) -> str:
    return ",".join(map(str, ids))


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
