"""Every row of the contract's section 13, and the faults that an answer can be."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmsyncd.delivery import OtherRun, Outcome, OutcomeKind
from slurmsyncd.model import RunKey
from slurmsyncd.sinks.rest.duplicates import note_of, outcome_of_lookup
from slurmsyncd.sinks.rest.responses import (
    BackendResponse,
    FailureKind,
    LookupNeeded,
    RequestContext,
    RequestKind,
    outcome_of_failure,
    outcome_of_response,
    parse_retry_after,
)
from tests.unit.sinks.parts import error

R = OutcomeKind
START = RequestContext(RequestKind.START, job_id=7)
STOP = RequestContext(RequestKind.STOP, job_id=7, state="completed")
NODES = RequestContext(RequestKind.NODES)
# A page that quotes every marker: only the backend's own error text counts.
HTML = (
    "<html>404 Not Found no rows in result set already exists dbid: 3 already been stopped state is: completed "
    "UNIQUE constraint failed: job_cache CHECK constraint failed adding tag no subcluster found no such cluster "
    "unknown field invalid requested job state larger/equal transferring cached job Resource not found</html>"
)


@dataclass(frozen=True)
class Row:
    id: str
    sent: RequestContext
    status: int
    body: str
    result: OutcomeKind
    reason: str
    alarm: bool = False


def rows_for_any(sent: RequestContext, which: str) -> list[Row]:
    return [
        Row(
            f"{which}-H9-401",
            sent,
            401,
            error("expired", "Unauthorized"),
            R.SINK_UNAVAILABLE,
            "credentials",
            True,
        ),
        Row(
            f"{which}-H9-401-two-objects",
            sent,
            401,
            error("a") + error("b"),
            R.SINK_UNAVAILABLE,
            "credentials",
            True,
        ),
        Row(f"{which}-H9-403", sent, 403, error("no", "Forbidden"), R.SINK_UNAVAILABLE, "credentials", True),
        Row(f"{which}-403-of-a-filter", sent, 403, HTML, R.FAILED, "http_403", True),
        Row(f"{which}-408", sent, 408, "", R.FAILED, "http_408"),
        Row(f"{which}-H13-429", sent, 429, "slow down", R.SINK_UNAVAILABLE, "http_429"),
        Row(f"{which}-H8-502-html", sent, 502, HTML, R.FAILED, "http_502"),
        Row(f"{which}-H8-503", sent, 503, HTML, R.FAILED, "http_503"),
        Row(f"{which}-H8-504", sent, 504, "", R.FAILED, "http_504"),
        Row(f"{which}-H14-302", sent, 302, "", R.SINK_UNAVAILABLE, "redirected", True),
        Row(f"{which}-H14-307", sent, 307, "", R.SINK_UNAVAILABLE, "redirected", True),
        Row(f"{which}-H12-413", sent, 413, HTML, R.REJECTED, "too_large"),
        Row(f"{which}-H12-431", sent, 431, "", R.REJECTED, "too_large"),
        Row(f"{which}-418", sent, 418, "teapot", R.REJECTED_UNTIL_FIXED, "http_418", True),
        Row(f"{which}-400-of-a-proxy", sent, 400, HTML, R.REJECTED_UNTIL_FIXED, "http_400", True),
    ]


GONE = error("nothing here", "Resource not found")
ROWS = [
    *rows_for_any(START, "start"),
    *rows_for_any(STOP, "stop"),
    *rows_for_any(NODES, "nodes"),
    Row("start-404-not-mounted", START, 404, GONE, R.SINK_UNAVAILABLE, "jobs_by_nats", True),
    Row("start-404-html", START, 404, HTML, R.SINK_UNAVAILABLE, "no_endpoint", True),
    Row("start-405", START, 405, "", R.SINK_UNAVAILABLE, "no_endpoint", True),
    Row("stop-H8-404-not-mounted", STOP, 404, GONE, R.SINK_UNAVAILABLE, "jobs_by_nats", True),
    Row("stop-404-html", STOP, 404, HTML, R.SINK_UNAVAILABLE, "no_endpoint", True),
    Row("stop-405", STOP, 405, "", R.SINK_UNAVAILABLE, "no_endpoint", True),
    # start
    Row("start-201", START, 201, '{"msg":"success"}\n', R.ACCEPTED, "accepted"),
    Row("start-H17-201-html", START, 201, HTML, R.FAILED, "wrong_shape"),
    Row("start-H17-201-list", START, 201, "[]", R.FAILED, "wrong_shape"),
    Row("start-H17-201-empty", START, 201, "", R.FAILED, "wrong_shape"),
    Row("start-H17-200-portal", START, 200, HTML, R.FAILED, "http_200"),
    Row("start-204", START, 204, "", R.FAILED, "http_204"),
    Row("start-422-unnamed", START, 422, error("a job already exists"), R.FAILED, "duplicate_unnamed"),
    Row("start-422-html", START, 422, HTML, R.FAILED, "duplicate_unnamed"),
    Row(
        "start-H5-500-unique",
        START,
        500,
        error("insert into database failed: UNIQUE constraint failed: job_cache.job_id, job_cache.cluster"),
        R.ALREADY_DELIVERED,
        "cached_already",
    ),
    Row(
        "start-500-check",
        START,
        500,
        error("insert into database failed: CHECK constraint failed: smt"),
        R.REJECTED,
        "check_failed",
    ),
    Row("start-500-tag", START, 500, error("adding tag to new job 3 failed"), R.ACCEPTED, "untagged"),
    Row("start-500-empty", START, 500, "", R.REJECTED_UNTIL_FIXED, "handler_crashed"),
    Row(
        "start-H10-500-locked",
        START,
        500,
        error("insert into database failed: database is locked"),
        R.FAILED,
        "http_500",
    ),
    Row("start-500-html", START, 500, HTML, R.FAILED, "http_500"),
    Row(
        "start-H11-400-no-subcluster",
        START,
        400,
        error("no subcluster found for cluster demo and host xx1"),
        R.REJECTED_UNTIL_FIXED,
        "no_subcluster",
    ),
    Row(
        "start-400-no-cluster",
        START,
        400,
        error("no such cluster: demo"),
        R.REJECTED_UNTIL_FIXED,
        "no_cluster",
    ),
    Row(
        "start-400-unknown-field",
        START,
        400,
        error('parsing request body failed: json: unknown field "shared"'),
        R.REJECTED_UNTIL_FIXED,
        "unknown_field",
    ),
    Row(
        "start-H7-400-other", START, 400, error("'resources' and 'user' must be set"), R.REJECTED, "http_400"
    ),
    # stop
    Row("stop-200", STOP, 200, '{"jobId":7,"cluster":"demo","jobState":"completed"}', R.ACCEPTED, "accepted"),
    Row("stop-H17-200-html", STOP, 200, HTML, R.FAILED, "wrong_shape"),
    Row("stop-H17-200-empty", STOP, 200, "", R.FAILED, "wrong_shape"),
    Row("stop-200-of-another-job", STOP, 200, '{"jobId":8,"cluster":"demo"}', R.FAILED, "wrong_shape"),
    Row(
        "stop-422-stopped",
        STOP,
        422,
        error("job has already been stopped, state is: completed"),
        R.ALREADY_DELIVERED,
        "stopped",
    ),
    Row(
        "stop-422-stopped-otherwise",
        STOP,
        422,
        error("job has already been stopped, state is: failed"),
        R.ALREADY_DELIVERED,
        "stopped_otherwise",
    ),
    Row("stop-422-other", STOP, 422, error("no"), R.REJECTED, "http_422"),
    Row(
        "stop-422-missing-in-1.4",
        STOP,
        422,
        error("finding job failed: sql: no rows in result set"),
        R.START_MISSING,
        "start_missing",
    ),
    Row(
        "stop-H11-404",
        STOP,
        404,
        error("sql: no rows in result set", "Not Found"),
        R.START_MISSING,
        "start_missing",
    ),
    Row(
        "stop-S26-400-larger",
        STOP,
        400,
        error("stopTime must be larger/equal than startTime"),
        R.REJECTED,
        "stop_before_start",
    ),
    Row(
        "stop-400-state",
        STOP,
        400,
        error("invalid requested job state: deadline"),
        R.REJECTED_UNTIL_FIXED,
        "unknown_state",
    ),
    Row(
        "stop-400-unknown-field",
        STOP,
        400,
        error('json: unknown field "x"'),
        R.REJECTED_UNTIL_FIXED,
        "unknown_field",
    ),
    Row("stop-400-other", STOP, 400, error("the field 'jobId' is required"), R.REJECTED, "http_400"),
    Row(
        "stop-500-transferring",
        STOP,
        500,
        error("transferring cached job failed"),
        R.TOO_EARLY,
        "transferring",
    ),
    Row("stop-500-other", STOP, 500, error("marking job as completed failed"), R.FAILED, "http_500"),
    Row("stop-500-html", STOP, 500, HTML, R.FAILED, "http_500"),
    Row("stop-422-html", STOP, 422, HTML, R.REJECTED_UNTIL_FIXED, "http_422", alarm=True),
    Row("stop-500-empty", STOP, 500, "", R.FAILED, "http_500"),
    # node states
    Row("nodes-200", NODES, 200, "", R.ACCEPTED, "accepted"),
    Row("nodes-H17-200-html", NODES, 200, HTML, R.FAILED, "wrong_shape"),
    Row("nodes-404", NODES, 404, GONE, R.REJECTED, "no_nodestate"),
    Row("nodes-405", NODES, 405, "", R.REJECTED, "no_nodestate"),
    Row("nodes-400", NODES, 400, error("bad"), R.REJECTED, "http_400"),
    Row("nodes-500", NODES, 500, "", R.FAILED, "http_500"),
    # questions
    Row("clusters-200", RequestContext(RequestKind.CLUSTERS), 200, '{"clusters":[]}', R.ACCEPTED, "accepted"),
    Row("clusters-200-html", RequestContext(RequestKind.CLUSTERS), 200, HTML, R.FAILED, "wrong_shape"),
    Row("clusters-500", RequestContext(RequestKind.CLUSTERS), 500, "", R.FAILED, "http_500"),
    Row(
        "look-up-422",
        RequestContext(RequestKind.LOOK_UP),
        422,
        error("no rows in result set"),
        R.FAILED,
        "http_422",
    ),
    Row(
        "clusters-404",
        RequestContext(RequestKind.CLUSTERS),
        404,
        GONE,
        R.SINK_UNAVAILABLE,
        "no_endpoint",
        True,
    ),
    Row("probe-405", RequestContext(RequestKind.PROBE), 405, "", R.ACCEPTED, "answers"),
    Row("probe-404", RequestContext(RequestKind.PROBE), 404, GONE, R.SINK_UNAVAILABLE, "jobs_by_nats", True),
    Row(
        "probe-404-html",
        RequestContext(RequestKind.PROBE),
        404,
        HTML,
        R.SINK_UNAVAILABLE,
        "no_endpoint",
        True,
    ),
    Row("probe-200", RequestContext(RequestKind.PROBE), 200, HTML, R.FAILED, "http_200"),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_section_13(row: Row) -> None:
    """Each answer is judged as the contract's table says."""
    outcome = outcome_of_response(row.sent, BackendResponse(status=row.status, body=row.body.encode()))
    assert isinstance(outcome, Outcome)
    assert (outcome.result, outcome.reason, outcome.action_required) == (row.result, row.reason, row.alarm)
    assert outcome.status == row.status


def test_h6_a_duplicate_is_never_judged_without_its_row() -> None:
    """422 on a start names a row; what it means is not decided before that row was read."""
    body = error(
        "a job with that jobId, cluster and startTime already exists: dbid: 4711", "Unprocessable Entity"
    )
    assert outcome_of_response(START, BackendResponse(status=422, body=body.encode())) == LookupNeeded(4711)


def row(job_id: int = 7, cluster: str = "demo", start: int = 100) -> bytes:
    return f'{{"Meta":{{"jobId":{job_id},"cluster":"{cluster}","startTime":{start},"x":[1]}},"Data":null}}'.encode()


@pytest.mark.parametrize(
    ("body", "result", "reason"),
    [
        (row(), R.ALREADY_DELIVERED, "listed_already"),
        (row(start=99), R.REPEATED, "repeat_of_earlier_run"),
        (row(start=101), R.REJECTED, "later_run_is_there"),
        (row(job_id=8), R.FAILED, "wrong_shape"),
        (row(cluster="other"), R.FAILED, "wrong_shape"),
        (b"{}", R.FAILED, "wrong_shape"),
        (b"[", R.FAILED, "wrong_shape"),
    ],
    ids=["same", "earlier", "later", "other-job", "other-cluster", "no-row", "no-json"],
)
def test_h6_the_row_decides(body: bytes, result: OutcomeKind, reason: str) -> None:
    """The same start is success, an earlier one a matter of policy, a later one a rejection, all else no answer."""
    outcome = outcome_of_lookup(BackendResponse(status=200, body=body), RunKey("slurm", 7, 100), "demo")
    assert (outcome.result, outcome.reason) == (result, reason)


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (
            1_700_000_000,
            "has the run of 2023-11-14 22:13:20 UTC, 1:00:00 before this one, and accepts the next run",
        ),
        (
            1_700_097_200,
            "has the run of 2023-11-16 01:13:20 UTC, 1 day, 2:00:00 after this one, and accepts no run",
        ),
        (2**62, "has the run of 4611686018427387904, "),
    ],
)
def test_h6_what_is_said_names_the_run_in_the_way_and_the_rule(start: int, words: str) -> None:
    """When it began, how far apart they are, and which half of the backend's signed rule strikes."""
    outcome = outcome_of_lookup(
        BackendResponse(status=200, body=row(start=start)), RunKey("slurm", 7, 1_700_003_600), "demo"
    )
    assert words in outcome.detail


@pytest.mark.parametrize(
    ("state", "monitoring", "running", "archived"),
    [
        ("running", 1, True, False),
        ("failed", 1, False, False),
        ("failed", 3, False, True),
        ("", 0, True, False),
    ],
)
def test_what_the_row_shows_of_the_run_in_the_way(
    state: str, monitoring: int, running: bool, archived: bool
) -> None:
    """An ended run whose metrics are on the way to the archive is not archived; without a state nothing is sure."""
    found = {
        "jobId": 7,
        "cluster": "demo",
        "startTime": 99,
        "jobState": state,
        "monitoringStatus": monitoring,
    }
    body = json.dumps({"Meta": found}).encode()
    outcome = outcome_of_lookup(BackendResponse(status=200, body=body), RunKey("slurm", 7, 100), "demo")
    assert outcome.other == OtherRun(RunKey("slurm", 7, 99), running=running, archived=archived)


def noted(message: object) -> str | None:
    """Return the note for a run that has one already."""
    found = {"jobId": 7, "cluster": "demo", "startTime": 99, "metaData": {"message": message}}
    answer = BackendResponse(status=200, body=json.dumps({"Meta": found}).encode())
    return note_of(answer, RunKey("slurm", 7, 1_700_000_000))


def test_j2_what_an_admin_noted_stays_and_nothing_is_noted_twice() -> None:
    """The line is added behind; a job that is requeued without end stops being noted."""
    line = noted("")
    assert line is not None
    assert "again from 2023-11-14 22:13:20 UTC" in line
    assert noted("broken <b>fan</b>") == f"broken <b>fan</b>\n{line}"
    assert noted(f"broken fan\n{line}") is None
    assert noted("x" * 4000) is None
    assert noted(["no", "text"]) is None


def test_a_stopped_job_that_is_longer_than_what_is_read_is_accepted() -> None:
    """The answer to a stop is the whole job; of a run on a thousand nodes only the beginning is read."""
    cut = BackendResponse(
        status=200, body=b'{"cluster":"demo","subCluster":"main","resources":[{"hos', truncated=True
    )
    outcome = outcome_of_response(STOP, cut)
    assert isinstance(outcome, Outcome)
    assert outcome.result is R.ACCEPTED
    portal = outcome_of_response(STOP, BackendResponse(status=200, body=HTML.encode(), truncated=True))
    assert isinstance(portal, Outcome)
    assert portal.result is R.FAILED


@pytest.mark.parametrize(
    ("failure", "result", "alarm"),
    [
        (FailureKind.UNREACHABLE, R.SINK_UNAVAILABLE, False),
        (FailureKind.CONNECT_TIMEOUT, R.SINK_UNAVAILABLE, False),
        (FailureKind.TLS, R.SINK_UNAVAILABLE, True),
        (FailureKind.TOKEN, R.SINK_UNAVAILABLE, True),
        (FailureKind.TIMEOUT, R.FAILED, False),
        (FailureKind.BROKEN_OFF, R.FAILED, False),
        (FailureKind.NO_HTTP, R.FAILED, False),
    ],
)
def test_h1_h3_h19_failures_without_an_answer(failure: FailureKind, result: OutcomeKind, alarm: bool) -> None:
    """What failed before anything was sent is the sink's trouble; after that the outcome is unknown."""
    outcome = outcome_of_failure(failure, "why")
    assert (outcome.result, outcome.action_required, outcome.reason) == (result, alarm, failure.value)


def test_every_failure_is_mapped() -> None:
    """No kind of failure is without a judgement."""
    assert {outcome_of_failure(failure, "").reason for failure in FailureKind} == {
        failure.value for failure in FailureKind
    }


def test_h14_a_redirect_names_its_target() -> None:
    """The operator is told where the url leads."""
    outcome = outcome_of_response(START, BackendResponse(status=301, location="https://other.example/api/"))
    assert isinstance(outcome, Outcome)
    assert "https://other.example/api/" in outcome.detail


def test_h13_announced_maintenance_pauses_the_sink() -> None:
    """503 with Retry-After meets every entry alike, so none is charged."""
    outcome = outcome_of_response(START, BackendResponse(status=503, retry_after_s=30.0))
    assert isinstance(outcome, Outcome)
    assert (outcome.result, outcome.retry_after_s) == (R.SINK_UNAVAILABLE, 30.0)


def test_x13_what_a_hostile_backend_says_is_cut_and_escaped() -> None:
    """Terminal escapes and direction marks reach no log; 200 characters are enough."""
    body = error("\x1b[2J\x07\u202e\n" + "x" * 1000)
    outcome = outcome_of_response(START, BackendResponse(status=400, body=body.encode()))
    assert isinstance(outcome, Outcome)
    assert outcome.detail.isprintable()
    assert outcome.detail.startswith("\\x1b[2J\\x07\\u202e\\nxxx")
    assert len(outcome.detail) == 200


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("120", 120.0),
        (" 120 ", 120.0),
        ("-5", None),
        ("soon", None),
        ("1.5", None),
        ("1e3", None),
        ("٣", None),
        ("1000000000000", 1e12),
        ("9" * 5000, 999_999_999_999_999_999.0),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 60.0),
        ("Tue, 14 Nov 2023 22:14:20 -0000", 60.0),
        ("Tue, 14 Nov 2023 22:12:00 GMT", 0.0),
        ("Fri, 31 Dec 99999 23:59:59 GMT", None),
    ],
)
def test_h13_retry_after(value: str | None, seconds: float | None) -> None:
    """Seconds and dates are understood; anything else is as if nothing was said."""
    assert parse_retry_after(value, now=1_700_000_000.0) == seconds


@given(st.text())
def test_h13_no_retry_after_is_ever_negative_or_raises(value: str) -> None:
    """Whatever stands in the header."""
    found = parse_retry_after(value, now=1_700_000_000.0)
    assert found is None or found >= 0


@given(
    request=st.sampled_from(RequestKind),
    status=st.integers(100, 999),
    body=st.binary(max_size=200) | st.text().map(error).map(str.encode),
    cut=st.booleans(),
)
def test_no_answer_is_unjudged(request: RequestKind, status: int, body: bytes, cut: bool) -> None:
    """Any bytes under any status get a judgement, and only the right status is success."""
    outcome = outcome_of_response(
        RequestContext(request, job_id=7, state="completed"),
        BackendResponse(status=status, body=body, truncated=cut),
    )
    if isinstance(outcome, LookupNeeded):
        assert (request, status) == (RequestKind.START, 422)
    elif outcome.result is R.ACCEPTED:
        assert status in (200, 201) or request in (RequestKind.PROBE, RequestKind.START)
    else:
        assert outcome.reason
        assert outcome.detail.isprintable()
