"""slurmctld, asked by squeue, scontrol and sinfo: the job list, jobs with their allocation, node states."""

from __future__ import annotations

import dataclasses
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from slurmsyncd.errors import DecodeError, SourceError, SourceUnavailable
from slurmsyncd.slurm.job_list import listing_format
from slurmsyncd.sources.batches import UNUSED_ID, BatchAnswers, ask_in_batches, joined
from slurmsyncd.sources.completion import NodeFactsCache, name_users
from slurmsyncd.sources.decoding import (
    DecodedDetails,
    DecodedRuns,
    JobList,
    decode_details,
    decode_facts,
    decode_listing,
    decode_nodes,
)
from slurmsyncd.sources.executors.local import CommandFailed
from slurmsyncd.sources.slurm_cli import is_unknown_job_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence

    from msgspec import Raw

    from slurmsyncd.config import SlurmConfig
    from slurmsyncd.model import Job, NodeFacts, NodeState
    from slurmsyncd.slurm.controller_jobs import JobDetails
    from slurmsyncd.sources.cluster_identity import ClusterIdentity
    from slurmsyncd.sources.slurm_cli import SlurmCli

PORTION: Final = 500
"""Jobs whose details are asked for at once: a record is some 5 KB in our memory, and 150 KB in squeue's."""

WHOLE_PORTION: Final = 5000
"""The same where squeue's JSON has all jobs whatever it is asked for (22.05): each portion reads it whole."""

_SCRIPTS: Final = 50
"""Batch scripts fetched for one set of questions; each is a command."""

_SCRIPT_LIMIT: Final = 1024 * 1024


class ControllerReader:
    """
    What slurmctld holds; see ``CommandSource``.

    Args:
        rows: Answers what accounting has of job ids, for users whom slurmctld cannot name.
        accelerators: Names of GRES that count as accelerators.
    """

    def __init__(
        self,
        cluster: str,
        config: SlurmConfig,
        commands: SlurmCli,
        identity: ClusterIdentity,
        now: Callable[[], float],
        *,
        rows: Callable[[frozenset[int]], Awaitable[Iterable[Job]]],
        accelerators: Sequence[str],
    ) -> None:
        self._cluster = cluster
        self._config = config
        self._commands = commands
        self._identity = identity
        self._now = now
        self._rows = rows
        self._accelerators = accelerators
        self._nodes = NodeFactsCache(self._node_facts)
        self._held: Mapping[str, int] | None = None  # host list → active jobs, as last listed

    async def listing(self) -> JobList:
        """
        List all jobs.

        Raises:
            SourceError: It does not answer, or is not the cluster's.
        """
        token = secrets.token_hex(8)
        output = await self._commands.run("squeue", "-h", "-a", "-t", "all", "-o", listing_format(token))
        try:
            await self._identity.confirm()
            listing = await decode_listing(output.data, token, int(self._now()), self._commands.notices)
        finally:
            await output.close()
        self._held = listing.held
        return listing

    async def node_states(self) -> tuple[NodeState, ...]:
        """
        Return the state of every node; running jobs as they were listed last.

        Raises:
            SourceUnavailable: It does not answer.
        """
        try:
            if self._held is None:
                await self.listing()
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
        offers = await self._commands.capabilities()
        # 22.05 has no `scontrol --json`; sinfo groups nodes since.
        old = (0, 0) < offers.version < (23, 2)
        # -h: no heading with the cluster's name before the JSON, which squeue and sinfo have under -M.
        command = ("sinfo", "-h") if old else ("scontrol", "show", "nodes")
        async with self._commands.records("nodes", *command) as records:
            yield records

    async def portion(self) -> int:
        """Return how many jobs' details to ask for at once; asks what squeue offers, the first time."""
        try:
            return PORTION if (await self._commands.capabilities()).filters else WHOLE_PORTION
        except SourceUnavailable:
            return PORTION  # they will not be had either

    async def details(self, ids: frozenset[int], has_time: Callable[[], bool]) -> BatchAnswers[DecodedRuns]:
        """
        Return jobs with their allocation.

        A job that makes squeue fail by itself, while others are shown, is one whose record cannot be read:
        set aside, like any such.

        Raises:
            SourceError: It does not answer, or is not the cluster's.
        """
        filters = (await self._commands.capabilities()).filters
        await self._identity.confirm()

        async def ask(batch: Sequence[int]) -> DecodedRuns:
            return await self._batch(frozenset(batch), *(("-j", joined(batch)) if filters else ()))

        async def is_well() -> bool:
            return filters and await self._shows_json()

        size = self._config.batch if filters else max(1, len(ids))
        asked = await ask_in_batches(ids, size, ask, is_well=is_well, has_time=has_time)
        if asked.alone and asked.answers:
            self._commands.notices.once("record_set_aside", "; ".join(asked.trouble))
            asked.answers.append(DecodedRuns(records_skipped=len(asked.alone)))
            asked.left -= asked.alone
        return asked

    async def _shows_json(self) -> bool:
        """Whether squeue prints JSON of a job, or says that there is none."""
        try:
            await self._shown(frozenset({UNUSED_ID}), "-j", str(UNUSED_ID))
        except SourceError:
            return False
        return True

    async def _batch(self, ids: frozenset[int], *which: str) -> DecodedRuns:
        shown = await self._shown(ids, *which)
        details = await name_users(shown.details, self._rows)
        jobs = [await self._nodes.complete(job) for job in await self._with_scripts(details)]
        return DecodedRuns(jobs=jobs, records_skipped=shown.records_skipped)

    async def _shown(self, ids: frozenset[int], *which: str) -> DecodedDetails:
        try:
            return await self._read_details(ids, *which)
        except CommandFailed as err:
            if not is_unknown_job_id(err):
                raise
            if len(ids) == 1:
                return DecodedDetails()
            # Of several, no release we know fails for one; should it, the others still have to be asked for.
            return await self._read_details(ids)

    async def _read_details(self, ids: frozenset[int], *which: str) -> DecodedDetails:
        now = int(self._now())
        async with self._commands.records("jobs", "squeue", "-h", "-a", "-t", "all", *which) as records:
            return await decode_details(records, ids, self._cluster, now, self._commands.notices)

    async def _with_scripts(self, details: Sequence[JobDetails]) -> list[Job]:
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
