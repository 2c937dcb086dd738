"""
The settings: frozen sections with their defaults beside their meaning. Pure but for one read.

Each field's comment block (``#:``) is its line of documentation. docs/configuration.md is checked against it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

#: Where the configuration is unless a command is given another.
DEFAULT_FILE: Final = Path("/etc/slurmsyncd/config.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonConfig:
    """``[daemon]``: the process, its timer and its files."""

    #: Seconds between two looks at Slurm.
    poll_interval: float = 60.0
    #: Seconds between the first hint of a hook and the question to Slurm.
    query_delay: float = 1.0
    #: Seconds by which windows of accounting overlap, for rows that slurmdbd writes late.
    overlap: float = 300.0
    #: Seconds to look back at most when the checkpoint is older (or missing); the rest is said and skipped.
    max_span: float = 7 * 86400.0
    #: Directory of the store; private to the daemon.
    state_dir: Path = Path("/var/lib/slurmsyncd")
    #: The checkpoint: its modification time is what accounting was read up to. `touch -d` looks back.
    lastrun_file: Path = Path("/var/lib/slurmsyncd/lastrun")
    #: Holds the pid and a lock.
    pid_file: Path = Path("/run/slurmsyncd/slurmsyncd.pid")
    #: UNIX socket that `slurmsyncd status` and its like ask; empty: control.sock beside the PID file.
    control_socket: str = ""
    #: debug, info, warning or error.
    log_level: str = "info"
    #: auto (readable on a terminal, JSON otherwise), console or json.
    log_format: str = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmConfig:
    """``[slurm]``: how its commands are run."""

    #: Directory of squeue, sacct, scontrol and sinfo; empty: PATH.
    bin_dir: str = ""
    #: Seconds before a command is killed.
    command_timeout: float = 60.0
    #: MiB that a command may print before it is killed.
    output_limit: int = 512
    #: Seconds of accounting that sacct is first asked for; later slices adapt to how many rows there are.
    slice: float = 3600.0
    #: Job ids in one question.
    batch: int = 500
    #: Fetch batch scripts (one `scontrol write batch_script` for each new batch job).
    job_script: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    """``[clusters.NAME]``: one Slurm cluster, by Slurm's name. Without any, the host's own is taken."""

    #: Slurm's name of the cluster (the section's name).
    name: str = ""
    #: What the backend calls it; empty: the same.
    backend_name: str = ""
    #: SLURM_CONF for its commands; empty: Slurm's own default.
    slurm_conf: str = ""
    #: Ask for it by name (``-M``), through the slurmdbd of another cluster's slurm.conf.
    remote: bool = False
    #: Globs of hosts; jobs that ran only there are not sent.
    ignore_hosts: tuple[str, ...] = ()
    #: Send host names without their domain.
    strip_domain: bool = False
    #: Host glob → ids of the hardware threads by Slurm core number, e.g. {"n*" = [[0, 16], [1, 17]]}.
    hwthreads: dict[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    #: Names of generic resources that are accelerators, e.g. ["gpu", "dcu", "npu"].
    accelerator_gres: tuple[str, ...] = ("gpu",)
    #: Host glob → accelerator ids by Slurm's GPU index.
    gpus: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class HookConfig:
    """``[hook]``: where hints come in."""

    #: Datagram socket, ``unix:/path``; empty: none.
    socket: str = "unix:/run/slurmsyncd/hook.sock"
    #: Further addresses, ``tcp:host:port`` or ``tcp:[::1]:port``.
    listen: tuple[str, ...] = ()
    #: Directory where ``hooks/slurmctld-hook.sh`` leaves its hints, looked at once a second; empty: none.
    spool: str = ""
    #: Users whose hints count besides root and the daemon's own.
    allow_users: tuple[str, ...] = ("slurm",)
    #: File with the shared secret that TCP hints must carry; TCP is refused without it.
    secret_file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebConfig:
    """``[web]``: metrics, health and the status page. Nothing is served unless asked for."""

    #: Where: ``127.0.0.1:9481``, ``[::1]:9481`` or ``unix:/path``; any other ``host:port`` requires
    #: cert_file and password_file.
    listen: tuple[str, ...] = ()
    #: Serve the status page, too. It names jobs and users to everybody who can connect.
    page: bool = True
    #: PEM file with the certificate and its chain, for TLS on all addresses with a port.
    cert_file: str = ""
    #: PEM file with the key of cert_file; empty: it is in cert_file.
    key_file: str = ""
    #: User that clients must log in as where password_file is set (HTTP basic authentication).
    user: str = "prometheus"
    #: File with the password that clients must send on all addresses with a port.
    password_file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkConfig:
    """``[sinks.NAME]``: somebody who is told of runs."""

    #: The section's name.
    name: str = ""
    #: Kind of sink: rest (ClusterCockpit's cc-backend by its REST interface), or nats (events to NATS).
    type: str = "rest"
    #: Base address, e.g. https://monitoring.example.org (without /api); with nats: for the audit of cc.
    url: str = ""
    #: File with the JWT; a systemd credential's name is taken if it is no path.
    token_file: str = ""
    #: CA certificates for TLS; empty: the system's.
    ca_file: str = ""
    #: Allow plain http, or a password in the clear to NATS, to another host than this one.
    insecure_http: bool = False
    #: Seconds for one whole exchange.
    timeout: float = 45.0
    #: Starts under way at once.
    start_workers: int = 4
    #: Stops under way at once; the backend archives one at a time.
    stop_workers: int = 2
    #: Seconds from a start's acknowledgement, or a backend's return, after which a stop is sent although
    #: nothing proves that the start was committed: the backend's commit interval and a margin.
    stop_hold: float = 150.0
    #: First wait after a failure, in seconds; doubles.
    backoff: float = 1.0
    #: Longest wait after failures, in seconds.
    backoff_max: float = 300.0
    #: Seconds between attempts of what the backend refuses until an admin changes something there.
    park_interval: float = 3600.0
    #: Seconds between two audits, which compare what the backend shows as running with what it was told, and
    #: with Slurm; 0: none.
    audit_interval: float = 3600.0
    #: Seconds for which a started run may be missing there: twice the backend's commit interval and a margin.
    audit_grace: float = 300.0
    #: What becomes of a requeued job's later run, which the backend refuses for a day while it holds the
    #: earlier one: replace (the earlier one is deleted there once it is archived), or keep-first (the later
    #: one is left out, which is noted at the earlier one).
    requeue: str = "replace"
    #: Seconds between uploads of node states; 0: none.
    nodestate_interval: float = 60.0
    #: Bytes of batch script that are sent.
    script_limit: int = 65536
    #: NATS: nats://host:port or tls://host:port, of one server or of several of one cluster.
    servers: tuple[str, ...] = ()
    #: NATS: core (at most once, and lost if nobody listens), or jetstream (settled by the acknowledgement).
    mode: str = "core"
    #: NATS: json (our own event, see docs/events.md), or cc (the line protocol that cc-backend reads).
    format: str = "json"
    #: NATS: subject of starts and stops; {cluster} is the backend's name of the cluster.
    job_subject: str = "slurm.{cluster}.job"
    #: NATS: subject of node states.
    node_subject: str = "slurm.{cluster}.node"
    #: NATS: user, together with password_file.
    user: str = ""
    #: NATS: file with the user's password.
    password_file: str = ""
    #: NATS: file with a token, where the server wants no user but that.
    nats_token_file: str = ""
    #: NATS: file with a user's JWT and seed, as nsc writes it.
    creds_file: str = ""
    #: NATS: file with a user's NKey seed.
    nkey_seed_file: str = ""
    #: NATS: PEM file with the client's certificate.
    cert_file: str = ""
    #: NATS: PEM file with the key of cert_file.
    key_file: str = ""
    #: JetStream: name of the stream; empty: the one that takes the subjects.
    stream: str = ""
    #: JetStream: make the stream if it is not there; an existing one is never changed.
    manage_stream: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole configuration."""

    daemon: DaemonConfig = field(default_factory=DaemonConfig)
    slurm: SlurmConfig = field(default_factory=SlurmConfig)
    hook: HookConfig = field(default_factory=HookConfig)
    web: WebConfig = field(default_factory=WebConfig)
    clusters: dict[str, ClusterConfig] = field(default_factory=dict)
    sinks: dict[str, SinkConfig] = field(default_factory=dict)
