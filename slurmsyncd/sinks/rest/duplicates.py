"""Duplicate starts: detection of the same run, and the note about a repeat run. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Final

import msgspec

from slurmsyncd.delivery import OVERTAKEN, REPEAT, OtherRun, Outcome, OutcomeKind
from slurmsyncd.foreign import MalformedJson, decode_json

if TYPE_CHECKING:
    from slurmsyncd.model import RunKey
    from slurmsyncd.sinks.rest.responses import BackendResponse

#: Key of the metadata that the backend's page shows first; operators write there, too.
NOTE: Final = "message"
#: Characters of notes at one run; a job can be requeued without end.
NOTES_LIMIT: Final = 4000

_NOT_ENDED = frozenset({"", "running", "suspended", "pending"})
_ARCHIVING = 1  # also of a run that has not ended


def outcome_of_lookup(answer: BackendResponse, key: RunKey, cluster: str) -> Outcome:
    """
    Return the outcome of a start that the backend rejected because of another row.

    Args:
        answer: Response to ``GET /api/jobs/{dbid}``, already known to be a JSON object.
        key: Key of the rejected run.
        cluster: Backend cluster name of the run.

    Source:
        Contract section 4: the backend rejects a start less than 24 h after that of another run of its id.
        The difference is signed, so it rejects every earlier start, too.
    """
    row = _decode_row(answer.body)
    if row is None or (row.jobId, row.cluster) != (key.job_id, cluster):
        return Outcome(result=OutcomeKind.FAILED, reason="wrong_shape", status=answer.status)
    if row.startTime == key.start_at:
        return Outcome(result=OutcomeKind.ALREADY_DELIVERED, reason="listed_already", status=422)
    other = OtherRun(
        replace(key, start_at=row.startTime),
        running=row.jobState in _NOT_ENDED,
        archived=row.jobState not in _NOT_ENDED and row.monitoringStatus != _ARCHIVING,
    )
    apart = _span(abs(row.startTime - key.start_at))
    there = f"the backend has the run of {moment(row.startTime)}, {apart}"
    if row.startTime < key.start_at:
        detail = f"{there} before this one, and accepts the next run of a job id 24 h after that"
        return Outcome(result=OutcomeKind.REPEATED, reason=REPEAT, detail=detail, status=422, other=other)
    detail = f"{there} after this one, and accepts no run of a job id that began before one that it has"
    return Outcome(
        result=OutcomeKind.REJECTED, reason=OVERTAKEN, detail=detail, status=422, other=other, certain=True
    )


def note_of(answer: BackendResponse, later: RunKey) -> str | None:
    """
    Return the new note of the run in a row: its present note, and that the job ran again.

    The backend's page shows the note as HTML, so the note contains no text of a user.

    Returns:
        The note; None if the row already has it or the note would be too long.
    """
    row = _decode_row(answer.body)
    before = "" if row is None or row.metaData is None else row.metaData.get(NOTE, "")
    again = f"Slurm ran this job again from {moment(later.start_at)} on."
    line = f"{again} That run is not shown: it began less than a day after this one."
    if not isinstance(before, str) or line in before or len(before) + len(line) > NOTES_LIMIT:
        return None
    return f"{before}\n{line}" if before else line


def moment(at: int) -> str:
    """Format a time in seconds since the epoch for reading. A number out of range is returned as digits."""
    try:
        return f"{datetime.fromtimestamp(at, timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):
        return str(at)


def _span(seconds: int) -> str:
    try:
        return str(timedelta(seconds=seconds))
    except OverflowError:
        return f"{seconds} s"


class _Row(msgspec.Struct):
    jobId: int  # noqa: N815 - the backend's spelling
    cluster: str
    startTime: int  # noqa: N815 - the backend's spelling
    jobState: str = ""  # noqa: N815 - the backend's spelling
    monitoringStatus: int = 0  # noqa: N815 - the backend's spelling
    metaData: dict[str, Any] | None = None  # noqa: N815 - the backend's spelling


class _Found(msgspec.Struct):
    Meta: _Row


_FOUND: Final = msgspec.json.Decoder(_Found)


def _decode_row(body: bytes) -> _Row | None:
    try:
        return decode_json(body, _FOUND).Meta
    except MalformedJson:
        return None
