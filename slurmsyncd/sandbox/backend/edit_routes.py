"""Endpoints that change or remove committed jobs (contract section 8)."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Any

from slurmsyncd.http_server.server import HttpResponse
from slurmsyncd.sandbox.backend.records import to_answer
from slurmsyncd.sandbox.backend.responses import ApiError, HandlerCrash, answer
from slurmsyncd.sandbox.backend.routing import require_row, to_int
from slurmsyncd.sandbox.backend.schema import DELETE, EDIT, EDIT_WHICH, TAGS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slurmsyncd.sandbox.backend.database import Row
    from slurmsyncd.sandbox.backend.routing import ApiCall, BackendCore, Routes


async def _edit_by_request(core: BackendCore, call: ApiCall) -> HttpResponse:
    request = call.body(EDIT_WHICH)
    row = _newest(core, request)
    return _set_meta(core, row, request.get("payload", {}))


async def _edit_by_id(core: BackendCore, call: ApiCall) -> HttpResponse:
    dbid = call.dbid()
    change = call.body(EDIT)
    return _set_meta(core, require_row(core.database.job(dbid), 404), change)


def _newest(core: BackendCore, request: Mapping[str, Any]) -> Row:
    if "jobId" not in request:
        raise ApiError(400, "the field 'jobId' is required")
    return require_row(core.database.newest("job", request), 422)


def _set_meta(core: BackendCore, row: Row, change: Mapping[str, Any]) -> HttpResponse:
    meta = json.loads(row["meta_data"] or "{}")
    meta[change.get("key", "")] = change.get("value", "")
    core.database.set_meta(row["id"], json.dumps(meta, ensure_ascii=False))
    if row["job_state"] != "running" and row["monitoring_status"] == 1:
        raise ApiError(500, "updating the archive failed: job is not archived yet")
    return _job(core, row["id"], 404)


def _job(core: BackendCore, dbid: int, status: int) -> HttpResponse:
    row = require_row(core.database.job(dbid), status)
    return answer(to_answer(row, now=core.clock(), tags=core.tags.of([dbid]).get(dbid), meta=True))


def _tags(call: ApiCall) -> list[dict[str, Any]]:
    tags: list[dict[str, Any]] = call.body(TAGS)
    if None in tags:
        raise HandlerCrash("null among the tags")
    return tags


async def _tag(core: BackendCore, call: ApiCall) -> HttpResponse:
    row = require_row(core.database.job(call.dbid()), 404)
    tags = _tags(call)
    try:
        for tag in tags:
            core.tags.add(row["id"], tag, call.user)
    except (sqlite3.Error, PermissionError) as err:
        raise ApiError(500, f"adding tag failed: {err}") from err
    return _job(core, row["id"], 404)


async def _untag(core: BackendCore, call: ApiCall) -> HttpResponse:
    row = require_row(core.database.job(call.dbid()), 404)
    for tag in _tags(call):
        core.tags.remove(row["id"], tag)
    return _job(core, row["id"], 404)


async def _delete_tags(core: BackendCore, call: ApiCall) -> HttpResponse:
    tags = _tags(call)
    for tag in tags:
        row = core.tags.find(tag)
        if row is None:
            raise ApiError(500, "removing tag failed: sql: no rows in result set")
        core.tags.forget(row["id"])
    text = f"Deleted {len(tags)} of {len(tags)} tags\n"
    return HttpResponse(200, text.encode(), (("content-type", "text/plain; charset=utf-8"),))


async def _delete_by_request(core: BackendCore, call: ApiCall) -> HttpResponse:
    row = _newest(core, call.body(DELETE))
    core.database.delete(row["id"])
    return answer({"msg": f"Successfully deleted job {row['id']}"})


async def _delete_by_id(core: BackendCore, call: ApiCall) -> HttpResponse:
    dbid = call.dbid()
    core.database.delete(dbid)
    return answer({"msg": f"Successfully deleted job {dbid}"})


_TAGGED = "EXISTS (SELECT 1 FROM jobtag JOIN tag ON tag.id = tag_id WHERE jobtag.job_id = job.id"
_SPARED = {
    "none": "0",
    "all": f"{_TAGGED})",
    "user": f"{_TAGGED} AND tag.scope NOT IN ('global', 'admin'))",
}


async def _delete_before(core: BackendCore, call: ApiCall) -> HttpResponse:
    before = to_int(call.arg)
    if before is None:
        raise ApiError(400, f"integer expected in path for ts: {call.arg!r}")
    spared = _SPARED.get(call.request.first("omit-tagged") or "none")
    if spared is None:
        raise ApiError(400, "invalid query parameter value: omit-tagged is none, all or user")
    sql = f"DELETE FROM job WHERE start_time < ? AND NOT {spared}"  # noqa: S608  # a constant from above
    count = core.database.link.execute(sql, (before,)).rowcount
    return answer({"msg": f"Successfully deleted {count} jobs"})


EDIT_ROUTES: Routes = {
    "/api/jobs/edit_meta/": {"PATCH": _edit_by_request},
    "/api/jobs/edit_meta/{}": {"PATCH": _edit_by_id},
    "/api/jobs/tag_job/{}": {"POST": _tag, "PATCH": _tag, "DELETE": _untag},
    "/api/tags/": {"DELETE": _delete_tags},
    "/api/jobs/delete_job/": {"DELETE": _delete_by_request},
    "/api/jobs/delete_job/{}": {"DELETE": _delete_by_id},
    "/api/jobs/delete_job_before/{}": {"DELETE": _delete_before},
}
