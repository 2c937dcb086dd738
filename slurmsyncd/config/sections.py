"""
The settings: frozen sections with their defaults beside their meaning. Pure but for one read.

Each field's comment block (``#:``) is its line of documentation. docs/configuration.md is checked against it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

#: Path of the configuration unless a command has another.
DEFAULT_FILE: Final = Path("/etc/slurmsyncd/config.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonConfig:
    """``[daemon]``: the process, its timer and its files."""

    #: Seconds between two polls of Slurm.
    poll_interval: float = 60.0
    #: Seconds between a hook's first notification and the targeted query.
    query_delay: float = 1.0
    #: Seconds by which accounting windows overlap, for rows that slurmdbd writes late.
    overlap: float = 300.0
    #: Maximum age of the accounting cursor at start, in seconds. Older accounting is skipped with a warning.
    max_span: float = 7 * 86400.0
    #: Directory of the store; private to the daemon.
    state_dir: Path = Path("/var/lib/slurmsyncd")
    #: Checkpoint file: its modification time is the accounting cursor. `touch -d` moves the cursor back.
    lastrun_file: Path = Path("/var/lib/slurmsyncd/lastrun")
    #: File with the pid and a lock.
    pid_file: Path = Path("/run/slurmsyncd/slurmsyncd.pid")
    #: UNIX socket that `slurmsyncd status` and other commands use; empty: control.sock beside the PID file.
    control_socket: str = ""
    #: Minimum severity: debug, info, warning or error.
    log_level: str = "info"
    #: Format of the log: auto (text on a terminal, JSON otherwise), console or json.
    log_format: str = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmConfig:
    """``[slurm]``: Slurm commands."""

    #: Directory of squeue, sacct, scontrol and sinfo; empty: PATH.
    bin_dir: str = ""
    #: Seconds before a command is killed.
    command_timeout: float = 60.0
    #: MiB that a command may print before it is killed.
    output_limit: int = 512
    #: Seconds of the first accounting window; later windows adapt to the number of rows.
    slice: float = 3600.0
    #: Maximum number of job ids in one command.
    batch: int = 500
    #: Fetch batch scripts (one `scontrol write batch_script` for each new batch job).
    job_script: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    """``[clusters.NAME]``: one Slurm cluster, by Slurm's name. Default: the host's cluster."""

    #: Slurm's name of the cluster (the section's name).
    name: str = ""
    #: The backend's name of the cluster; empty: the same name.
    backend_name: str = ""
    #: SLURM_CONF for Slurm commands; empty: Slurm's default.
    slurm_conf: str = ""
    #: Query the cluster by name (``-M``), through the slurmdbd of another cluster's slurm.conf.
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
    """``[hook]``: addresses for notifications of the hook."""

    #: Datagram socket, ``unix:/path``; empty: none.
    socket: str = "unix:/run/slurmsyncd/hook.sock"
    #: Further addresses, ``tcp:host:port`` or ``tcp:[::1]:port``.
    listen: tuple[str, ...] = ()
    #: Directory where ``hooks/slurmctld-hook.sh`` leaves notifications, read once per second; empty: none.
    spool: str = ""
    #: Users whose notifications are accepted, besides root and the daemon's user.
    allow_users: tuple[str, ...] = ("slurm",)
    #: File with the shared secret of TCP notifications; TCP requires it.
    secret_file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebConfig:
    """``[web]``: metrics, health and the status page. Nothing is served by default."""

    #: Addresses: ``127.0.0.1:9481``, ``[::1]:9481`` or ``unix:/path``; any other ``host:port`` requires
    #: cert_file and password_file.
    listen: tuple[str, ...] = ()
    #: Whether the status page is served. It names jobs and users to every client that can connect.
    page: bool = True
    #: PEM file with the certificate and its chain, for TLS on all addresses with a port.
    cert_file: str = ""
    #: PEM file with the key of cert_file; empty: cert_file has the key.
    key_file: str = ""
    #: User that clients must log in as where password_file is set (HTTP basic authentication).
    user: str = "prometheus"
    #: File with the password that clients must send on all addresses with a port.
    password_file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkConfig:
    """``[sinks.NAME]``: one destination of events."""

    #: The section's name.
    name: str = ""
    #: Type of the sink: rest (cc-backend's REST interface) or nats (events to NATS).
    type: str = "rest"
    #: Base address, e.g. https://monitoring.example.org (without /api); with nats: for the audit of cc.
    url: str = ""
    #: File with the JWT; a name without a path is that of a systemd credential.
    token_file: str = ""
    #: CA certificates for TLS; empty: the system's.
    ca_file: str = ""
    #: Allow plain http, or a password in the clear to NATS, to another host than this one.
    insecure_http: bool = False
    #: Time limit of one request and its response, in seconds.
    timeout: float = 45.0
    #: Maximum number of starts in flight.
    start_workers: int = 4
    #: Maximum number of stops in flight; the backend archives one at a time.
    stop_workers: int = 2
    #: Seconds from a start's acknowledgement, or from a backend's return, after which a stop is sent without
    #: a proof that the start is committed: the backend's commit interval and a margin.
    stop_hold: float = 150.0
    #: First wait after a failure, in seconds; doubles.
    backoff: float = 1.0
    #: Longest wait after failures, in seconds.
    backoff_max: float = 300.0
    #: Seconds between attempts of a parked delivery.
    park_interval: float = 3600.0
    #: Seconds between two audits, which compare the backend's running jobs with the store and with Slurm;
    #: 0: none.
    audit_interval: float = 3600.0
    #: Seconds for which a started run may be missing at the backend: twice its commit interval and a margin.
    audit_grace: float = 300.0
    #: Run of a requeued job that the backend keeps, since it rejects a second run within a day: replace (the
    #: earlier run is deleted there after it is archived) or keep-first (the later run is dropped, with a note
    #: at the earlier one).
    requeue: str = "replace"
    #: Seconds between uploads of node states; 0: none.
    nodestate_interval: float = 60.0
    #: Maximum size of a batch script that is sent, in bytes.
    script_limit: int = 65536
    #: NATS: nats://host:port or tls://host:port, of one server or of several of one cluster.
    servers: tuple[str, ...] = ()
    #: NATS: core (at most once, and lost without a listener) or jetstream (settled by the acknowledgement).
    mode: str = "core"
    #: NATS: json (events as in docs/events.md) or cc (the line protocol that cc-backend reads).
    format: str = "json"
    #: NATS: subject of starts and stops; {cluster} is the backend's name of the cluster.
    job_subject: str = "slurm.{cluster}.job"
    #: NATS: subject of node states.
    node_subject: str = "slurm.{cluster}.node"
    #: NATS: user, together with password_file.
    user: str = ""
    #: NATS: file with the user's password.
    password_file: str = ""
    #: NATS: file with a token, for a server that requires a token instead of a user.
    nats_token_file: str = ""
    #: NATS: file with a user's JWT and seed, as nsc writes it.
    creds_file: str = ""
    #: NATS: file with a user's NKey seed.
    nkey_seed_file: str = ""
    #: NATS: PEM file with the client's certificate.
    cert_file: str = ""
    #: NATS: PEM file with the key of cert_file.
    key_file: str = ""
    #: JetStream: name of the stream; empty: the stream that has the subjects.
    stream: str = ""
    #: JetStream: create the stream if it does not exist; an existing stream is never changed.
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
