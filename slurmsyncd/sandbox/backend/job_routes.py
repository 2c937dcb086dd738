"""Endpoints that start, stop and read jobs (contract sections 4, 5 and 7)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from slurmsyncd.sandbox.backend.records import to_answer
from slurmsyncd.sandbox.backend.responses import ApiError, answer
from slurmsyncd.sandbox.backend.routing import require_row, to_int
from slurmsyncd.sandbox.backend.schema import JOB, STATES, STOP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurmsyncd.http_server.server import HttpResponse
    from slurmsyncd.sandbox.backend.database import Row
    from slurmsyncd.sandbox.backend.routing import ApiCall, BackendCore, Routes


async def _start(core: BackendCore, call: ApiCall) -> HttpResponse | None:
    await core.jobs.start(call.body(JOB), call.user)
    return None if core.knobs.take("hang_up_starts") else answer({"msg": "success"}, 201)


async def _stop(core: BackendCore, call: ApiCall) -> HttpResponse | None:
    job = await core.jobs.stop(call.body(STOP))
    return None if core.knobs.take("hang_up_stops") else answer(job)


async def _list(core: BackendCore, call: ApiCall) -> HttpResponse:
    where: list[str] = []
    values: list[Any] = []
    states: list[str] = []
    page, items, meta = 1, 25, False
    for key, value in call.request.query:
        match key:
            case "state":
                states.append(_state(value))
            case "cluster" | "project":
                where.append(f"{key} = ?")
                values.append(value)
            case "start-time":
                where.append("start_time BETWEEN ? AND ?")
                values += _span(value)
            case "page":
                page = _positive(key, value)
            case "items-per-page":
                items = _positive(key, value)
            case "with-metadata":
                meta = True  # whatever its value
            case _:
                raise ApiError(400, f"invalid query parameter: {key}")
    if states:
        where.append("job_state IN (SELECT value FROM json_each(?))")
        values.append(json.dumps(states))
    rows = core.database.all(
        f"SELECT * FROM job WHERE {' AND '.join(where) or 1} ORDER BY start_time DESC LIMIT ? OFFSET ?",  # noqa: S608
        *values,
        items,
        min((page - 1) * items, 1 << 62),
    )
    _read_archive(core, rows)
    tags = core.tags.of(row["id"] for row in rows)
    now = core.clock()
    jobs = [to_answer(row, now=now, tags=tags.get(row["id"]), meta=meta) for row in rows]
    return answer({"jobs": jobs, "items": items, "page": page})


def _read_archive(core: BackendCore, rows: Sequence[Row]) -> None:
    for row in rows:
        if row["job_state"] != "running" and row["job_id"] in core.knobs.unreadable_job_ids:
            raise ApiError(500, f"open var/job-archive/{row['job_id']}/meta.json: no such file or directory")


def _state(value: str) -> str:
    if value not in STATES:
        raise ApiError(400, f"invalid query parameter value: state {value}")
    return value


def _span(value: str) -> tuple[int, int]:
    ends = [to_int(end) for end in value.split("-")]
    if len(ends) != 2 or ends[0] is None or ends[1] is None:
        raise ApiError(400, f"invalid query parameter value: start-time {value}, use <from>-<to>")
    return ends[0], ends[1]


def _positive(key: str, value: str) -> int:
    number = to_int(value)
    if number is None or number < 1:
        raise ApiError(400, f"invalid query parameter value: {key} {value}")
    return number


async def _one(core: BackendCore, call: ApiCall) -> HttpResponse:
    row = require_row(core.database.job(call.dbid()), 422)
    tags = core.tags.of([row["id"]]).get(row["id"])
    return answer({"Meta": to_answer(row, now=core.clock(), tags=tags, meta=True), "Data": None})


async def _used_nodes(core: BackendCore, call: ApiCall) -> HttpResponse:
    before = to_int(call.request.first("ts") or "")
    if before is None:
        raise ApiError(400, "invalid query parameter value: ts is required, epoch seconds")
    used: dict[str, set[str]] = {}
    sql = "SELECT cluster, resources FROM job WHERE job_state = 'running' AND start_time < ?"
    for row in core.database.all(sql, before):
        hosts = (resource["hostname"] for resource in json.loads(row["resources"]))
        used.setdefault(row["cluster"], set()).update(hosts)
    return answer({"usedNodes": {cluster: sorted(hosts) for cluster, hosts in used.items()}})


#: Not mounted while cc-backend takes jobs from NATS.
SUBMIT: Routes = {
    "/api/jobs/start_job/": {"POST": _start, "PUT": _start},
    "/api/jobs/stop_job/": {"POST": _stop, "PUT": _stop},
}
READ: Routes = {
    "/api/jobs/": {"GET": _list},
    "/api/jobs/used_nodes": {"GET": _used_nodes},
    "/api/jobs/{}": {"GET": _one, "POST": _one},
}
