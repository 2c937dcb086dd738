"""Whether the run that makes a start a duplicate is the very same one. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import msgspec

from slurmsyncd.delivery import REPEAT, Outcome, Result
from slurmsyncd.foreign import MalformedJson, decode_json

if TYPE_CHECKING:
    from slurmsyncd.model import RunKey
    from slurmsyncd.sinks.answers import Answer


def look_up_outcome(answer: Answer, key: RunKey, cluster: str) -> Outcome:
    """
    Judge the row that made a start a duplicate.

    Args:
        answer: Of ``GET /api/jobs/{dbid}``, already known to be a JSON object.
        key: Of the run that was refused.
        cluster: Backend's name of its cluster.
    """
    row = _decode_row(answer.body)
    if row is None or (row.jobId, row.cluster) != (key.job_id, cluster):
        return Outcome(result=Result.FAILED, reason="wrong_shape", status=answer.status)
    if row.startTime == key.start_at:
        return Outcome(result=Result.ALREADY_THERE, reason="listed_already", status=422)
    detail = f"the backend has a run of this job id that began at {row.startTime}"
    return Outcome(
        result=Result.REFUSED,
        reason=REPEAT,
        detail=detail,
        status=422,
        repeat_of=replace(key, start_at=row.startTime),
        certain=True,
    )


class _Row(msgspec.Struct):
    jobId: int  # noqa: N815 - the backend's spelling
    cluster: str
    startTime: int  # noqa: N815 - the backend's spelling


class _Found(msgspec.Struct):
    Meta: _Row


_FOUND: Final = msgspec.json.Decoder(_Found)


def _decode_row(body: bytes) -> _Row | None:
    try:
        return decode_json(body, _FOUND).Meta
    except MalformedJson:
        return None
