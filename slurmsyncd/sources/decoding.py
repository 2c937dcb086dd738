"""Slurm's answers record by record, without stalling the loop; a bad record is set aside alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

from anyio.lowlevel import checkpoint

from slurmsyncd.errors import DecodeError
from slurmsyncd.model import Job, NodeFacts, NodeState, RunKey
from slurmsyncd.slurm.accounting import NotARun, RunSegment, is_maybe_resized, read_run, with_first_start
from slurmsyncd.slurm.controller_jobs import JobDetails, read_detail, read_job_id
from slurmsyncd.slurm.delimited_text import DelimitedRows
from slurmsyncd.slurm.hostlist import expand_hostlist
from slurmsyncd.slurm.job_list import WIDTH, read_listed_job
from slurmsyncd.slurm.nodes import read_facts, read_node
from slurmsyncd.sources.compact_job_list import CompactJobList

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence

    from msgspec import Raw

    from slurmsyncd.slurm.delimited_text import TextBuffer
    from slurmsyncd.sources.slurm_cli import OnceLogger

    T = TypeVar("T")

_BREATH: Final = 200
"""Records decoded before the loop may turn: some 2 ms."""


@dataclass(slots=True)
class JobList:
    """
    The controller's listing.

    Attributes:
        held: Host list → active jobs that hold these nodes.
    """

    listed: CompactJobList = field(default_factory=CompactJobList)
    held: Counter[str] = field(default_factory=Counter)
    records_skipped: int = 0


@dataclass(slots=True)
class DecodedRuns:
    """
    Runs, and how many records were none or not understood.

    Attributes:
        rows: Records of this cluster, whatever they are.
        other_clusters: Names of the other clusters that there are records of.
        never_started: Jobs that ended without ever starting: id and end.
        sizes: Earlier sizes of runs that were resized.
        maybe_resized: Runs that may have had an earlier size.
    """

    jobs: list[Job] = field(default_factory=list)
    rows: int = 0
    other_clusters: set[str] = field(default_factory=set)
    never_started: set[tuple[str, str]] = field(default_factory=set)
    sizes: list[RunSegment] = field(default_factory=list)
    maybe_resized: set[RunKey] = field(default_factory=set)
    records_skipped: int = 0


@dataclass(slots=True)
class DecodedDetails:
    """Runs as the controller shows them, and how many records or parts of them were not understood."""

    details: list[JobDetails] = field(default_factory=list)
    records_skipped: int = 0


async def decode_listing(text: TextBuffer, token: str, now: int, notices: OnceLogger) -> JobList:
    """
    Decode squeue's text.

    Raises:
        DecodeError: It is cut, or none.
    """
    found = JobList()
    rows = DelimitedRows(text, token.encode(), WIDTH)
    async for row in _yielding(rows):
        try:
            job, hosts = read_listed_job(row, now=now)
        except DecodeError as err:
            found.records_skipped += 1
            notices.once("record_set_aside", str(err))
            continue
        found.listed.append(job)
        if hosts:
            found.held[hosts] += 1
    found.records_skipped += rows.set_aside
    _refuse_cut(rows, "squeue")
    return found


async def decode_runs(
    text: TextBuffer, token: str, fields: Sequence[str], cluster: str, notices: OnceLogger
) -> DecodedRuns:
    """
    Decode sacct's text.

    Raises:
        DecodeError: It is cut, or none; accounting must not be taken for complete.
    """
    found = DecodedRuns()
    flaws: list[str] = []
    rows = DelimitedRows(text, token.encode(), len(fields))
    async for row in _yielding(rows):
        columns = dict(zip(fields, row, strict=True))
        if (owner := columns.get("Cluster", cluster)) != cluster:
            found.other_clusters.add(owner)
            continue
        found.rows += 1
        try:
            run = read_run(columns, cluster, flaws)
        except DecodeError as err:
            found.records_skipped += 1
            notices.once("record_set_aside", str(err))
            continue
        if isinstance(run, Job):
            found.jobs.append(run)
            if is_maybe_resized(columns):
                found.maybe_resized.add(run.key)
        elif isinstance(run, RunSegment):
            found.sizes.append(run)
        elif run is NotARun.NEVER_STARTED:
            found.never_started.add((columns["JobIDRaw"], columns["End"]))
    found.records_skipped += rows.set_aside + len(flaws)
    for flaw in flaws:
        notices.once("part_set_aside", flaw)
    _refuse_cut(rows, "sacct")
    return found


def merge_segments(found: DecodedRuns) -> None:
    """Have each run begin with the first of its sizes."""
    if found.sizes:
        found.jobs = [with_first_start(found.sizes, job) for job in found.jobs]


async def decode_details(
    records: Iterable[Raw], wanted: frozenset[int], cluster: str, now: int, notices: OnceLogger
) -> DecodedDetails:
    """Decode those records of squeue's JSON that were asked for and have started."""
    found = DecodedDetails()
    async for record in _yielding(records):
        job_id = read_job_id(record)
        if job_id is not None and job_id not in wanted:
            continue
        try:
            detail = read_detail(record, cluster, now=now)
        except DecodeError as err:
            found.records_skipped += 1
            notices.once("record_set_aside", str(err))
            continue
        if detail:
            found.details.append(detail)
            found.records_skipped += len(detail.skipped_fields)
            for flaw in detail.skipped_fields:
                notices.once("part_set_aside", flaw)
    return found


async def decode_nodes(
    records: Iterable[Raw], held: Mapping[str, int], notices: OnceLogger, accelerators: Collection[str]
) -> tuple[NodeState, ...]:
    """Decode nodes, with the number of jobs that hold each."""
    jobs: Counter[str] = Counter()
    states = []
    for hosts, count in held.items():
        try:
            jobs.update(dict.fromkeys(expand_hostlist(hosts), count))
        except DecodeError as err:
            notices.once("record_set_aside", str(err))
    async for record in _yielding(records):
        try:
            states.append(read_node(record, jobs, accelerators))
        except DecodeError as err:
            notices.once("record_set_aside", str(err))
    return tuple(states)


async def decode_facts(records: Iterable[Raw], notices: OnceLogger) -> dict[str, NodeFacts]:
    """Decode what nodes are, by host; equal ones share one object."""
    found: dict[str, NodeFacts] = {}
    kinds: dict[NodeFacts, NodeFacts] = {}
    async for record in _yielding(records):
        try:
            host, facts = read_facts(record)
        except DecodeError as err:
            notices.once("record_set_aside", str(err))
            continue
        found[host] = kinds.setdefault(facts, facts)
    return found


def latest_per_run(jobs: Iterable[Job]) -> tuple[Job, ...]:
    """Return each run once: of records of the same run, the one that knows its end, then the later (S20)."""
    best: dict[object, Job] = {}
    for job in jobs:
        known = best.get(job.key)
        if known is None or _rank(job) >= _rank(known):
            best[job.key] = job
    return tuple(best.values())


def _rank(job: Job) -> tuple[bool, int, int]:
    return job.state.is_final, job.restarts or 0, job.end_at or 0


def _refuse_cut(rows: DelimitedRows, command: str) -> None:
    if rows.truncated:
        raise DecodeError(f"{command}: the answer is cut, or is no listing")


async def _yielding(items: Iterable[T]) -> AsyncIterator[T]:
    """Return items, and the loop its turn now and then."""
    for count, item in enumerate(items):
        if count % _BREATH == _BREATH - 1:
            await checkpoint()
        yield item
