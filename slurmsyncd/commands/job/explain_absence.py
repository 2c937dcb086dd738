"""Why nothing is known of a job. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurmsyncd.text import duration, moment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from slurmsyncd.config import Config
    from slurmsyncd.console.ask_slurm import Said
    from slurmsyncd.control.store_requests import Totals
    from slurmsyncd.model import Job


def explain_absence(
    job_id: int, config: Config, totals: Totals, said: Sequence[Said] | None, *, running: bool, now: float
) -> tuple[str, ...]:
    """Return why nothing is known of a job: what Slurm's words prove, else what it may be."""
    if said is None:
        return tuple(_possible(job_id, config, totals, running=running, now=now))
    return tuple(line for each in said for line in _proven(config, totals, each, now))


def _possible(job_id: int, config: Config, totals: Totals, *, running: bool, now: float) -> Iterator[str]:
    if not running:
        yield "no daemon runs, so nobody has looked since the times below"
    for cluster, cursor in totals.cursors.items():
        yield f"accounting of {cluster} was read up to {moment(cursor, now)}; what ended later was not seen"
    if not totals.cursors:
        yield "no cluster has been looked at yet"
    yield "a job that has not started, or ended without starting, is never told of"
    yield f"what ended more than {duration(config.daemon.max_span)} before the first look was not read"
    if config.clusters:
        yield f"only these clusters are asked: {', '.join(config.clusters)}"
    yield f"`slurmsyncd job {job_id} --slurm` asks Slurm which of these it is"


def _proven(config: Config, totals: Totals, said: Said, now: float) -> Iterator[str]:
    cluster = said.cluster
    runs = {job.key: job for job in (*(said.controller or ()), *(said.accounting or ()))}
    started = [job for job in runs.values() if job.key.start_at > 0 and job.state.value != "PENDING"]
    if not started:
        answered = said.accounting is not None
        known = "knows of no run of it that has started" if answered else "did not answer for accounting"
        yield f"Slurm of {cluster} {known}" + (": nothing is to be told" if answered else "")
    for job in started:
        why = _why(job, config, totals, now)
        yield f"its run of {moment(job.key.start_at, now)} on {cluster}: {why}"


def _why(job: Job, config: Config, totals: Totals, now: float) -> str:
    cursor = totals.cursors.get(job.key.cluster)
    floor = now - config.daemon.max_span
    if config.clusters and job.key.cluster not in config.clusters:
        return f"[clusters.{job.key.cluster}] is not configured"
    if job.end_at is None:
        return "it runs and will be seen at the next look"
    if cursor is None or job.end_at > cursor - config.daemon.overlap:
        return "it has ended so lately that accounting was not read up to there yet; the next look sees it"
    if job.end_at < floor:
        return (
            f"it ended more than daemon.max_span ({duration(config.daemon.max_span)}) ago: it was not read, "
            "or was told of and is forgotten by now"
        )
    return (
        f"it should have been seen; `slurmsyncd verify` says what else is missing, and a lastrun set back "
        f"(touch -d @{job.end_at - 60} {config.daemon.lastrun_file}; restart) has it read again"
    )
