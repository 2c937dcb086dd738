"""
Outcomes of the backend's responses. Pure.

The functions cover every row of section 13 of the contract. Quoted texts are the contract's markers.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from datetime import timezone
from email.utils import parsedate_to_datetime
from typing import Any, Final

import msgspec

from slurmsyncd.delivery import Outcome, OutcomeKind
from slurmsyncd.foreign import MalformedJson, decode_json
from slurmsyncd.sinks.text import printable

#: Reason of a backend that takes starts and stops by NATS alone.
JOBS_BY_NATS = "jobs_by_nats"


class RequestKind(enum.Enum):
    """The kind of a request to the backend."""

    START = "start"
    STOP = "stop"
    NODES = "nodes"
    CLUSTERS = "clusters"
    LOOK_UP = "look_up"
    PROBE = "probe"
    REMOVE = "remove"
    EDIT = "edit"


class FailureKind(enum.Enum):
    """The kinds of failure of an exchange without a response."""

    UNREACHABLE = "unreachable"  # refused, no route, no such name: nothing was sent
    CONNECT_TIMEOUT = "connect_timeout"
    TLS = "tls"
    TIMEOUT = "timeout"  # the whole exchange took too long: outcome unknown
    BROKEN_OFF = "broken_off"  # reset or closed without a whole answer: outcome unknown
    NO_HTTP = "no_http"  # what came back is not HTTP
    TOKEN = "token"  # noqa: S105 - the token file cannot be used: nothing was sent


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendResponse:
    """
    One response, as far as it was read.

    Attributes:
        body: Body, up to the limit of the request.
        truncated: Whether the body was longer.
        retry_after_s: Value of ``Retry-After`` in seconds; None if absent or invalid.
        location: Value of ``Location``.
        server_time: Value of ``Date``, in seconds since the epoch; None if absent or invalid.
    """

    status: int
    body: bytes = b""
    truncated: bool = False
    retry_after_s: float | None = None
    location: str = ""
    server_time: float | None = None


@dataclass(frozen=True, slots=True)
class LookupNeeded:
    """The backend has a run of this job id and cluster; a query must show whether it is the same run."""

    dbid: int


@dataclass(frozen=True, slots=True)
class RequestContext:
    """
    The facts of a request that its outcome depends on.

    Attributes:
        job_id: Job id of a start or stop.
        state: State that a stop reported.
    """

    request: RequestKind
    job_id: int = 0
    state: str = ""


def outcome_of_response(sent: RequestContext, answer: BackendResponse) -> Outcome | LookupNeeded:
    """
    Return the outcome of a response.

    Returns:
        The outcome; LookupNeeded only for a start that the backend rejected as a duplicate of a row.
    """
    return (
        _anywhere(sent, answer)
        or _BY_REQUEST[sent.request](sent, answer)
        or _outcome(answer, OutcomeKind.FAILED, f"http_{answer.status}")
    )


def stopped_id(answer: BackendResponse) -> int | None:
    """Return the database id of the run that a stop ended; None if the response does not contain it."""
    found = _object(answer)
    dbid = found.get("id") if isinstance(found, dict) else None
    return dbid if isinstance(dbid, int) and dbid > 0 else None


def outcome_of_failure(failure: FailureKind, detail: str) -> Outcome:
    """Return the outcome of an exchange without a response."""
    result, alarm = _FAILURES[failure]
    return Outcome(result=result, reason=failure.value, detail=printable(detail), action_required=alarm)


# A failure before sending concerns the sink. A later failure may be caused by the delivery.
_FAILURES = {
    FailureKind.UNREACHABLE: (OutcomeKind.SINK_UNAVAILABLE, False),
    FailureKind.CONNECT_TIMEOUT: (OutcomeKind.SINK_UNAVAILABLE, False),
    FailureKind.TLS: (OutcomeKind.SINK_UNAVAILABLE, True),
    FailureKind.TOKEN: (OutcomeKind.SINK_UNAVAILABLE, True),
    FailureKind.TIMEOUT: (OutcomeKind.FAILED, False),
    FailureKind.BROKEN_OFF: (OutcomeKind.FAILED, False),
    FailureKind.NO_HTTP: (OutcomeKind.FAILED, False),
}


def _anywhere(sent: RequestContext, answer: BackendResponse) -> Outcome | None:
    """Return the outcome of a response that means the same for every request; None for other responses."""
    match answer.status:
        case 401:
            return _outcome(answer, OutcomeKind.SINK_UNAVAILABLE, "credentials", alarm=True)
        case 403 if _error(answer) is not None and sent.request is not RequestKind.REMOVE:
            return _outcome(answer, OutcomeKind.SINK_UNAVAILABLE, "credentials", alarm=True)
        case 403:
            # A filter in between that dislikes one script must not stop all runs.
            return _outcome(answer, OutcomeKind.FAILED, "http_403", alarm=True)
        case 429:
            return _outcome(answer, OutcomeKind.SINK_UNAVAILABLE, "http_429")
        case 503 if answer.retry_after_s is not None:
            # Announced maintenance: it would meet every entry alike.
            return _outcome(answer, OutcomeKind.SINK_UNAVAILABLE, "http_503")
        case status if 300 <= status < 400:
            detail = f"redirects to {answer.location or 'nowhere'}: correct the sink's url"
            return _outcome(answer, OutcomeKind.SINK_UNAVAILABLE, "redirected", detail=detail, alarm=True)
        case 404 | 405 if sent.request not in _OPTIONAL and not _is_missing_row(answer):
            return _missing(sent, answer)
        case 413 | 431:
            return _outcome(answer, OutcomeKind.REJECTED, "too_large")
        case 408 | 502 | 503 | 504:
            return _outcome(answer, OutcomeKind.FAILED, f"http_{answer.status}")
    return None


def _missing(sent: RequestContext, answer: BackendResponse) -> Outcome | None:
    """Return the outcome of a missing endpoint; None for the missing method that the probe expects."""
    if sent.request is RequestKind.PROBE and answer.status == 405:
        return None
    if sent.request in _OF_JOBS and _status(answer) == "Resource not found":
        detail = "it takes starts and stops by NATS, not by REST: its config.json sets main.api-subjects"
        return _outcome(answer, OutcomeKind.SINK_UNAVAILABLE, JOBS_BY_NATS, detail=detail, alarm=True)
    detail = "no such endpoint: a wrong url, or too old a backend"
    return _outcome(answer, OutcomeKind.SINK_UNAVAILABLE, "no_endpoint", detail=detail, alarm=True)


def _start(_: RequestContext, answer: BackendResponse) -> Outcome | LookupNeeded | None:
    match answer.status:
        case 201:
            fits = isinstance(_object(answer), dict)
            return _done(answer) if fits else _outcome(answer, OutcomeKind.FAILED, "wrong_shape")
        case 422 if (dbid := _dbid(answer)) is not None:
            return LookupNeeded(dbid)
        case 422:
            return _outcome(answer, OutcomeKind.FAILED, "duplicate_unnamed")
        case 500 if _says(answer, "UNIQUE constraint failed: job_cache"):
            return _outcome(answer, OutcomeKind.ALREADY_DELIVERED, "cached_already")
        case 500 if _says(answer, "CHECK constraint failed"):
            return _outcome(answer, OutcomeKind.REJECTED, "check_failed")
        case 500 if _says(answer, "adding tag"):
            return _outcome(answer, OutcomeKind.ACCEPTED, "untagged")
        case 500 if not answer.body.strip():
            # Its handler crashed, perhaps over this very run; or something in between is short of words.
            return _outcome(answer, OutcomeKind.REJECTED_UNTIL_FIXED, "handler_crashed")
        case 400 if _says(answer, "no subcluster found"):
            return _outcome(answer, OutcomeKind.REJECTED_UNTIL_FIXED, "no_subcluster")
        case 400 if _says(answer, "no such cluster"):
            return _outcome(answer, OutcomeKind.REJECTED_UNTIL_FIXED, "no_cluster")
    return _client_error(answer)


def _stop(sent: RequestContext, answer: BackendResponse) -> Outcome | None:
    match answer.status:
        case 200:
            fits = _is_job(answer, sent.job_id)
            return _done(answer) if fits else _outcome(answer, OutcomeKind.FAILED, "wrong_shape")
        case 422 if _says(answer, "already been stopped"):
            same = _says(answer, f"state is: {sent.state}")
            return _outcome(answer, OutcomeKind.ALREADY_DELIVERED, "stopped" if same else "stopped_otherwise")
        case 404:
            return _outcome(answer, OutcomeKind.START_MISSING, "start_missing")
        case 422 if _says(answer, "no rows in result set"):  # up to 1.4
            return _outcome(answer, OutcomeKind.START_MISSING, "start_missing")
        case 400 if _says(answer, "invalid requested job state"):
            return _outcome(answer, OutcomeKind.REJECTED_UNTIL_FIXED, "unknown_state")
        case 400 if _says(answer, "larger/equal"):
            return _outcome(answer, OutcomeKind.REJECTED, "stop_before_start")
        case 500 if _says(answer, "transferring cached job"):
            return _outcome(answer, OutcomeKind.TOO_EARLY, "transferring")
    return _client_error(answer)


def _nodes(_: RequestContext, answer: BackendResponse) -> Outcome | None:
    match answer.status:
        case 200:
            fits = not answer.body.strip()
            return _done(answer) if fits else _outcome(answer, OutcomeKind.FAILED, "wrong_shape")
        case 404 | 405:
            return _outcome(answer, OutcomeKind.REJECTED, "no_nodestate")
    return _client_error(answer)


def _read(_: RequestContext, answer: BackendResponse) -> Outcome | None:
    if answer.status == 200 and not answer.truncated and answer.body.lstrip().startswith(b"{"):
        return _done(answer)
    reason = "too_long" if answer.truncated else "wrong_shape"
    return _outcome(answer, OutcomeKind.FAILED, reason if answer.status == 200 else f"http_{answer.status}")


def _remove(_: RequestContext, answer: BackendResponse) -> Outcome | None:
    match answer.status:
        case 200:
            return _done(answer)
        case 422 if _says(answer, "no rows in result set"):
            return _outcome(answer, OutcomeKind.ALREADY_DELIVERED, "removed")
        case 404 | 405:
            return _outcome(answer, OutcomeKind.REJECTED, "no_removal")
    return _client_error(answer)


def _probe(_: RequestContext, answer: BackendResponse) -> Outcome | None:
    # Asked with a method that it does not have, the endpoint of stops exists, and neither acts nor logs.
    return _outcome(answer, OutcomeKind.ACCEPTED, "answers") if answer.status == 405 else None


def _edit(_: RequestContext, answer: BackendResponse) -> Outcome | None:
    match answer.status:
        case 200:
            return _done(answer)
        case 422:
            return _outcome(answer, OutcomeKind.TOO_EARLY, "start_not_committed")
        case 404 | 405:
            return _outcome(answer, OutcomeKind.REJECTED, "no_edit")
        case 500:
            # Of a run that ended already the database is changed all the same, and its archive is not.
            return _outcome(answer, OutcomeKind.REJECTED_UNTIL_FIXED, "not_archived")
    return _client_error(answer)


_BY_REQUEST = {
    RequestKind.START: _start,
    RequestKind.STOP: _stop,
    RequestKind.NODES: _nodes,
    RequestKind.CLUSTERS: _read,
    RequestKind.LOOK_UP: _read,
    RequestKind.PROBE: _probe,
    RequestKind.REMOVE: _remove,
    RequestKind.EDIT: _edit,
}
# That these are missing, or forbidden, says nothing of the others.
_OPTIONAL = frozenset({RequestKind.NODES, RequestKind.REMOVE, RequestKind.EDIT})
#: cc-backend does not mount these where it takes jobs by NATS.
_OF_JOBS = frozenset({RequestKind.START, RequestKind.STOP, RequestKind.PROBE})


def _client_error(answer: BackendResponse) -> Outcome | None:
    """Return the outcome of any other rejection; None if the response is not a rejection."""
    if not 400 <= answer.status < 500:
        return None
    if answer.status not in (400, 422) or _error(answer) is None:
        # Not the backend's own words: something in between refuses, and somebody can change that.
        return _outcome(answer, OutcomeKind.REJECTED_UNTIL_FIXED, f"http_{answer.status}", alarm=True)
    if _says(answer, "unknown field"):
        return _outcome(answer, OutcomeKind.REJECTED_UNTIL_FIXED, "unknown_field")
    return _outcome(answer, OutcomeKind.REJECTED, f"http_{answer.status}")


def parse_retry_after(value: str | None, now: float) -> float | None:
    """
    Parse a ``Retry-After`` header: seconds, or a date.

    Returns:
        Seconds from ``now``, never negative and without an upper bound; None for an invalid header.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:18])
    at = parse_http_date(text)
    return None if at is None else max(0.0, at - now)


def parse_http_date(value: str | None) -> float | None:
    """Parse the date of a header; return seconds since the epoch, or None for an invalid date."""
    try:
        date = parsedate_to_datetime((value or "").strip())
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=timezone.utc)
    return date.timestamp()


def _done(answer: BackendResponse) -> Outcome:
    return Outcome(result=OutcomeKind.ACCEPTED, reason="accepted", status=answer.status)


def _outcome(
    answer: BackendResponse, result: OutcomeKind, reason: str, *, detail: str = "", alarm: bool = False
) -> Outcome:
    return Outcome(
        result=result,
        reason=reason,
        detail=printable(detail or _error(answer) or answer.body[:1000].decode("utf-8", "replace")),
        status=answer.status,
        retry_after_s=answer.retry_after_s,
        action_required=alarm,
    )


_ANYTHING: Final = msgspec.json.Decoder()


def _object(answer: BackendResponse) -> Any:
    # No endpoint that is judged by its body answers with more than a few levels.
    try:
        return decode_json(answer.body, _ANYTHING)
    except MalformedJson:
        return None


def _error(answer: BackendResponse) -> str | None:
    """Return the backend's own error text, None if the body is not the backend's."""
    found = _object(answer)
    text = found.get("error") if isinstance(found, dict) else None
    return text if isinstance(text, str) else None


def _says(answer: BackendResponse, marker: str) -> bool:
    # Only the backend's own error text is searched for markers, since an HTML page may quote anything.
    return marker in (_error(answer) or "")


def _dbid(answer: BackendResponse) -> int | None:
    found = re.search(r"dbid: ([0-9]{1,18})\b", _error(answer) or "")
    return int(found[1]) if found and _says(answer, "already exists") else None


def _is_missing_row(answer: BackendResponse) -> bool:
    return answer.status == 404 and _status(answer) == "Not Found"


def _status(answer: BackendResponse) -> object:
    found = _object(answer)
    return found.get("status") if isinstance(found, dict) else None


def _is_job(answer: BackendResponse, job_id: int) -> bool:
    if answer.truncated:  # of a run on many nodes; what was read has to look like a job at least
        return answer.body.startswith(b"{") and b'"cluster"' in answer.body
    found = _object(answer)
    return isinstance(found, dict) and found.get("jobId") == job_id
