"""What values are allowed beyond their type. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slurmsyncd.config.sections import ClusterConfig, Config, HookConfig, SinkConfig

#: What Slurm and the sinks take as a name, and what is safe in a path, a log and a subject.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
_LOCAL = {"localhost", "127.0.0.1", "::1"}
_POSITIVE = {
    "daemon": ("poll_interval", "max_span"),
    "slurm": ("command_timeout", "output_limit", "slice", "batch"),
}
_SINK_POSITIVE = ("timeout", "start_workers", "stop_workers", "backoff", "backoff_max", "park_interval")
_CHOICES = {
    "log_level": ("debug", "info", "warning", "error"),
    "log_format": ("auto", "console", "json"),
}


def check(config: Config) -> Iterator[str]:
    """Give every mistake as ``path = value: what is wrong; what is allowed``."""
    for section, keys in _POSITIVE.items():
        yield from _positive(section, getattr(config, section), keys)
    for key in ("query_delay", "overlap"):
        value = getattr(config.daemon, key)
        if value < 0:
            yield f"daemon.{key} = {value}: must not be negative"
    for key, allowed in _CHOICES.items():
        value = getattr(config.daemon, key)
        if value not in allowed:
            yield f"daemon.{key} = {value!r}: one of {', '.join(allowed)} is wanted"
    yield from _hook(config.hook)
    for cluster in config.clusters.values():
        yield from _cluster(cluster)
    for sink in config.sinks.values():
        yield from _sink(sink)


def _positive(path: str, section: object, keys: tuple[str, ...]) -> Iterator[str]:
    for key in keys:
        value = getattr(section, key)
        if not value > 0:
            yield f"{path}.{key} = {value}: must be more than 0"


def _hook(hook: HookConfig) -> Iterator[str]:
    if hook.socket and not re.fullmatch(r"unix:/.{1,100}", hook.socket):
        yield f"hook.socket = {hook.socket!r}: unix:/absolute/path is wanted, of at most 100 characters"
    for address in hook.listen:
        if not re.fullmatch(r"tcp:(\[[0-9a-fA-F:]+\]|[^:\[\]]+):\d{1,5}", address):
            yield f"hook.listen = {address!r}: tcp:host:port or tcp:[address]:port is wanted"
    if hook.listen and not hook.secret_file:
        yield "hook.secret_file = '': a file with a shared secret is wanted where hook.listen is set"


def _cluster(cluster: ClusterConfig) -> Iterator[str]:
    for value in dict.fromkeys((cluster.name, cluster.backend_name or cluster.name)):
        if not NAME.fullmatch(value):
            yield f"clusters.{cluster.name}: {value!r} is no cluster name; letters, digits, _ . - are"


def _sink(sink: SinkConfig) -> Iterator[str]:
    path = f"sinks.{sink.name}"
    if not NAME.fullmatch(sink.name):
        yield f"{path}: no name for a sink; letters, digits, _ . - are"
    if sink.type != "rest":
        yield f"{path}.type = {sink.type!r}: rest is wanted"
    yield from _positive(path, sink, _SINK_POSITIVE)
    for key in ("stop_hold", "nodestate_interval", "script_limit"):
        if getattr(sink, key) < 0:
            yield f"{path}.{key} = {getattr(sink, key)}: must not be negative"
    if not sink.token_file:
        yield f"{path}.token_file = '': a file with the backend's API token is wanted"
    yield from _url(sink, path)


def _url(sink: SinkConfig, path: str) -> Iterator[str]:
    try:
        parts = urlsplit(sink.url)
        host, _ = parts.hostname, parts.port
    except ValueError as err:
        yield f"{path}.url = {sink.url!r}: {err}"
        return
    if "@" in parts.netloc:
        # Not shown: it would carry the password into the log.
        yield f"{path}.url: user and password do not belong in a URL; use token_file"
    elif parts.scheme not in ("http", "https") or not host:
        yield f"{path}.url = {sink.url!r}: http(s)://host[:port] is wanted"
    elif parts.query or parts.fragment:
        yield f"{path}.url = {sink.url!r}: only http(s)://host[:port][/path] is wanted"
    elif parts.scheme == "http" and host not in _LOCAL and not sink.insecure_http:
        yield (
            f"{path}.url = {sink.url!r}: plain http sends the token in the clear; "
            f"use https, or set {path}.insecure_http = true"
        )
