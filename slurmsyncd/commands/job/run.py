"""``slurmsyncd job ID``: the story of one job, gathered."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from slurmsyncd.commands.job.explain_absence import explain_absence
from slurmsyncd.commands.job.view import show
from slurmsyncd.console.ask_slurm import Said, ask_slurm, raw_ids
from slurmsyncd.console.terminal import Terminal
from slurmsyncd.control.client import connect
from slurmsyncd.control.previews import GetPreviews, RunPreviews, previews
from slurmsyncd.control.store_requests import GetRunHistories, GetTotals
from slurmsyncd.errors import SlurmsyncdError
from slurmsyncd.logs import configure_logs

if TYPE_CHECKING:
    import argparse

    from slurmsyncd.config import Config
    from slurmsyncd.store.queries import RunHistory


@dataclass(frozen=True, slots=True, kw_only=True)
class JobReport:
    """
    All there is to tell of a job.

    Attributes:
        job_id: Raw id.
        running: The daemon told it, so it knows its sinks.
        silence: Why nothing was sent, as far as it can be said; empty if something was.
        slurm: What Slurm says now, by cluster; None if it was not asked.
    """

    job_id: int
    now: float
    running: bool
    runs: tuple[RunHistory, ...]
    previews: tuple[RunPreviews, ...]
    silence: tuple[str, ...]
    slurm: tuple[Said, ...] | None


def run(args: argparse.Namespace, config: Config) -> int:
    """Tell it; gives the exit status."""
    configure_logs("warning", "auto")
    ids = anyio.run(_raw_ids, args.id, args.slurm, config)
    terminal = Terminal()
    tales = [_tell(job_id, config, ask=args.slurm) for job_id in ids]
    if args.json:
        terminal.json({"jobs": tales})
    else:
        for tale in tales:
            show(tale, config, terminal)
    return 0 if any(tale.runs for tale in tales) else 1


async def _raw_ids(text: str, ask: bool, config: Config) -> tuple[int, ...]:
    if text.isdecimal():
        return (int(text),)
    if not ask:
        column = "JobArrayID" if "_" in text else "HetJobIDSet"
        raise SlurmsyncdError(
            f"{text}: the raw job id is wanted here; add --slurm to have Slurm asked for it, "
            f"or see `sacct -X -j {text} -o JobIDRaw,JobID` or `squeue -O JobID,{column}`"
        )
    found = await raw_ids(text, config)
    if not found:
        raise SlurmsyncdError(f"{text}: Slurm's accounting knows no such job")
    return found


def _tell(job_id: int, config: Config, *, ask: bool) -> JobReport:
    with connect(config) as desk:
        stories = desk.ask(GetRunHistories(job_id))
        made = desk.ask(GetPreviews(job_id)) if desk.running else previews(stories, config, {})
        totals = desk.ask(GetTotals())
        running = desk.running
    said = tuple(anyio.run(ask_slurm, job_id, config)) if ask else None
    return JobReport(
        job_id=job_id,
        now=time.time(),
        running=running,
        runs=stories,
        previews=made,
        silence=()
        if stories
        else explain_absence(job_id, config, totals, said, running=running, now=time.time()),
        slurm=said,
    )
