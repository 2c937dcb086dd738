"""
The page at ``/``: jobs and nodes for people, on loopback only.

It needs no token, so it is served only where the backend listens on loopback (or a UNIX socket), and
only to a browser that calls it by a loopback name: a foreign site that resolves to 127.0.0.1 gets nothing.
From elsewhere: ``ssh -L 8080:localhost:8080 host``.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import ipaddress
import re
from importlib import resources
from typing import TYPE_CHECKING

from slurmsyncd.http_server.server import BadAddress, HttpResponse, split_address
from slurmsyncd.sandbox.backend import html as markup
from slurmsyncd.sandbox.backend.listing import GROUPS, Filter, find_job, find_jobs, node_counts, totals

if TYPE_CHECKING:
    from slurmsyncd.http_server.server import HttpRequest
    from slurmsyncd.sandbox.backend.database import Row
    from slurmsyncd.sandbox.backend.routing import BackendCore

_MOST = 5000
_OFF = (
    b"The page is served on loopback only.\n"
    b"Let the backend listen on 127.0.0.1 and reach it with: ssh -L 8080:localhost:8080 <this host>\n"
)


def is_loopback(address: str) -> bool:
    """Whether an address to listen on, or a Host header, names this machine only."""
    if address.startswith("unix:"):
        return True
    try:
        host = split_address(address)[0]
    except BadAddress:
        host = address.removeprefix("[").removesuffix("]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def page(core: BackendCore, request: HttpRequest, listen: str) -> HttpResponse:
    """Answer a request for ``/``; ``fragment`` in the query leaves out what never changes."""
    if not (is_loopback(listen) and is_loopback(request.headers.get("host", ""))):
        return HttpResponse(403, _OFF, (("content-type", "text/plain; charset=utf-8"),))
    if request.method not in {"GET", "HEAD"}:
        return HttpResponse(405)
    moving = _moving(core, request)
    if request.first("fragment") is not None:
        return _answer(moving)
    return _answer(_template().replace("<!--moving-->", moving))


def _answer(body: str) -> HttpResponse:
    headers = (
        ("content-type", "text/html; charset=utf-8"),
        ("content-security-policy", _policy()),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
    )
    return HttpResponse(200, body.encode("utf-8", "replace"), headers)


def _filter(request: HttpRequest) -> Filter:
    group, limit = request.first("state") or "", request.first("limit") or ""
    return Filter(
        words=tuple((request.first("q") or "")[:200].split()),
        group=group if group in GROUPS else "",
        cluster=request.first("cluster") or "",
        limit=min(int(limit), _MOST) if re.fullmatch(r"[1-9][0-9]{0,6}", limit) else Filter().limit,
    )


def _moving(core: BackendCore, request: HttpRequest) -> str:
    wanted, now, counts = _filter(request), core.clock(), totals(core.database)
    jobs = find_jobs(core.database, wanted)
    chosen = _chosen(core, request.first("job") or "")
    shown = f"{len(jobs)} of {counts['']} jobs"
    more = ""
    if len(jobs) == wanted.limit < _MOST:
        longer = Filter(wanted.words, wanted.group, wanted.cluster, min(wanted.limit * 5, _MOST))
        more = f'<a href="{markup.text("/?" + markup.query(longer))}">show more</a>'
    nothing = "" if jobs else '<p class="empty">No job matches.</p>' if counts[""] else _NO_JOBS
    back = markup.text("/?" + markup.query(wanted))
    return _MOVING.format(
        q=markup.text(" ".join(wanted.words)),
        chips=markup.chips(counts, wanted),
        clusters=markup.cluster_choice(core.jobs.clusters.raw, wanted),
        held=f"<b>{counts['cpus']}</b> CPUs and <b>{counts['gpus']}</b> GPUs in use",
        nodes=markup.node_bars(node_counts(core.database)),
        rows=markup.rows(jobs, wanted, now),
        limit=wanted.limit,
        shown=shown,
        more=more,
        nothing=nothing,
        back=back,
        open=" open" if chosen else "",
        detail=markup.detail(chosen, now) if chosen else "",
    )


def _chosen(core: BackendCore, address: str) -> Row | None:
    found = re.fullmatch(r"(.*)/(-?[0-9]{1,18})/(-?[0-9]{1,18})", address, re.DOTALL)
    return find_job(core.database, found[1], int(found[2]), int(found[3])) if found else None


_NO_JOBS = '<p class="empty">No jobs yet. They appear here as soon as they are reported.</p>'
_MOVING = """
<form method="get" action="/" role="search">
<input type="search" name="q" value="{q}" autocomplete="off" aria-label="Search"
 placeholder="Job, user, name, node …">
<fieldset class="chips"><legend>State</legend>{chips}</fieldset>
{clusters}<input type="hidden" name="limit" value="{limit}"><noscript><button>Show</button></noscript>
<div id="held" class="held" data-live>{held}</div>
</form>
<section id="bars" class="bars" data-live>{nodes}</section>
<table class="jobs"><thead><tr><th>State<th>Job<th>Name<th>User<th>Project<th>Partition<th>Nodes
<th class=num title="number of nodes">#<th class=num title="hardware threads">CPUs<th class=num>GPUs
<th class=num>Start<th class=num>End<th class=num>Elapsed</tr></thead>
<tbody id="jobs" data-rows>{rows}</tbody></table>
<div id="nothing" data-live>{nothing}</div>
<p id="shown" class="shown" data-live>{shown} {more}</p>
<dialog{open} aria-label="Job" tabindex="-1" autofocus>
<a class="close" href="{back}" aria-label="Close">&times;</a>
<div id="detail" data-live>{detail}</div></dialog>
"""


@functools.cache
def _template() -> str:
    return resources.files("slurmsyncd.sandbox.backend").joinpath("page.html").read_text(encoding="utf-8")


@functools.cache
def _policy() -> str:
    """Allow the page's own style and script, by their hashes, and nothing else."""
    hashes = {
        kind: base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        for kind, content in re.findall(r"<(style|script)>(.*?)</\1>", _template(), re.DOTALL)
    }
    return (
        f"default-src 'none'; style-src 'sha256-{hashes['style']}'; script-src 'sha256-{hashes['script']}';"
        " connect-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
