"""Rules for the settings of a sink with ``type = "nats"``. Pure."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import fields
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from slurmsyncd.config.conversion import format_setting, named

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from slurmsyncd.config.sections import ClusterConfig, SinkConfig

#: Where a cluster's name goes in a subject.
CLUSTER = "{cluster}"
#: One part of a subject between two dots: no wildcard, no blank, no line end, no dot.
TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)

_SUBJECT = 200
_NATS = (
    "servers",
    "mode",
    "format",
    "job_subject",
    "node_subject",
    "user",
    "password_file",
    "nats_token_file",
    "creds_file",
    "nkey_seed_file",
    "cert_file",
    "key_file",
    "stream",
    "manage_stream",
)
#: Settings that name the file of a secret, as ``token_file`` does; whoever errs may write the secret there.
SECRETS = ("password_file", "nats_token_file", "creds_file", "nkey_seed_file")
_UNSHOWN = (*SECRETS, "token_file", "url")
_CHOICES = {"mode": ("core", "jetstream"), "format": ("json", "cc")}


def check_unused_keys(path: str, sink: SinkConfig) -> Iterator[str]:
    """Yield an error for each NATS setting of a sink of another type."""
    yield from _unused(path, sink, _NATS, 'type = "nats"')


def check(path: str, sink: SinkConfig) -> Iterator[str]:
    """Yield every error of a sink with ``type = "nats"``."""
    yield from _unused(path, sink, ("requeue",), 'type = "rest"')
    if sink.format != "cc":
        yield from _unused(path, sink, ("url", "token_file"), 'type = "rest" or format = "cc"')
    elif sink.token_file and not sink.url:
        yield f"{path}.url = '': the backend's address is wanted where token_file is set, for the audit"
    if sink.mode != "jetstream":
        yield from _unused(path, sink, ("stream", "manage_stream"), 'mode = "jetstream"')
    for key, allowed in _CHOICES.items():
        if getattr(sink, key) not in allowed:
            where = format_setting(f"{path}.{key}", getattr(sink, key))
            yield f"{where}: one of {', '.join(allowed)} is wanted"
    yield from _servers(path, sink)
    yield from _subjects(path, sink)
    yield from _login(path, sink)
    yield from _stream(path, sink)


def clusters(path: str, sink: SinkConfig, sections: Iterable[ClusterConfig]) -> Iterator[str]:
    """Yield an error for each cluster whose name is invalid in the sink's subjects."""
    keys = [key for key in ("job_subject", "node_subject") if CLUSTER in getattr(sink, key)]
    for cluster in sections if sink.type == "nats" and keys else ():
        name = cluster.backend_name or cluster.name
        if not TOKEN.fullmatch(name):
            where = format_setting(f"{named('clusters', cluster.name)}.backend_name", name)
            yield f"{where}: letters, digits, _ and - are wanted, since it is part of {path}.{keys[0]}"


def subject_error(template: str) -> str | None:
    """Return the error of a subject template; None if the template is valid."""
    tokens = template.replace(CLUSTER, "c").split(".")
    if len(template) > _SUBJECT or not all(TOKEN.fullmatch(token) for token in tokens):
        return f"words of letters, digits, _ - and {CLUSTER} with dots between them are wanted"
    return None


def _unused(path: str, sink: SinkConfig, keys: tuple[str, ...], wants: str) -> Iterator[str]:
    defaults = {spec.name: spec.default for spec in fields(sink)}
    for key in keys:
        if getattr(sink, key) != defaults[key]:
            where = f"{path}.{key}"
            where = where if key in _UNSHOWN else format_setting(where, getattr(sink, key))
            yield f"{where}: goes with {wants} only; remove it"


def _servers(path: str, sink: SinkConfig) -> Iterator[str]:
    if not sink.servers:
        yield f"{path}.servers = []: at least one nats://host:port or tls://host:port is wanted"
    for server in sink.servers:
        if problem := _wrong_server(server, sink):
            yield f"{path}.servers: {problem}"


def _wrong_server(server: str, sink: SinkConfig) -> str | None:
    """Return the error of a server address, or None, without showing a possible password."""
    if any(char in server for char in "@?#"):
        return "user and password do not belong in an address; use user and password_file"
    where = f"{server[:100]!a}: "
    try:
        parts = urlsplit(server)
        host, _ = parts.hostname, parts.port
    except ValueError as err:
        return f"{where}{err}; nats://host:port is wanted"
    if parts.scheme not in ("nats", "tls") or not host or parts.path not in ("", "/") or not _plain(server):
        return f"{where}nats://host:port or tls://host:port is wanted"
    bare = sink.password_file or sink.nats_token_file
    encrypted = parts.scheme == "tls" or sink.ca_file or sink.cert_file
    if bare and not encrypted and not sink.insecure_http and not _is_loopback(host):
        return f"{where}sends the secret in the clear; use tls://, or set insecure_http = true"
    return None


def _plain(server: str) -> bool:
    return server.isascii() and server.isprintable() and " " not in server


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _subjects(path: str, sink: SinkConfig) -> Iterator[str]:
    for key in ("job_subject", "node_subject"):
        if problem := subject_error(getattr(sink, key)):
            yield f"{format_setting(f'{path}.{key}', getattr(sink, key))}: {problem}"
    if sink.job_subject == sink.node_subject:
        where = format_setting(f"{path}.node_subject", sink.node_subject)
        yield f"{where}: another than job_subject is wanted"


def _login(path: str, sink: SinkConfig) -> Iterator[str]:
    given = [key for key in SECRETS if getattr(sink, key)]
    if len(given) > 1:
        yield f"{path}.{given[1]}: one way to log in is wanted, and {given[0]} is set"
    if bool(sink.user) != bool(sink.password_file):
        missing = "password_file" if sink.user else "user"
        yield f"{path}.{missing} = '': wanted, since user and password_file go together"
    if bool(sink.cert_file) != bool(sink.key_file):
        missing = "key_file" if sink.cert_file else "cert_file"
        yield f"{path}.{missing} = '': wanted, since cert_file and key_file go together"


def _stream(path: str, sink: SinkConfig) -> Iterator[str]:
    if sink.stream and not TOKEN.fullmatch(sink.stream):
        yield f"{format_setting(f'{path}.stream', sink.stream)}: letters, digits, _ and - are wanted"
    if sink.manage_stream and not sink.stream:
        yield f"{path}.stream = '': a name for the stream is wanted where manage_stream is set"
