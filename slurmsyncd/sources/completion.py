"""
What a job's record lacks and other answers of Slurm have: its user's name, what its nodes are.

Both are asked for only where they are missing, and a run is reported without them if nobody knows.
"""

from __future__ import annotations

import pwd
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread
import structlog

from slurmsyncd.errors import DecodeError, SourceUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

    from slurmsyncd.model import Gres, Job, NodeAllocation, NodeFacts
    from slurmsyncd.slurm.controller_jobs import JobDetails

log = structlog.get_logger(__name__)

FRESH_S: Final = 3600.0
"""Facts of nodes change with slurm.conf and at boot: one question an hour, besides those for new nodes."""

AGAIN_S: Final = 60.0
"""Between two questions for nodes that Slurm did not name, or that it did not answer."""


NAME_SERVICE_S: Final = 2.0
"""Longest wait for a user's name."""


class NodeFactsCache:
    """
    Facts of a cluster's nodes, asked for when a run is on one that is not known, and hourly.

    Args:
        ask: Asks Slurm for all nodes; raises SourceError.
    """

    def __init__(self, ask: Callable[[], Awaitable[Mapping[str, NodeFacts]]]) -> None:
        self._ask = ask
        self._facts: Mapping[str, NodeFacts] = {}
        self._fresh_until = self._quiet_until = 0.0

    async def complete(self, job: Job) -> Job:
        """Return a run with the facts of the nodes that it holds."""
        if not job.allocation:
            return job
        await self._refresh({node.host for node in job.allocation})
        return replace(job, allocation=tuple(map(self._with_facts, job.allocation)))

    async def _refresh(self, hosts: Collection[str]) -> None:
        now = time.monotonic()
        known = now < self._fresh_until and all(host in self._facts for host in hosts)
        if known or now < self._quiet_until:
            return
        self._quiet_until = now + AGAIN_S
        try:
            self._facts = await self._ask()
        except (SourceUnavailable, DecodeError) as err:
            log.warning("node_facts_missing", reason=str(err))
            return
        self._fresh_until = now + FRESH_S

    def _with_facts(self, node: NodeAllocation) -> NodeAllocation:
        facts = self._facts.get(node.host)
        if facts is None:
            return node
        return replace(node, sockets=facts.sockets, devices=_of_kinds(facts.devices, node.gres))


def _of_kinds(devices: tuple[Gres, ...] | None, held: Sequence[Gres]) -> tuple[Gres, ...] | None:
    """Return those of a node's devices that are of the names a run holds."""
    names = {gres.name for gres in held}
    return None if devices is None else tuple(gres for gres in devices if gres.name in names)


async def name_users(
    details: Iterable[JobDetails], accounting: Callable[[frozenset[int]], Awaitable[Iterable[Job]]]
) -> list[JobDetails]:
    """
    Return the records with a user each: the controller names none while its name service does not answer.

    Accounting has the name from the association, then this host may know it, and then the number
    stands for it: a run under a number is found, one that nobody accepts is not.

    Args:
        details: The controller's records.
        accounting: Answers what accounting has of these job ids; raises SourceError.
    """
    found = list(details)
    nameless = frozenset(detail.job.key.job_id for detail in found if not detail.job.user)
    if not nameless:
        return found
    try:
        names = {job.key.job_id: job.user for job in await accounting(nameless) if job.user}
    except (SourceUnavailable, DecodeError):
        names = {}
    return [
        detail if detail.job.user else await _named(detail, names.get(detail.job.key.job_id, ""))
        for detail in found
    ]


async def _named(detail: JobDetails, name: str) -> JobDetails:
    user = name or await _user_of(detail.user_id)
    return type(detail)(replace(detail.job, user=user), detail.batch, detail.user_id, detail.skipped_fields)


async def _user_of(user_id: int | None) -> str:
    """Return the name that this host has for a user's number, else the number, else nothing."""
    if user_id is None:
        return ""
    # In a thread and bounded: a name service that does not answer must not hold up the daemon.
    with anyio.move_on_after(NAME_SERVICE_S), suppress(KeyError, OverflowError):
        found = await anyio.to_thread.run_sync(pwd.getpwuid, user_id, abandon_on_cancel=True)
        return found.pw_name
    return str(user_id)
