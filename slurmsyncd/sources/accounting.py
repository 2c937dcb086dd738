"""slurmdbd, asked by sacct: what ended within a window, and all runs of single jobs."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Final

from slurmsyncd.errors import DecodeError, SourceError, SourceUnavailable
from slurmsyncd.slurm.accounting import END_STATES, RESIZED, is_incomplete_row
from slurmsyncd.sources.batches import UNUSED_ID, BatchAnswers, ask_in_batches, batches, joined
from slurmsyncd.sources.decoding import DecodedRuns, decode_runs, merge_segments

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from slurmsyncd.config import SlurmConfig
    from slurmsyncd.model import RunKey
    from slurmsyncd.sources.cluster_identity import ClusterIdentity
    from slurmsyncd.sources.slurm_cli import SlurmCli

_SOON_S: Final = 5.0
"""Within this slurmdbd answers something small, once it let us wait longer in vain."""

EARLIEST: Final = 1_000_000
"""Slurm refuses an earlier ``uts``."""


class AccountingReader:
    """What slurmdbd has; see ``CommandSource``."""

    def __init__(
        self,
        cluster: str,
        config: SlurmConfig,
        commands: SlurmCli,
        identity: ClusterIdentity,
        now: Callable[[], float],
    ) -> None:
        self._cluster = cluster
        self._config = config
        self._commands = commands
        self._identity = identity
        self._now = now
        self._hangs = False  # slurmdbd, or its database
        # Of the last window, which overlaps with the next: runs that had one size only.
        self._whole: frozenset[RunKey] = frozenset()

    async def window(self, since: int, until: int) -> DecodedRuns:
        """
        Return the runs whose end lies between two instants (epoch seconds, inclusive).

        Raises:
            SourceError: It does not answer, or does not know the cluster.
        """
        found = await self._sacct("-S", f"uts{since}", "-E", f"uts{until}", "-s", END_STATES)
        ever = ("-S", f"uts{EARLIEST}", "-E", f"uts{until}")
        for batch in batches({key.job_id for key in found.maybe_resized - self._whole}, self._config.batch):
            found.sizes += (await self._sacct("-j", joined(batch), "-s", RESIZED, *ever)).sizes
        resized = {size.job_id for size in found.sizes}
        self._whole = frozenset(key for key in found.maybe_resized if key.job_id not in resized)
        merge_segments(found)
        return found

    async def runs(self, ids: frozenset[int], has_time: Callable[[], bool]) -> BatchAnswers[DecodedRuns]:
        """Return all runs of jobs, however old."""

        async def ask(batch: Sequence[int]) -> DecodedRuns:
            # The id of an array gives its tasks, too.
            found = await self._sacct("-j", joined(batch))
            found.jobs = [job for job in found.jobs if job.key.job_id in ids]
            merge_segments(found)
            return found

        return await ask_in_batches(ids, self._config.batch, ask, is_well=self._answers, has_time=has_time)

    async def _answers(self) -> bool:
        try:
            await self._ask_little()
        except SourceError:
            return False
        return True

    async def _ask_little(self) -> None:
        small = ("-X", "-n", "-j", str(UNUSED_ID), "-o", "JobIDRaw")
        await self._commands.run("sacct", *small, timeout_s=_SOON_S)

    async def _sacct(self, *which: str) -> DecodedRuns:
        """
        Ask slurmdbd, but wait only once for all of a command's deadline in vain.

        Meanwhile nobody looks at slurmctld, which alone knows the GPUs of jobs, and only while they run.
        """
        if self._hangs:
            await self._ask_little()
        began = time.monotonic()
        try:
            found = await self._read_sacct(*which)
        except SourceUnavailable:
            self._hangs = time.monotonic() - began > _SOON_S
            raise
        self._hangs = False
        return found

    async def _read_sacct(self, *which: str) -> DecodedRuns:
        fields = await self._commands.sacct_columns()
        token = secrets.token_hex(8)
        # -D: each run of a requeued job; -p ends also the last column with the token.
        form = ("-a", "-X", "-D", "-p", "-n", "--noconvert", f"--delimiter={token}", "-o", ",".join(fields))
        by_name = self._identity.by_name
        output = await self._commands.run("sacct", *form, *(("-M", self._cluster) if by_name else ()), *which)
        try:
            found = await decode_runs(output.data, token, fields, self._cluster, self._commands.notices)
        except DecodeError:
            self._commands.invalidate("sacct")
            raise
        finally:
            await output.close()
        if "Partition" in fields:
            found.jobs = [job for job in found.jobs if not is_incomplete_row(job, int(self._now()))]
        self._identity.learn(found.rows, found.other_clusters)
        if not found.rows:  # of a cluster that it does not know sacct says that nothing ever ran
            await self._identity.confirm_accounting()
            if self._identity.by_name != by_name:
                return await self._read_sacct(*which)
        return found
