"""The controller's listing as text. Pure."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from slurmsyncd.model import JobState, ListedJob
from slurmsyncd.slurm.controller_jobs import is_not_started
from slurmsyncd.slurm.scalars import parse_id, parse_state, parse_time

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH: Final = 5
"""Columns of the listing."""

# Of 10,000 rows most have the same few words.
_state = lru_cache(64)(parse_state)


def listing_format(token: str) -> str:
    """Return squeue's ``-o``: id, state, start, end, nodes; nothing that a user may choose freely."""
    return "".join(f"%{field}{token}" for field in ("A", "T", "S", "e", "N"))


def read_listed_job(row: Sequence[str], *, now: int) -> tuple[ListedJob, str]:
    """
    Read a row of the listing.

    Args:
        row: Shape ``(WIDTH,)``.
        now: Epoch seconds; what ends later is a forecast.

    Returns:
        The job, and the host list of the nodes that it holds (empty if none).

    Raises:
        DecodeError: The id is none.
    """
    job_id, word, start, end, nodes = row
    state = _state(word)
    if state is not JobState.RUNNING and is_not_started(state, parse_time(end), now):
        return ListedJob(parse_id(job_id, "job id"), JobState.PENDING, None), ""
    if not nodes and state.is_final:
        start = ""  # cancelled while it waited: squeue then prints the time of that as its start
    return ListedJob(parse_id(job_id, "job id"), state, parse_time(start)), nodes if state.is_active else ""
