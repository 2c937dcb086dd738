"""Rules for the values of settings beyond their types. Pure."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import fields
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from slurmsyncd.config import nats_rules
from slurmsyncd.config.conversion import format_setting, named

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from slurmsyncd.config.sections import (
        ClusterConfig,
        Config,
        DaemonConfig,
        HookConfig,
        SinkConfig,
        SlurmConfig,
        WebConfig,
    )

#: What Slurm and the sinks take as a name, and what is safe in a path, a log and a subject.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
_JWT = re.compile(r"eyJ[\w-]*\.[\w-]*\.?", re.ASCII)
#: Bytes of a UNIX socket's path.
_SOCKET_PATH = 107
_POSITIVE = {
    "daemon": ("poll_interval", "max_span"),
    "slurm": ("command_timeout", "output_limit", "batch"),
}
_SINK_POSITIVE = ("timeout", "start_workers", "stop_workers", "backoff", "backoff_max", "park_interval")
#: Ten years. Dates beyond 9999 cannot be shown, and sums of larger numbers are no times.
_MOST_S = 10 * 366 * 86400
#: What is no time: MiB, job ids in one argument (128 KiB), tasks, bytes.
_MOST = {
    "output_limit": 2**20,
    "batch": 10_000,
    "start_workers": 256,
    "stop_workers": 256,
    "script_limit": 2**30,
}
_REQUEUE = ("keep-first", "replace")
_CHOICES = {
    "log_level": ("debug", "info", "warning", "error"),
    "log_format": ("auto", "console", "json"),
}


def check(config: Config) -> Iterator[str]:
    """Yield every error as ``path = value: what is wrong; what is allowed``."""
    for section, keys in _POSITIVE.items():
        yield from _positive(section, getattr(config, section), keys)
        yield from _bounded(section, getattr(config, section))
    if config.slurm.slice < 1:
        yield f"slurm.slice = {config.slurm.slice}: at least 1 is wanted"
    if config.daemon.overlap >= config.daemon.max_span:
        yield f"daemon.overlap = {config.daemon.overlap}: less than daemon.max_span is wanted"
    for key in ("query_delay", "overlap"):
        value = getattr(config.daemon, key)
        if value < 0:
            yield f"daemon.{key} = {value}: must not be negative"
    for key, allowed in _CHOICES.items():
        value = getattr(config.daemon, key)
        if value not in allowed:
            yield f"daemon.{key} = {value!r}: one of {', '.join(allowed)} is wanted"
    yield from _hook(config.hook)
    yield from _web(config.web)
    for cluster in config.clusters.values():
        yield from _cluster(cluster)
    yield from _confusions(config.clusters.values())
    for sink in config.sinks.values():
        yield from _sink(sink)
        yield from nats_rules.clusters(named("sinks", sink.name), sink, config.clusters.values())


def _positive(path: str, section: object, keys: tuple[str, ...]) -> Iterator[str]:
    for key in keys:
        value = getattr(section, key)
        if not value > 0:
            yield f"{path}.{key} = {value}: must be more than 0"


def _bounded(path: str, section: SlurmConfig | DaemonConfig | SinkConfig) -> Iterator[str]:
    for key in (each.name for each in fields(section)):
        value, most = getattr(section, key), _MOST.get(key, _MOST_S)
        if isinstance(value, int | float) and value > most:
            yield f"{path}.{key} = {value}: must be at most {most}"


def _web(web: WebConfig) -> Iterator[str]:
    for address in web.listen:
        if _is_local(address):
            continue
        where = format_setting("web.listen", address)
        if address.startswith("unix:") or not _is_tcp(f"tcp:{address}"):
            yield f"{where}: must be host:port, [address]:port or unix:/absolute/path"
        elif not (web.cert_file and web.password_file):
            missing = "password_file" if web.cert_file else "cert_file"
            yield f"{where}: other hosts can reach it; set web.{missing}, or use 127.0.0.1:port"
    for key in ("cert_file", "key_file"):
        if (file := getattr(web, key)) and not file.startswith("/"):
            yield f"{format_setting(f'web.{key}', file)}: must be an absolute path"
    if web.key_file and not web.cert_file:
        where = format_setting("web.key_file", web.key_file)
        yield f"{where}: is the key of no certificate; set web.cert_file"
    if not web.user or ":" in web.user or not web.user.isprintable():
        yield f"{format_setting('web.user', web.user)}: must be a name without a colon"
    yield from _secret_file("web.password_file", web.password_file)


def _hook(hook: HookConfig) -> Iterator[str]:
    path = hook.socket.removeprefix("unix:")
    fits = len(path.encode("utf-8", "replace")) <= _SOCKET_PATH
    if hook.socket and not (re.fullmatch(r"unix:/[^\0]+", hook.socket) and fits):
        allowed = f"unix:/absolute/path is wanted, of at most {_SOCKET_PATH} bytes"
        yield f"{format_setting('hook.socket', hook.socket)}: {allowed}"
    if hook.spool and not hook.spool.startswith("/"):
        yield f"{format_setting('hook.spool', hook.spool)}: an absolute path is wanted"
    for address in hook.listen:
        if not _is_tcp(address):
            yield f"{format_setting('hook.listen', address)}: tcp:host:port or tcp:[address]:port is wanted"
    if hook.listen and not hook.secret_file:
        yield "hook.secret_file = '': a file with a shared secret is wanted where hook.listen is set"
    yield from _secret_file("hook.secret_file", hook.secret_file)


def _secret_file(path: str, name: str) -> Iterator[str]:
    """Yield an error if ``name`` is not a valid file name. The value may be the secret and is not shown."""
    if _JWT.match(name):
        yield f"{path}: this is a token; put it into a file, mode 600, and name the file"
    elif name and not name.startswith("/") and not NAME.fullmatch(name):
        yield f"{path}: an absolute path, or the name of a systemd credential, is wanted"


def _is_local(address: str) -> bool:
    """Return whether an address cannot be reached from another host."""
    if address.startswith("unix:"):
        path = address.removeprefix("unix:")
        return (
            path.startswith("/") and "\0" not in path and len(path.encode("utf-8", "replace")) <= _SOCKET_PATH
        )
    host, _, port = address.rpartition(":")
    return (
        _is_loopback(host.removeprefix("[").removesuffix("]")) and port.isdecimal() and 0 < int(port) < 65536
    )


def _is_tcp(address: str) -> bool:
    match = re.fullmatch(r"tcp:(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})", address, re.ASCII)
    return match is not None and 0 < int(match[1]) < 65536


def _cluster(cluster: ClusterConfig) -> Iterator[str]:
    for value in dict.fromkeys((cluster.name, cluster.backend_name or cluster.name)):
        if not NAME.fullmatch(value):
            where = named("clusters", cluster.name)
            yield f"{where}: {value!a} is no cluster name; letters, digits, _ . - are"
    for gres in cluster.accelerator_gres:
        if not NAME.fullmatch(gres):
            where = named("clusters", cluster.name)
            yield f"{where}.accelerator_gres: {gres!a} is not a GRES name; name them as GresTypes does"


def _confusions(clusters: Iterable[ClusterConfig]) -> Iterator[str]:
    """Yield an error for each two sections that name the same cluster, in Slurm or at the backend."""
    confs: dict[str, str] = {}
    names: dict[str, str] = {}
    for cluster in clusters:
        where = named("clusters", cluster.name)
        other = where if cluster.remote else confs.setdefault(cluster.slurm_conf, where)
        if other != where:
            yield (
                f"{format_setting(f'{where}.slurm_conf', cluster.slurm_conf)}: "
                f"{other} has the same, and a slurm.conf "
                f"is one cluster's; name another file, or set {where}.remote = true"
            )
        name = cluster.backend_name or cluster.name
        other = names.setdefault(name, where)
        if other != where:
            yield (
                f"{format_setting(f'{where}.backend_name', name)}: "
                f"{other} is called so, too, and equal job ids of "
                "both would be one job there; choose another name"
            )


def _sink(sink: SinkConfig) -> Iterator[str]:
    path = named("sinks", sink.name)
    if not NAME.fullmatch(sink.name):
        yield f"{path}: no name for a sink; letters, digits, _ . - are"
    yield from _positive(path, sink, _SINK_POSITIVE)
    yield from _bounded(path, sink)
    for key in ("stop_hold", "audit_interval", "audit_grace", "nodestate_interval", "script_limit"):
        if getattr(sink, key) < 0:
            yield f"{path}.{key} = {getattr(sink, key)}: must not be negative"
    if sink.requeue not in _REQUEUE:
        yield f"{path}.requeue = {sink.requeue!a}: one of {', '.join(_REQUEUE)} is wanted"
    if sink.backoff_max < sink.backoff:
        yield f"{path}.backoff_max = {sink.backoff_max}: at least {path}.backoff is wanted"
    if sink.type == "nats":
        yield from nats_rules.check(path, sink)
        for key in nats_rules.SECRETS:
            yield from _secret_file(f"{path}.{key}", getattr(sink, key))
    elif sink.type != "rest":
        yield f"{path}.type = {sink.type!r}: rest or nats is wanted"
    else:
        yield from nats_rules.check_unused_keys(path, sink)
    if sink.type == "rest" or sink.url:
        yield from _backend(path, sink)


def _backend(path: str, sink: SinkConfig) -> Iterator[str]:
    if not sink.token_file:
        yield f"{path}.token_file = '': a file with the backend's API token is wanted"
    yield from _secret_file(f"{path}.token_file", sink.token_file)
    if problem := _wrong_url(sink.url, insecure_http=sink.insecure_http):
        yield f"{path}.url{problem}"


def _wrong_url(url: str, *, insecure_http: bool) -> str | None:
    """Return the error of a URL, or None, without showing a possible password or token."""
    if any(char in url for char in "@?#"):
        return ": user, password and query do not belong in a URL; use token_file"
    # Without "://" it may be anything, a token among it.
    wrong = f" = {url[:100]!a}: " if "://" in url else ": "
    if not url.isascii() or not url.isprintable() or " " in url:
        return f"{wrong}only visible ASCII is allowed"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as err:
        return f"{wrong}{err}; http(s)://host[:port] is wanted"
    if parts.scheme not in ("http", "https") or not host:
        return f"{wrong}http(s)://host[:port][/path] is wanted"
    if parts.scheme == "http" and not _is_loopback(host) and not insecure_http:
        return f"{wrong}plain http sends the token in the clear; use https, or set insecure_http = true"
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
