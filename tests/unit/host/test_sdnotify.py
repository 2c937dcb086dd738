"""What systemd hears of us, and what it hands over."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from slurmsyncd.host.sd_notify import ServiceManager, inherited_sockets

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, dict[str, str]]]:
    """Return systemd's end of the socket, and the environment that it gives to a service."""
    abstract = f"slurmsyncd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + abstract if request.param == "abstract" else str(tmp_path / "notify"))
        sock.settimeout(20)
        address = f"@{abstract}" if request.param == "abstract" else str(tmp_path / "notify")
        yield sock, {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}


def test_tells_each_state(systemd: tuple[socket.socket, dict[str, str]]) -> None:
    """Each call sends one datagram in sd_notify's form, and a text of several lines cannot forge another."""
    sock, environ = systemd
    manager = ServiceManager(environ)
    assert manager
    assert environ == {}, "commands that we start must not take themselves for the daemon"
    manager.ready("looking\nMAINPID=1")
    manager.status("3 waiting")
    manager.ping_watchdog()
    manager.reloading()
    manager.stopping(12.5, "settling")
    heard = [sock.recv(4096).decode().split("\n") for _ in range(5)]
    assert heard[:3] == [["READY=1", "STATUS=looking MAINPID=1"], ["STATUS=3 waiting"], ["WATCHDOG=1"]]
    assert heard[3][0] == "RELOADING=1"
    assert heard[3][1].partition("=")[0] == "MONOTONIC_USEC"
    assert heard[4] == ["STOPPING=1", "EXTEND_TIMEOUT_USEC=12500000", "STATUS=settling"]


def test_pings_twice_in_the_time_allowed(systemd: tuple[socket.socket, dict[str, str]]) -> None:
    """The interval of the watchdog is half of what systemd allows, and none if it is meant for another process."""
    _, environ = systemd
    assert ServiceManager(dict(environ)).watchdog_s == 30.0
    assert ServiceManager({**environ, "WATCHDOG_PID": "1"}).watchdog_s is None
    assert ServiceManager({**environ, "WATCHDOG_USEC": "soon"}).watchdog_s is None


def test_p14_without_systemd_nothing_happens(tmp_path: Path) -> None:
    """Without NOTIFY_SOCKET, or with one where nobody listens, every call returns."""
    nobody = ServiceManager({})
    assert not nobody
    for manager in (
        nobody,
        ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone"), "WATCHDOG_USEC": "1000"}),
    ):
        manager.ready()
        manager.status("x")
        manager.ping_watchdog()
        manager.reloading()
        manager.stopping(1.0)


ACTIVATED = """
import os, socket, sys
os.environ["LISTEN_PID"] = str(os.getpid())
from slurmsyncd.host.sd_notify import inherited_sockets
found = inherited_sockets()
print(*sorted(found), found["hook"].type.name, found["hook"].getsockname(), found["hook"].get_inheritable())
print([name for name in os.environ if name.startswith("LISTEN_")], inherited_sockets())
"""


def test_takes_over_sockets_by_name(tmp_path: Path) -> None:
    """Sockets from descriptor 3 on are found by their FileDescriptorName, once, and not handed on."""
    path = str(tmp_path / "hook.sock")
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        sock.bind(path)
        shell = f'exec 3<&{sock.fileno()} 4<&{other.fileno()}; exec "$@"'
        # High enough not to be in the way of 3 and 4.
        done = subprocess.run(
            ["/bin/bash", "-c", shell, "sh", sys.executable, "-c", ACTIVATED],
            env={**os.environ, "LISTEN_FDS": "2", "LISTEN_FDNAMES": "hook:control"},
            pass_fds=(sock.fileno(), other.fileno()),
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
    assert done.stdout.splitlines() == [f"control hook SOCK_DGRAM {path} False", "[] {}"]


@pytest.mark.parametrize("environ", [{}, {"LISTEN_PID": "1", "LISTEN_FDS": "1"}, {"LISTEN_FDS": "1"}])
def test_sockets_for_another_process_are_left_alone(environ: dict[str, str]) -> None:
    """Variables that are not meant for us give nothing, and are removed."""
    assert inherited_sockets(environ) == {}
    assert environ == {}
