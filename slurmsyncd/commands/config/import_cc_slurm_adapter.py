"""
The settings of cc-slurm-adapter as ours. Pure.

Source: its documentation and the keys its releases read; what they mean here is said with each of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from slurmsyncd.commands.config.globs import globs_of
from slurmsyncd.commands.config.toml_writer import key_text, value_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_NUMBERS: Final = {
    "slurmPollInterval": ("daemon", "poll_interval"),
    "slurmQueryDelay": ("daemon", "query_delay"),
    "slurmQueryMaxSpan": ("daemon", "max_span"),
}
_PATHS: Final = {"pidFilePath": ("daemon", "pid_file"), "lastRunPath": ("daemon", "lastrun_file")}
_TCP: Final = re.compile(r"tcp:(\[[0-9A-Fa-f:.%]*\]|[^:\[\]]*):(\d{1,5})", re.IGNORECASE)
#: Keys that are settings of a cluster here, so its name has to be known.
NEED_CLUSTER: Final = frozenset({"gpuPciAddrs", "ignoreHosts"})
_REST, _NATS = "monitoring", "nats"


@dataclass(slots=True)
class Imported:
    """
    What became of a file.

    Attributes:
        sections: Section's path → setting → value.
        secrets: Name of a file → what has to be in it.
        notes: What is different from before, and why, a line each.
        not_imported: What could not be taken over, a line each: the operator has to decide.
    """

    sections: dict[tuple[str, ...], dict[str, Any]] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    notes: list[str] = field(default_factory=list)
    not_imported: list[str] = field(default_factory=list)

    def set(self, path: tuple[str, ...], key: str, value: Any) -> None:
        """Set one setting."""
        self.sections.setdefault(path, {})[key] = value

    def toml(self, source: str) -> str:
        """Return the file; ``source`` is where it comes from."""
        lines = [f"# Made from {source}. Check it with `slurmsyncd config check`.", ""]
        lines += [f"# {note}" for note in self.notes]
        lines += [f"# NOT TAKEN OVER: {note}" for note in self.not_imported]
        for path, settings in self.sections.items():
            lines += ["", f"[{key_text(*path)}]"]
            lines += [f"{key_text(key)} = {value_text(value)}" for key, value in settings.items()]
        return "\n".join(lines) + "\n"


def import_settings(found: Mapping[str, Any], *, cluster: str, secret_dir: str) -> Imported:
    """
    Turn the old settings into ours.

    Args:
        found: Its JSON object.
        cluster: Slurm's name of the cluster, for what is a cluster's here; empty if not known.
        secret_dir: Directory of the files that secrets go to.
    """
    result = Imported()
    rest = dict(found)
    for take in (_numbers, _paths, _hook):
        take(rest, result)
    _rest(rest, result, secret_dir)
    _nats(rest, result, secret_dir)
    _hosts(rest, result, cluster)
    _scripts(result)
    for key in ("slurmMaxRetries", "slurmQueryMaxRetries"):
        if rest.pop(key, None) is not None:
            result.notes.append(f"{key}: not needed; what a hook told of is asked until Slurm has answered")
    if rest.pop("slurmMaxConcurrent", None) is not None:
        result.notes.append("slurmMaxConcurrent: not needed; two commands run at a time at most")
    if rest.pop("ipcSockPath", None) is not None:
        result.notes.append("ipcSockPath: was removed there too; see hook.socket")
    for key in sorted(rest):
        result.not_imported.append(f"{key}: not a key that is known")
    return result


def _scripts(result: Imported) -> None:
    """Keep sending batch scripts: cc-backend's tagger finds the application of a job in its script."""
    result.set(("slurm",), "job_script", True)
    result.notes.append(
        "job_script = true: batch scripts are sent as before, for cc-backend's application tagger; it costs "
        "one scontrol for each batch job, and scripts may hold secrets: false sends none"
    )


def _numbers(rest: dict[str, Any], result: Imported) -> None:
    for key, (section, name) in _NUMBERS.items():
        value = _taken(rest, result, key, lambda it: isinstance(it, int) and not isinstance(it, bool))
        if value is not None:
            result.set((section,), name, max(value, 1))
            if value < 1:
                result.notes.append(f"{key} = {value}: 1, as there")


def _paths(rest: dict[str, Any], result: Imported) -> None:
    for key, (section, name) in _PATHS.items():
        value = _taken(rest, result, key, lambda it: isinstance(it, str) and it.startswith("/"))
        if value is not None:
            result.set((section,), name, value)
            result.notes.append(
                f"{key}: kept. The unit of systemd gives write access to /run/slurmsyncd and "
                "/var/lib/slurmsyncd alone: move it there, or give access with ReadWritePaths="
            )


def _hook(rest: dict[str, Any], result: Imported) -> None:
    listen = _taken(rest, result, "prepSockListenPath", lambda it: isinstance(it, str))
    connect = _taken(rest, result, "prepSockConnectPath", lambda it: isinstance(it, str))
    if listen:
        _listen(listen, result)
    if connect and connect != listen:
        result.notes.append(
            f"prepSockConnectPath = {connect}: hooks are told where to ring by their option --socket "
            "(hooks/README.md)"
        )


def _listen(address: str, result: Imported) -> None:
    tcp = _TCP.fullmatch(address)
    if tcp:
        # Go listens on both families where no address, or that of all of IPv6, is given.
        hosts = ["0.0.0.0", "[::]"] if tcp[1] in ("", "[::]") else [tcp[1]]  # noqa: S104 - as there
        result.set(("hook",), "socket", "")
        result.set(("hook",), "listen", [f"tcp:{host}:{tcp[2]}" for host in hosts])
        if len(hosts) > 1:
            result.notes.append(
                f"prepSockListenPath = {address}: IPv4 and IPv6, as before; "
                "remove tcp:[::] from hook.listen where this host has no IPv6"
            )
        result.set(("hook",), "secret_file", "/etc/slurmsyncd/hook-secret")
        result.notes.append(
            "prepSockListenPath over TCP: whoever rings must know a shared secret of 16 characters or more: "
            "write one into /etc/slurmsyncd/hook-secret (mode 0600) here and beside each slurmctld"
        )
        return
    path = address.removeprefix("unix:").removeprefix("UNIX:")
    if path.startswith("/"):
        result.set(("hook",), "socket", f"unix:{path}")
        result.notes.append(
            "prepSockListenPath: kept; it is a datagram socket now, so the old hook program cannot ring it: "
            "use hooks/slurmctld-hook"
        )
    else:
        result.not_imported.append(f"prepSockListenPath = {address}: neither a path nor tcp:host:port")


def _rest(rest: dict[str, Any], result: Imported, secret_dir: str) -> None:
    url = _taken(rest, result, "ccRestUrl", lambda it: isinstance(it, str))
    token = _taken(rest, result, "ccRestJwt", lambda it: isinstance(it, str))
    interval = _taken(rest, result, "ccPollInterval", lambda it: isinstance(it, int) and it >= 0)
    submit = rest.pop("ccRestSubmitJobs", True)
    section = ("sinks", _REST)
    if submit is False:
        result.notes.append(
            "ccRestSubmitJobs = false: jobs go by NATS alone; url and token are kept for the audit"
        )
        section = ("sinks", _NATS)
    if url:
        result.set(section, "url", url.rstrip("/"))
        if url.startswith("http:"):
            result.set(section, "insecure_http", True)
            result.notes.append("ccRestUrl: the token goes in the clear as before (insecure_http): use https")
    if token:
        result.secrets["token"] = token
        result.set(section, "token_file", f"{secret_dir}/token")
        result.notes.append("ccRestJwt: moved into a file of mode 0600")
    if interval is not None:
        result.set(section, "audit_interval", interval)
        result.notes.append(
            "ccPollInterval: is audit_interval here, and an audit repairs both ways (default 1 h)"
        )


def _nats(rest: dict[str, Any], result: Imported, secret_dir: str) -> None:
    text: Callable[[Any], bool] = lambda it: isinstance(it, str)  # noqa: E731
    server = _taken(rest, result, "natsServer", text)
    port = _taken(rest, result, "natsPort", lambda it: isinstance(it, int) and 0 < it < 65536)
    words = {
        key: _taken(rest, result, key, text)
        for key in ("natsSubject", "natsUser", "natsPassword", "natsCredsFile", "natsNKeySeedFile")
    }
    if not server:
        return
    section = ("sinks", _NATS)
    result.sections[section] = {"type": "nats", **result.sections.get(section, {})}
    result.set(section, "servers", [server if "://" in server else f"nats://{server}:{port or 4222}"])
    result.set(section, "format", "cc")
    result.set(section, "job_subject", words["natsSubject"] or "jobs")
    result.notes.append("nats…: the line protocol as before (format = cc); format = json has the whole run")
    if ("sinks", _REST) in result.sections:
        result.notes.append(
            "nats…: jobs go to cc-backend by REST, and to NATS for other readers, as before. If cc-backend's "
            "config.json has api-subjects, it takes jobs from NATS alone: then remove [sinks.monitoring] and "
            "give its url and token_file to [sinks.nats]"
        )
    _login(words, result)
    if words["natsPassword"]:
        result.secrets["nats-password"] = words["natsPassword"]
        result.set(section, "password_file", f"{secret_dir}/nats-password")
        result.notes.append("natsPassword: moved into a file of mode 0600")
        if not server.startswith("tls:"):
            result.set(section, "insecure_http", True)
            result.notes.append(
                "natsPassword goes in the clear as before (insecure_http): use tls:// if you can"
            )


def _login(words: dict[str, str | None], result: Imported) -> None:
    """Set one way to log in, and take out the others: of several, NATS uses the first of these."""
    ways = (("natsCredsFile",), ("natsNKeySeedFile",), ("natsUser", "natsPassword"))
    used = next((way for way in ways if words[way[0]]), ())
    for key in (key for way in ways if way != used for key in way if words[key]):
        words[key] = None
        result.notes.append(f"{key}: left out, since {used[0] if used else 'natsUser'} is how to log in")
    names = {"natsCredsFile": "creds_file", "natsNKeySeedFile": "nkey_seed_file", "natsUser": "user"}
    for key in used:
        if key in names:
            result.set(("sinks", _NATS), names[key], words[key])


def _hosts(rest: dict[str, Any], result: Imported, cluster: str) -> None:
    gpus = _taken(rest, result, "gpuPciAddrs", lambda it: isinstance(it, dict))
    ignore = _taken(rest, result, "ignoreHosts", lambda it: isinstance(it, str))
    section = ("clusters", cluster or "NAME")
    settings: dict[str, Any] = {}
    if table := dict(_gpus(gpus or {}, result)):
        settings["gpus"] = table
        result.notes.append(
            "gpuPciAddrs: kept as gpus; without it the ids come from the backend's cluster.json by themselves"
        )
    if ignore:
        globs = globs_of(ignore)
        if globs is None:
            result.not_imported.append(
                f"ignoreHosts = {ignore}: cannot be said in globs; set ignore_hosts by hand"
            )
        else:
            settings["ignore_hosts"] = list(globs)
            result.notes.append(f"ignoreHosts = {ignore}: globs instead of a regular expression")
    if settings:
        result.sections[section] = settings
        if not cluster:
            result.not_imported.append(
                "[clusters.NAME]: write Slurm's name of the cluster for NAME, or give --cluster"
            )


def _gpus(table: Mapping[str, Any], result: Imported) -> Iterator[tuple[str, list[str]]]:
    for regex, ids in table.items():
        globs = globs_of(regex)
        if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids):
            result.not_imported.append(f"gpuPciAddrs, {regex}: a list of addresses was expected")
        elif globs is None:
            result.not_imported.append(f"gpuPciAddrs, {regex}: cannot be said in globs; set gpus by hand")
        else:
            for glob in globs:
                yield glob, ids


def _taken(rest: dict[str, Any], result: Imported, key: str, sound: Callable[[Any], bool]) -> Any:
    """Take a key out; one of another type than it was documented with is named, and left."""
    value = rest.pop(key, None)
    if value is None or value == "":
        return None
    if not sound(value):
        result.not_imported.append(f"{key}: not of the type that it was documented with")
        return None
    return value
