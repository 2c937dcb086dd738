"""The job API below ``/api``: authorization, routing and the format of error responses."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from slurmsyncd.http_server.server import HttpResponse
from slurmsyncd.sandbox.backend.edit_routes import EDIT_ROUTES
from slurmsyncd.sandbox.backend.job_routes import READ, SUBMIT
from slurmsyncd.sandbox.backend.responses import ApiError, HandlerCrash, refusal, unauthorized
from slurmsyncd.sandbox.backend.routing import BODY_BYTES, ApiCall, BackendCore, route
from slurmsyncd.sandbox.backend.site_routes import SITE
from slurmsyncd.sandbox.backend.tokens import BadToken, User

if TYPE_CHECKING:
    from slurmsyncd.http_server.server import HttpRequest

_READ = {**READ, **EDIT_ROUTES, **SITE}
_ALL = {**_READ, **SUBMIT}
_HTML = (("content-type", "text/html"),)


async def api(core: BackendCore, request: HttpRequest) -> HttpResponse | None:
    """Answer a request below ``/api``; None closes the connection (a lost answer)."""
    knobs = core.knobs
    if knobs.take("bad_gateways"):
        return HttpResponse(502, b"<html><h1>502 Bad Gateway</h1></html>", _HTML)
    loop = asyncio.get_running_loop()
    began = loop.time()
    response = await _answered(core, request)
    if knobs.delay_s > 0:
        await asyncio.sleep(knobs.delay_s)
    return response if loop.time() - began <= knobs.write_timeout_s else None


async def _answered(core: BackendCore, request: HttpRequest) -> HttpResponse | None:
    try:
        return await _routed(core, request)
    except ApiError as err:
        return refusal(err)
    except HandlerCrash:
        return HttpResponse(500)


async def _routed(core: BackendCore, request: HttpRequest) -> HttpResponse | None:
    try:
        user = _authorised(core, request)
    except _EmptyRoles as err:
        return unauthorized(str(err), twice=True)
    except BadToken as err:
        return unauthorized(str(err))
    target = route(_READ if core.knobs.nats_mode else _ALL, request.path)
    if target is None:
        raise ApiError(404, "the requested endpoint does not exist", "Resource not found")
    methods, arg = target
    if request.method not in methods:
        return HttpResponse(405)
    body = await request.body.read(BODY_BYTES)
    return await methods[request.method](core, ApiCall(request, user, body, arg))


class _EmptyRoles(BadToken):
    """The token has no role at all."""


def _authorised(core: BackendCore, request: HttpRequest) -> User:
    """
    Return the caller.

    Raises:
        BadToken: He may not use the API.
    """
    token = request.headers.get("x-auth-token") or request.headers.get("authorization", "").removeprefix(
        "Bearer "
    )
    if core.knobs.unauthorized or not token:
        raise BadToken("missing or refused token")
    user = core.tokens.check(token, core.clock())
    if not user.roles:
        raise _EmptyRoles("token without roles")
    if not (user.roles == ("api",) or (len(user.roles) > 1 and {"admin", "api"} <= set(user.roles))):
        raise BadToken("missing privileges for the API")
    _check_address(core, request)
    return user


def _check_address(core: BackendCore, request: HttpRequest) -> None:
    allowed = core.knobs.allowed_ips
    headers = request.headers
    address = headers.get("x-real-ip") or headers.get("x-forwarded-for") or request.peer
    if allowed and allowed[0] != "*" and address not in allowed:
        raise BadToken(f"unknown ip: {address}")
