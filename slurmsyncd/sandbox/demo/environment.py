"""The environment of the demo: a directory, a simulated cluster, its cluster.json and the daemon."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from slurmsyncd import notify
from slurmsyncd.sandbox.backend.clusters import join_cluster, make_sub_cluster
from slurmsyncd.sandbox.slurm import install
from slurmsyncd.sandbox.slurm.engine import Simulation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

#: Short, so that somebody who watches sees a job arrive; a site would take minutes.
COMMIT_S, STOP_HOLD_S, POLL_S, QUERY_DELAY_S = 1.0, 3.0, 5.0, 0.5
_LISTABLE = re.compile("[A-Za-z0-9-]+", re.ASCII)
_RUN = (sys.executable, "-m", "slurmsyncd", "run")


@dataclass(frozen=True, slots=True)
class DemoEnvironment:
    """The directory of a demo and the paths within it."""

    root: Path

    @property
    def socket(self) -> Path:
        """Path of the hook socket."""
        return self.root / "run" / "hook.sock"

    @property
    def config(self) -> Path:
        """Path of the daemon's configuration file."""
        return self.root / "config.toml"

    @property
    def log(self) -> Path:
        """Path of the daemon's log."""
        return self.root / "daemon.log"

    def simulation(self, release: str, seed: int) -> Simulation:
        """Make a cluster, its commands and its hooks."""
        install(self.root / "bin", self.root / "slurm", release)
        hook = (sys.executable, "-IS", notify.__file__, "--socket", f"unix:{self.socket}")
        return Simulation(
            self.root / "slurm",
            cluster="demo",
            shape=release,
            seed=seed,
            mean_s=15.0,
            requeue_delay_s=5,
            min_job_age_s=60,
            prolog=hook,
            epilog=hook,
        )

    def write(self, *, cluster: str, url: str, token: str, bin_dir: str, slurm_conf: str) -> None:
        """Write the daemon's settings and its token."""
        secret = self.root / "token"
        secret.touch(mode=0o600)
        secret.write_text(token + "\n")
        self.config.write_text(
            _CONFIG.format(root=self.root, cluster=cluster, url=url, bin_dir=bin_dir, slurm_conf=slurm_conf)
        )

    @property
    def once(self) -> tuple[str, ...]:
        """Command that polls once and delivers once."""
        return (*_RUN, "--once", "--config", str(self.config))

    def start_daemon(self) -> subprocess.Popen[bytes]:
        """Start the real daemon, as a process of its own that a Ctrl-C does not reach."""
        command = (*_RUN, "--config", str(self.config))
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("SLURMSYNCD_")
        }
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )


async def stop_daemon(daemon: subprocess.Popen[bytes]) -> int:
    """Stop the daemon as systemd would, and return its exit status."""
    if daemon.poll() is None:
        daemon.send_signal(signal.SIGTERM)
    return await anyio.to_thread.run_sync(daemon.wait)


_CONFIG = f"""\
[daemon]
poll_interval = {POLL_S}
query_delay = {QUERY_DELAY_S}
state_dir = "{{root}}/state"
lastrun_file = "{{root}}/state/lastrun"
pid_file = "{{root}}/run/slurmsyncd.pid"

[slurm]
bin_dir = "{{bin_dir}}"

[clusters.{{cluster}}]
slurm_conf = "{{slurm_conf}}"

[hook]
socket = "unix:{{root}}/run/hook.sock"

[sinks.demo]
url = "{{url}}"
token_file = "{{root}}/token"
stop_hold = {STOP_HOLD_S}
nodestate_interval = 5
audit_interval = 10
audit_grace = 5
"""


def simulated_cluster(nodes: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the cluster.json of the simulated nodes."""
    hosts = [(node["name"], node["sockets"], node["cores"], node["threads"], node["gpus"]) for node in nodes]
    return cluster_json("demo", hosts)


def cluster_json(name: str, hosts: Iterable[tuple[str, int, int, int, int]]) -> dict[str, Any]:
    """
    Return a cluster.json with one sub-cluster for each kind of node.

    Args:
        name: Of the cluster.
        hosts: Each (name, sockets, cores per socket, threads per core, GPUs).
    """
    kinds: dict[tuple[int, int, int, int], list[str]] = {}
    for host, sockets, cores, threads, gpus in hosts:
        kinds.setdefault((sockets, cores, threads, gpus), []).append(host)
    return join_cluster(
        name, *(_sub_cluster(number, *kind) for number, kind in enumerate(sorted(kinds.items()), 1))
    )


def _sub_cluster(number: int, shape: tuple[int, int, int, int], names: list[str]) -> dict[str, Any]:
    sockets, cores, threads, gpus = shape
    # A node list knows letters, digits and dashes only; "*" takes every name.
    listed = all(_LISTABLE.fullmatch(host) for host in names)
    return make_sub_cluster(
        f"{'gpu' if gpus else 'cpu'}{number}",
        ",".join(names) if listed else "*",
        sockets=sockets,
        cores_per_socket=cores,
        threads_per_core=threads,
        gpus_per_node=gpus,
    )
