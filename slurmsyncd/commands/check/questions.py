"""Each kind of question that the daemon asks of Slurm, asked once through the daemon's own source."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from slurmsyncd.commands.check.result import CheckLevel, CheckResult
from slurmsyncd.commands.check.slurm_settings import AREA
from slurmsyncd.control.health import MANY_MESSAGES, MESSAGES_REMEDY, held_messages
from slurmsyncd.errors import SourceUnavailable
from slurmsyncd.model import JobQuestions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from slurmsyncd.config import Config
    from slurmsyncd.model import Observation
    from slurmsyncd.sources.command_source import CommandSource

#: Of a cluster without jobs; slurmctld need not know it.
_SOME_JOB: Final = 1
ACCOUNTING: Final = "see that slurmdbd and its database run: sacctmgr list cluster; nothing is lost meanwhile"
_JSON: Final = "see what the same command prints for the daemon's user on this host"
#: Slurm's words → remedy.
_REMEDIES: Final = {
    "serializer": "install Slurm's plugin serializer/json (Debian: slurm-wlm-basic-plugins)",
    "data_parser": "install Slurm's plugins data_parser, of the release of its commands",
    "Too wide of a date range": "set slurm.slice below MaxQueryTimeRange of slurmdbd.conf",
}


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of question: its name, the line if it is answered, and what to do if not."""

    name: str
    answered: str
    remedy: str


_LISTING: Final = _Kind("listing", "squeue lists all jobs", "see that slurmctld and munge run: scontrol ping")
_WINDOW: Final = _Kind("slurmdbd", "sacct gives the jobs that ended lately", ACCOUNTING)
_DETAILS: Final = _Kind("details", "squeue gives allocations of jobs as JSON", _JSON)
_BY_ID: Final = _Kind("by_id", "sacct gives all runs of a job id", ACCOUNTING)
_NODES: Final = _Kind("node_states", "the states of all nodes can be read", _JSON)


async def ask_all(source: CommandSource, config: Config) -> tuple[CheckResult, ...]:
    """Ask all that the daemon asks of one cluster; change nothing."""
    listed, job_id = await _look(source, config)
    found = [*listed, *await _ask(source, job_id), await _messages(source)]
    if any(sink.nodestate_interval > 0 for sink in config.sinks.values()):
        found.append(await _node_states(source))
    return tuple(found)


async def _look(source: CommandSource, config: Config) -> tuple[tuple[CheckResult, ...], int]:
    """Take one look as the daemon's first one does, and give the id of a job to ask for."""
    now = int(time.time())
    try:
        seen = await source.poll(now - int(config.slurm.slice), now)
    except SourceUnavailable as err:
        return (_failed(_LISTING, str(err)), _failed(_WINDOW, str(err))), _SOME_JOB
    answered = ((_LISTING, seen.job_list is not None), (_WINDOW, seen.accounting_read_until is not None))
    return tuple(_judged(answered, seen.errors, seen.records_skipped)), _job_of(seen)


def _job_of(seen: Observation) -> int:
    active = (
        item.job_id for item in seen.job_list or () if item.state.is_active and item.start_at is not None
    )
    return next(active, _SOME_JOB)


async def _ask(source: CommandSource, job_id: int) -> tuple[CheckResult, ...]:
    ids = frozenset({job_id})
    try:
        answers = await source.query_jobs(JobQuestions(details=ids, accounting=ids))
    except SourceUnavailable as err:
        return _failed(_DETAILS, str(err)), _failed(_BY_ID, str(err))
    answered = ((_DETAILS, answers.details is not None), (_BY_ID, answers.accounting is not None))
    return tuple(_judged(answered, answers.errors, answers.records_skipped))


async def _messages(source: CommandSource) -> CheckResult:
    """See what slurmctld holds for slurmdbd."""
    queued = await source.queued_messages()
    if queued is None:
        return CheckResult(
            AREA,
            "messages",
            CheckLevel.NOTE,
            "sdiag does not count what slurmctld holds for slurmdbd; outages are read again by time instead",
            "see what `sdiag` prints for the daemon's user on this host",
        )
    if queued >= MANY_MESSAGES:
        return CheckResult(AREA, "messages", CheckLevel.WARN, held_messages(queued), MESSAGES_REMEDY)
    return CheckResult(AREA, "messages", CheckLevel.OK, f"slurmctld holds {queued} messages for slurmdbd")


async def _node_states(source: CommandSource) -> CheckResult:
    try:
        await source.node_states()
    except SourceUnavailable as err:
        return _failed(_NODES, str(err))
    return CheckResult(AREA, _NODES.name, CheckLevel.OK, _NODES.answered)


def _judged(
    answered: Iterable[tuple[_Kind, bool]], trouble: tuple[str, ...], set_aside: int
) -> Iterator[CheckResult]:
    lines = iter(trouble)
    for kind, fine in answered:
        yield (
            CheckResult(AREA, kind.name, CheckLevel.OK, kind.answered)
            if fine
            else _failed(kind, next(lines, ""))
        )
    if set_aside:
        yield CheckResult(
            AREA,
            "records",
            CheckLevel.WARN,
            f"{set_aside} records of Slurm cannot be parsed",
            "see the log lines record_set_aside and docs/compatibility.md",
        )


def _failed(kind: _Kind, why: str) -> CheckResult:
    remedy = next((what for words, what in _REMEDIES.items() if words in why), kind.remedy)
    return CheckResult(AREA, kind.name, CheckLevel.FAIL, why, remedy)
