"""A site on this machine: the simulated Slurm, a backend that answers at once, and the daemon as a process."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from tests.paths import ROOT
from tests.tools.bench.cluster import CLUSTER, Cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

PROGRAM = (sys.executable, "-m", "slurmsyncd")
_UNIT = ROOT / "systemd" / "slurmsyncd.service"
#: What the daemon's unit sets.
ENVIRONMENT = dict(
    word.split("=", 1)
    for line in _UNIT.read_text().splitlines()
    if line.startswith("Environment=")
    for word in line.removeprefix("Environment=").split()
)
#: Beyond this nothing is waited for.
PATIENCE_S = 600.0


class Backend:
    """The instant backend, as a process; it may keep what it takes."""

    def __init__(self, *, keep: bool = False) -> None:
        argv = (sys.executable, "-m", "tests.tools.bench.instant", *(("--keep",) if keep else ()))
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"

    def told(self, step: str) -> int:
        """Count the starts or stops that it took."""
        with httpx.Client(trust_env=False) as client:
            return int(client.get(f"{self.url}/count").json()[step])

    def taken(self, step: str) -> dict[int, float]:
        """Return of each job when its start or stop was answered, if that is kept."""
        with httpx.Client(trust_env=False) as client:
            found = client.get(f"{self.url}/taken").json()
        return {job_id: at for each, job_id, at in found if each == step}

    def close(self) -> None:
        """End it."""
        self._process.communicate()


class Daemon:
    """`slurmsyncd run`, from READY=1 on."""

    def __init__(self, root: Path, config: Path, around: Sequence[str] = ()) -> None:
        self._config = config
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            address = root / "notify"
            address.unlink(missing_ok=True)
            manager.bind(str(address))
            manager.settimeout(1)
            began = time.perf_counter()
            with (root / "log").open("ab") as log:
                self._process = subprocess.Popen(
                    (*around, *PROGRAM, "run", "--config", str(config)),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env={**ENVIRONMENT, "PATH": os.environ["PATH"], "NOTIFY_SOCKET": str(address)},
                )
            while not _is_ready(manager):
                if self._process.poll() is not None:
                    raise RuntimeError((root / "log").read_text()[-2000:])
            self.ready_s = time.perf_counter() - began
        self.pid = self._process.pid

    def status(self) -> dict[str, Any]:
        """Return what `slurmsyncd status --json` says."""
        argv = (*PROGRAM, "status", "--json", "--config", str(self._config))
        said = subprocess.run(argv, check=False, capture_output=True)
        found: dict[str, Any] = json.loads(said.stdout)
        return found

    def stop(self) -> None:
        """End it as systemd would."""
        self._process.terminate()
        self._process.wait()


@dataclass(frozen=True, slots=True)
class Asked:
    """A Slurm that the daemon asks: where its commands are, what they need, and its name of the cluster."""

    bin_dir: Path
    cluster: str
    slurm_conf: str = ""


class Site:
    """
    Everything, below a directory.

    Without another Slurm to ask it has a simulated one; with one, the backend keeps what it takes.
    """

    def __init__(self, root: Path, asked: Asked | None = None) -> None:
        root.chmod(0o755)
        self.root = root
        self.slurm = Cluster(root)
        self._asked = asked or Asked(self.slurm.bin_dir, CLUSTER)
        self.backend = Backend(keep=asked is not None)
        self.socket = root / "run" / "hook.sock"
        self._token = root / "token"
        self._token.touch(0o600)
        self._token.write_text("a.b.c\n")

    @contextmanager
    def daemon(
        self, settings: Mapping[str, Mapping[str, Any]] | None = None, around: Sequence[str] = ()
    ) -> Iterator[Daemon]:
        """Have the daemon run; settings by section, and a command that starts it."""
        config = self.root / "config.toml"
        config.write_text(_toml(self._sections(settings or {})))
        daemon = Daemon(self.root, config, around)
        try:
            yield daemon
        finally:
            daemon.stop()

    def close(self) -> None:
        """End the backend."""
        self.backend.close()

    def _sections(self, changes: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        state = self.root / "state"
        sections: dict[str, dict[str, Any]] = {
            "daemon": {
                "state_dir": str(state),
                "lastrun_file": str(state / "lastrun"),
                "pid_file": str(self.root / "run" / "pid"),
            },
            "slurm": {"bin_dir": str(self._asked.bin_dir)},
            f"clusters.{self._asked.cluster}": {"slurm_conf": self._asked.slurm_conf},
            "hook": {"socket": f"unix:{self.socket}"},
            "sinks.cc": {"url": self.backend.url, "token_file": str(self._token), "audit_interval": 0},
        }
        for name, values in changes.items():
            sections.setdefault(name, {}).update(values)
        return sections


@contextmanager
def site(root: Path, asked: Asked | None = None) -> Iterator[Site]:
    """Have a site for as long as the block lasts; beside another Slurm, if that is to be asked."""
    found = Site(root, asked)
    try:
        yield found
    finally:
        found.close()


def until(there: Callable[[], object]) -> None:
    """Wait for something."""
    deadline = time.monotonic() + PATIENCE_S
    while not there():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.1)


def _is_ready(manager: socket.socket) -> bool:
    try:
        return b"READY=1" in manager.recv(4096)
    except TimeoutError:
        return False


def _toml(sections: Mapping[str, Mapping[str, Any]]) -> str:
    return "\n".join(
        "\n".join([f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())])
        for name, values in sections.items()
    )
