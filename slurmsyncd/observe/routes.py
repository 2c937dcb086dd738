"""
What is served on ``web.listen``: ``/metrics``, ``/healthz``, ``/readyz``, the page at ``/`` and ``/job``.

Reads only. Without a password a browser gets it under a loopback name alone: a foreign site that resolves to
127.0.0.1 gets nothing.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import re
from importlib import resources
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from slurmsyncd.control.health import assess
from slurmsyncd.http_server.messages import HttpResponse, ServerLimits
from slurmsyncd.numbers import read_id
from slurmsyncd.observe.metrics import metrics
from slurmsyncd.observe.page import job_body, overview_body, text
from slurmsyncd.observe.prometheus import CONTENT_TYPE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from slurmsyncd.control.status import Status
    from slurmsyncd.http_server.messages import Handler, HttpRequest
    from slurmsyncd.observe.access import WebCredentials
    from slurmsyncd.store.queries import RunHistory

    Route = Callable[[HttpRequest], Awaitable[HttpResponse]]

_PLAIN = (("content-type", "text/plain; charset=utf-8"), ("cache-control", "no-store"))
_TEMPLATE = resources.files("slurmsyncd.observe").joinpath("page.html").read_text("utf-8")
_STYLE = re.search(r"<style>(.*?)</style>", _TEMPLATE, re.DOTALL)
assert _STYLE is not None
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE[1].encode()).digest()).decode()
_POLICY = f"default-src 'none'; style-src 'sha256-{_DIGEST}'; form-action 'self'; frame-ancestors 'none'"
_HTML = (
    ("content-type", "text/html; charset=utf-8"),
    ("content-security-policy", _POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
)

#: One Prometheus and some browsers. No request has a body.
LIMITS = ServerLimits(body_bytes=0)


class Views(Protocol):
    """What the routes ask for."""

    async def status(self, minutes: int) -> Status:
        """Return how the daemon is doing, with its last minutes."""

    async def latest(self) -> tuple[RunHistory, ...]:
        """Return the runs that were written down last."""

    async def stories(self, job_id: int) -> tuple[RunHistory, ...]:
        """Return all that is known of a job's runs."""


def routes(views: Views, *, page: bool, login: WebCredentials | None = None) -> Handler:
    """
    Return the handler.

    Args:
        views: Where everything comes from.
        page: Serve the page, too.
        login: What clients by TCP must prove; None: only that they call a loopback name.
    """
    known = _routes(views)
    one_at_a_time = (
        anyio.Lock()
    )  # whatever is asked for here, an operator's command waits for one answer at most
    if not page:
        known = {path: route for path, route in known.items() if path not in ("/", "/job")}

    async def answer(request: HttpRequest) -> HttpResponse:
        if request.peer != "unix" and (refusal := _refusal(request, login)):
            return refusal
        route = known.get(request.path)
        if route is None:
            return HttpResponse(404, b"no such page\n", _PLAIN)
        if request.method not in ("GET", "HEAD"):
            return HttpResponse(405, b"read only\n", (*_PLAIN, ("allow", "GET, HEAD")))
        async with one_at_a_time:
            return await route(request)

    return answer


def _refusal(request: HttpRequest, login: WebCredentials | None) -> HttpResponse | None:
    if login is None:
        if _is_loopback(request.headers.get("host", "")):
            return None
        return HttpResponse(403, b"call it by a loopback name, e.g. over ssh -L\n", _PLAIN)
    if login.admits(request.headers.get("authorization", "")):
        return None
    challenge = ("www-authenticate", 'Basic realm="slurmsyncd"')
    return HttpResponse(401, b"user and password are required\n", (*_PLAIN, challenge))


def _routes(views: Views) -> dict[str, Route]:
    async def show_metrics(_: HttpRequest) -> HttpResponse:
        return HttpResponse(200, metrics(await views.status(0)), (("content-type", CONTENT_TYPE),))

    async def show_health(_: HttpRequest) -> HttpResponse:
        return HttpResponse(200, b"ok\n", _PLAIN)  # who can answer lives

    async def show_readiness(_: HttpRequest) -> HttpResponse:
        verdict = assess(await views.status(0))
        lines = "".join(f"{each.subject}: {each.text}\n" for each in verdict.problems) or "ok\n"
        return HttpResponse(
            503 if verdict.problems else 200, lines.encode("utf-8", "backslashreplace"), _PLAIN
        )

    async def show_overview(_: HttpRequest) -> HttpResponse:
        status = await views.status(6 * 60)
        return _page("slurmsyncd", overview_body(status, assess(status), await views.latest()))

    async def show_job(request: HttpRequest) -> HttpResponse:
        try:
            wanted = read_id((request.first("id") or "").strip())
        except ValueError as err:
            return HttpResponse(400, f"/job?id=123: {err}\n".encode("utf-8", "backslashreplace"), _PLAIN)
        status = await views.status(0)
        body = job_body(wanted, await views.stories(wanted), status.now)
        return _page(f"job {wanted}", body, str(wanted))

    return {
        "/metrics": show_metrics,
        "/healthz": show_health,
        "/readyz": show_readiness,
        "/": show_overview,
        "/job": show_job,
    }


def _page(title: str, body: str, job_id: str = "") -> HttpResponse:
    parts: dict[str, Any] = {"title": text(title), "id": text(job_id), "body": body}
    filled = re.sub(r"<!--(title|id|body)-->", lambda found: parts[found[1]], _TEMPLATE)
    return HttpResponse(200, filled.encode("utf-8", "backslashreplace"), _HTML)


def _is_loopback(host: str) -> bool:
    name = re.sub(r":\d+$", "", host).removeprefix("[").removesuffix("]")
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
