"""Debian's nats-server on loopback, with a store of its own; it ends with the test, however that ends."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.tools.lab import packages
from tests.tools.lab.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PACKAGE = "nats-server"
JETSTREAM = 'jetstream {{ store_dir: "{folder}/store", max_file_store: 200M, max_memory_store: 50M }}\n'


def why_not() -> str | None:
    """Install the server if need be; say why there can be none."""
    if shutil.which(PACKAGE):
        return None
    if reason := packages.why_not():
        return reason
    subprocess.run([sys.executable, packages.__file__, PACKAGE], check=True)
    return None


class NatsServer:
    """
    One server.

    Args:
        folder: For its configuration, log and store.
        settings: Lines of its configuration; ``{folder}`` stands for the folder.
    """

    def __init__(self, folder: Path, settings: str = JETSTREAM) -> None:
        self.folder = folder
        self.port = 0
        self.log = folder / "nats.log"
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, on the same port as before, and wait until it takes connections."""
        self._write()
        command = [PACKAGE, "-c", str(self.folder / "nats.conf"), "-l", str(self.log)]
        died_with_us = ["setpriv", "--pdeathsig", "KILL", *command]
        self._process = subprocess.Popen(died_with_us, stdin=subprocess.DEVNULL)
        if not self.port:
            until(self._ports_file, "port of nats-server", timeout_s=60)
            self.port = int(self._ports()["nats"][0].rpartition(":")[2])
        until(self._listens, "nats-server", timeout_s=60, every_s=0.02)

    def kill(self) -> None:
        """Kill it as the OOM killer would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            self._process.wait(60)
            self._process = None

    def signal(self, signum: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(signum)

    def reload(self, settings: str) -> None:
        """Have it read another configuration while it runs."""
        self._settings = settings
        before = self.log.read_text().count("Reloaded server configuration")
        self._write()
        self.signal(signal.SIGHUP)

        def reloaded() -> bool:
            return self.log.read_text().count("Reloaded server configuration") > before

        until(reloaded, "reload", timeout_s=60, every_s=0.02)

    def _write(self) -> None:
        text = self._settings.replace("{folder}", str(self.folder)).replace("{{", "{").replace("}}", "}")
        port = self.port or -1
        head = f'listen: "127.0.0.1:{port}"\nports_file_dir: "{self.folder}"\nserver_name: "{self.folder.name}"\n'
        (self.folder / "nats.conf").write_text(head + text)

    def _ports_file(self) -> Path | None:
        return next(iter(self.folder.glob("*.ports")), None)

    def _ports(self) -> dict[str, Any]:
        path = self._ports_file()
        assert path is not None
        for _ in range(200):
            try:
                found: dict[str, Any] = json.loads(path.read_text())
            except ValueError:
                time.sleep(0.02)  # half written
            else:
                return found
        raise AssertionError(path.read_text())

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()[-2000:]
        with socket.socket() as sock:
            sock.settimeout(1)
            return sock.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def running(folder: Path, settings: str = JETSTREAM) -> Iterator[NatsServer]:
    """Run a server while the block runs."""
    server = NatsServer(folder, settings)
    try:
        server.start()
        yield server
    finally:
        server.stop()
