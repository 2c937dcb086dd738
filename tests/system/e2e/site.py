"""A site of a test: the embedded backend and one or more daemons as processes, beside the lab's Slurm."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from slurmsyncd.store import open_store
from tests.paths import ROOT
from tests.system.e2e.machine import machine
from tests.tools.lab import until
from tests.tools.lab.configuration import free_ports
from tests.tools.lab.processes import Daemon as Process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from slurmsyncd.store.sqlite_store import SqliteStore
    from tests.tools.lab import Lab

PROGRAM = (sys.executable, "-m", "slurmsyncd")
LOG_LINES = 60  # of each log, shown with a failed test
COMMIT_S = 1.0  # the backend's commit interval
STOP_HOLD_S = 2.0

#: What an operator would set for a backend that commits each second; tests change single ones.
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "daemon": {"poll_interval": 2, "overlap": 60, "max_span": 600},
    "sinks.cc": {
        "stop_hold": STOP_HOLD_S,
        "timeout": 5,
        "backoff": 0.2,
        "backoff_max": 1,
        "nodestate_interval": 0,
    },
}


class Backend:
    """
    The embedded backend, as a process with its control API.

    Attributes:
        url: Its address, the same after a restart.
        token: For its API; secret.
    """

    def __init__(self, lab: Lab, directory: Path, also: Sequence[str] = (), more: Sequence[str] = ()) -> None:
        directory.mkdir()
        self.log = directory / "backend.log"
        self._state = directory / "state"
        clusters = directory / "clusters.json"
        clusters.write_text(json.dumps([machine(name) for name in (lab.cluster, *also)]))
        self.url = f"http://127.0.0.1:{free_ports().slurmctld}"
        listen = ("--listen", self.url.removeprefix("http://"), "--state", str(self._state))
        options = ("--clusters", str(clusters), "--commit-interval", str(COMMIT_S), "--test-api", *more)
        self.process = _process(
            lab, "backend", *PROGRAM, "backend", *listen, *options, output=self.log, ready=self._answers
        )
        self.process.start()
        said = subprocess.run(
            [*PROGRAM, "backend", "token", "--state", str(self._state)],
            check=True,
            capture_output=True,
            text=True,
        )
        self.token = said.stdout.strip()

    def jobs(self, *states: str) -> list[dict[str, Any]]:
        """Return what the API shows of all jobs (in these states), committed or not yet."""
        self.ask("POST", "/-/tick")
        query = "&".join(["items-per-page=1000&with-metadata=1", *(f"state={state}" for state in states)])
        found: list[dict[str, Any]] = self.ask("GET", f"/api/jobs/?{query}")["jobs"]
        return found

    def jobs_of(self, job_id: int) -> list[dict[str, Any]]:
        """Return all rows of a job id, the oldest run first."""
        rows = [job for job in self.jobs() if job["jobId"] == job_id]
        return sorted(rows, key=lambda row: int(row["startTime"]))

    def nodes(self) -> dict[str, dict[str, Any]]:
        """Return the node states by host."""
        return {node["hostname"]: node for node in self.ask("GET", "/-/nodes")["nodes"]}

    def told(self, step: str, job_id: int) -> list[dict[str, Any]]:
        """Return the exchanges about a job that this process of the backend has had: start or stop."""
        entries = self.ask("GET", "/-/requests")["requests"]
        sent = [entry for entry in entries if entry["path"] == f"/api/jobs/{step}_job/"]
        return [entry for entry in sent if json.loads(entry["body"]).get("jobId") == job_id]

    def cached(self, job_id: int) -> bool:
        """Whether a start has taken effect, answered or not."""
        tables = self.ask("GET", "/-/rows")
        return any(row["job_id"] == job_id for table in tables.values() for row in table)

    def ask(self, method: str, path: str, content: Any = None) -> Any:
        """Make one request and give its JSON; 200 is expected."""
        with httpx.Client(base_url=self.url, trust_env=False, timeout=30) as client:
            answer = client.request(method, path, headers={"X-Auth-Token": self.token}, json=content)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def _answers(self) -> bool:
        try:
            with httpx.Client(base_url=self.url, trust_env=False, timeout=2) as client:
                return client.get("/-/knobs").status_code == 200
        except httpx.HTTPError:
            return False


class Daemon:
    """
    `slurmsyncd run` as a process, with a configuration file of its own.

    Attributes:
        config: Its configuration file.
        socket: Where its hints come in.
        state: Its store, checkpoint and token are below.
    """

    def __init__(
        self,
        lab: Lab,
        directory: Path,
        backend: Backend,
        settings: Mapping[str, Any],
        env: Mapping[str, str] | None = None,
    ) -> None:
        directory.mkdir()
        self._lab = lab
        self._ready_before = 0
        self.log = directory / "daemon.log"
        self.config = directory / "config.toml"
        self.socket = directory / "run" / "hook.sock"
        self.pid_file = directory / "run" / "pid"
        self.lastrun = directory / "state" / "lastrun"
        self.token = directory / "token"
        self.token.touch(0o600)
        self.token.write_text(backend.token)
        self.state = directory / "state"
        self.config.write_text(_toml(self._sections(lab, backend, settings)))
        self.process = _process(
            lab,
            "slurmsyncd",
            *PROGRAM,
            "run",
            "--config",
            str(self.config),
            "--log-level",
            "debug",
            output=self.log,
            ready=self._is_ready,
            env=env,
        )

    def start(self) -> None:
        """Start it and wait until it says that it is ready."""
        self._ready_before = len(self.events("ready"))
        self.process.start()

    def stop(self) -> int:
        """End it with SIGTERM and return its exit status."""
        self.process.stop()
        return self.exit_status()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._lab.keeper.ask("signal", self.process.pid, number)

    def exit_status(self) -> int:
        """Exit status of the process that ended last; -9 after SIGKILL."""
        status: int = self._lab.keeper.ask("ended", self.process.pid)
        return status

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log's events of a name."""
        lines = self.log.read_text().splitlines(keepends=True) if self.log.exists() else []
        found = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]
        return [event for event in found if event["event"] == name]

    def wait_event(self, name: str, *, timeout_s: float = 60, **values: Any) -> dict[str, Any]:
        """Wait until the log has an event with these values, and return it."""

        def there() -> dict[str, Any] | None:
            fits = (each for each in self.events(name) if values.items() <= each.items())
            return next(fits, None)

        found = until(there, f"event {name} {values}", timeout_s=timeout_s)
        assert found
        return found

    def run(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another slurmsyncd with this configuration to its end."""
        return run_program(command, "--config", str(self.config), *arguments)

    def once(self) -> subprocess.CompletedProcess[str]:
        """Run `slurmsyncd run --once` with this configuration to its end."""
        return self.run("run", "--once")

    @contextmanager
    def open_store(self) -> Iterator[SqliteStore]:
        """Open the store of the daemon, which must not run."""
        opened = open_store(self.state, ("cc",))
        assert opened.recovered is None
        with closing(opened.store) as store:
            yield store

    def _is_ready(self) -> bool:
        return len(self.events("ready")) > self._ready_before

    def _sections(self, lab: Lab, backend: Backend, settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        files = {"state_dir": self.state, "lastrun_file": self.lastrun, "pid_file": self.pid_file}
        sections: dict[str, dict[str, Any]] = {
            "daemon": {**DEFAULTS["daemon"], **{key: str(path) for key, path in files.items()}},
            "slurm": {"bin_dir": str(lab.bin_dir)},
            f"clusters.{lab.cluster}": {"slurm_conf": lab.env["SLURM_CONF"]},
            "hook": {"socket": f"unix:{self.socket}"},
            "sinks.cc": {**DEFAULTS["sinks.cc"], "url": backend.url, "token_file": str(self.token)},
        }
        for path, value in settings.items():
            section, _, key = path.rpartition(".")
            sections.setdefault(section, {})[key] = value
        return sections


class Site:
    """A backend and daemons for it, below the lab's directory; everything ends with the lab at the latest."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.root = Path(tempfile.mkdtemp(prefix="site.", dir=lab.root))
        self.root.chmod(0o755)  # slurmctld's hook, as user slurm, has to reach the socket
        self.backends: list[Backend] = []
        self.daemons: list[Daemon] = []

    @classmethod
    @contextmanager
    def open(cls, lab: Lab) -> Iterator[Site]:
        """Have a site; at its end all processes are stopped, and no log may hold a traceback or a token."""
        site = cls(lab)
        try:
            yield site
            site.check_logs()
        except BaseException:
            sys.stderr.write(site.last_words())
            raise
        finally:
            for daemon in site.daemons:
                daemon.process.kill()
            for backend in site.backends:
                backend.process.kill()

    def backend(self, *also: str) -> Backend:
        """Start another backend, for the lab's cluster and any others."""
        self.backends.append(Backend(self.lab, self.root / f"backend{len(self.backends)}", also))
        return self.backends[-1]

    def daemon(
        self, backend: Backend, *, start: bool = True, env: Mapping[str, str] | None = None, **settings: Any
    ) -> Daemon:
        """Make a daemon for a backend; a setting is `daemon__poll_interval=3`."""
        named = {key.replace("__", "."): value for key, value in settings.items()}
        self.daemons.append(Daemon(self.lab, self.root / f"daemon{len(self.daemons)}", backend, named, env))
        if start:
            self.daemons[-1].start()
        return self.daemons[-1]

    def hook(self, daemon: Daemon) -> Path:
        """Return a script for PrologSlurmctld and EpilogSlurmctld that rings this daemon."""
        installed = self.root / "slurmctld-hook"
        shutil.copyfile(ROOT / "hooks" / "slurmctld-hook", installed)
        installed.chmod(0o755)
        script = daemon.socket.parent.parent / "hook"
        script.write_text(f"#!/bin/sh\n{installed} --socket unix:{daemon.socket}; exit 0\n")
        return script

    def check_logs(self) -> None:
        """No log has a traceback, a warning of Python's or a token in it; a daemon's has an event in each line."""
        for daemon in self.daemons:
            lines = daemon.log.read_text().splitlines() if daemon.log.exists() else []
            assert [line for line in lines if not line.startswith("{")] == []
        for log in self._logs():
            text = log.read_text(errors="replace")
            assert "Traceback" not in text, log.name
            assert not re.search(r"\b\w*Warning: ", text), log.name
            for backend in self.backends:
                assert backend.token.split(".")[2] not in text, f"the token is in {log.name}"

    def last_words(self) -> str:
        """What the processes logged last, for a test that failed."""
        shown = []
        for log in self._logs():
            lines = [line for line in log.read_text(errors="replace").splitlines() if '"debug"' not in line]
            shown.append("\n".join([f"--- {log.parent.name}/{log.name}", *lines[-LOG_LINES:]]))
        return "\n".join(shown) + "\n"

    def _logs(self) -> list[Path]:
        logs = [*(daemon.log for daemon in self.daemons), *(backend.log for backend in self.backends)]
        return [log for log in logs if log.exists()]


def run_program(*arguments: str, timeout_s: float = 90) -> subprocess.CompletedProcess[str]:
    """Run slurmsyncd to its end and return what it said; never a traceback."""
    done = subprocess.run(
        [*PROGRAM, *arguments], capture_output=True, text=True, timeout=timeout_s, check=False, cwd="/"
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return done


def _process(
    lab: Lab,
    name: str,
    *argv: str,
    output: Path,
    ready: Callable[[], bool],
    env: Mapping[str, str] | None = None,
) -> Process:
    own = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", **(env or {})}
    return Process(name, argv, keeper=lab.keeper, output=output, ready=ready, env=own)


def _toml(sections: Mapping[str, Mapping[str, Any]]) -> str:
    lines = []
    for name, values in sections.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    return "\n".join(lines) + "\n"
