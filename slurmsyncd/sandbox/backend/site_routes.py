"""Endpoints about the site: clusters, node states, users (contract sections 7, 8 and 10)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slurmsyncd.http_server.server import HttpResponse
from slurmsyncd.sandbox.backend.responses import ApiError, HandlerCrash, answer
from slurmsyncd.sandbox.backend.schema import NODE_STATE

if TYPE_CHECKING:
    from slurmsyncd.sandbox.backend.routing import ApiCall, BackendCore, Routes


async def _clusters(core: BackendCore, call: ApiCall) -> HttpResponse:
    raw = core.jobs.clusters.raw
    name = call.request.first("cluster")
    if name is None:
        return answer({"clusters": list(raw.values())})
    if name not in raw:
        raise ApiError(400, f"unknown cluster: {name}")
    return answer({"clusters": [raw[name]]})


def reduce_state(states: list[str]) -> str:
    """Reduce Slurm's words for a node to one of the backend's six."""
    words = {state.lower() for state in states}
    if "allocated" in words:
        return "allocated"
    if "reserved" in words:
        return "reserved"
    if {"idle", "down"} <= words:
        return "down"
    return next((word for word in ("idle", "down", "mixed") if word in words), "unknown")


async def _node_state(core: BackendCore, call: ApiCall) -> HttpResponse:
    keep_node_states(core, call.body(NODE_STATE))
    return HttpResponse(200)


def keep_node_states(core: BackendCore, request: dict[str, Any]) -> None:
    """
    Keep each node's latest state (the original keeps all); unknown nodes are dropped, as there.

    Raises:
        HandlerCrash: A null among the nodes.
    """
    now = int(core.clock())
    nodes = request.get("nodes", [])
    if None in nodes:
        raise HandlerCrash("null among the nodes")
    cluster = request.get("cluster", "")
    with core.database.transaction():
        for node in nodes:
            listed = core.jobs.clusters.listed(cluster, node.get("hostname", ""))
            if listed:
                values = (cluster, node["hostname"], listed[0], *_node_values(node), now)
                sql = "INSERT OR REPLACE INTO node_state VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
                core.database.link.execute(sql, values)


def _node_values(node: dict[str, Any]) -> tuple[Any, ...]:
    keys = ("cpusAllocated", "memoryAllocated", "gpusAllocated", "jobsRunning")
    return (reduce_state(node.get("states", [])), *(node.get(key, 0) for key in keys))


async def _users(core: BackendCore, call: ApiCall) -> HttpResponse:  # noqa: ARG001
    if "admin" not in call.user.roles:
        raise ApiError(403, "only admins are allowed to list users")
    return answer([])


async def _user(core: BackendCore, call: ApiCall) -> HttpResponse:  # noqa: ARG001
    if "admin" not in call.user.roles:
        raise ApiError(403, "only admins are allowed to change users")
    raise ApiError(422, f"no such user: {call.arg}")


SITE: Routes = {
    "/api/clusters/": {"GET": _clusters},
    "/api/nodestate/": {"POST": _node_state, "PUT": _node_state},
    "/api/healthcheck/": {"POST": _node_state, "PUT": _node_state},
    "/api/users/": {"GET": _users},
    "/api/user/{}": {"POST": _user},
}
