"""The units: their own text, and what systemd makes of it."""

from __future__ import annotations

import configparser
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from slurmsyncd.config import DaemonConfig, HookConfig
from slurmsyncd.triggers.hook_sockets import SYSTEMD_NAME
from tests.paths import ROOT

UNITS = ROOT / "systemd"
SERVICE = UNITS / "slurmsyncd.service"
SOCKET = UNITS / "slurmsyncd.socket"
HOLD = UNITS / "slurmsyncd-hold.service"
#: The project's bound on `systemd-analyze security`, in tenths.
EXPOSURE = 15

with_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="NOT RUN: needs systemd-analyze (package systemd)"
)


class Unit(configparser.RawConfigParser):
    """A unit; of a setting that is given twice the last one counts here."""

    def __init__(self, path: Path) -> None:
        super().__init__(strict=False, delimiters="=", comment_prefixes="#", interpolation=None)
        self.read(path)

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, check=False, timeout=60
    )


@with_systemd
def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    """No unknown key, no bad value: systemd-analyze verify is silent about the units."""
    program = "/opt/slurmsyncd/bin/slurmsyncd"
    text = SERVICE.read_text()
    assert text.count(program) == 2
    (tmp_path / SERVICE.name).write_text(text.replace(program, sys.executable))
    for unit in (SOCKET, HOLD):
        shutil.copy(str(unit), str(tmp_path / unit.name))
    done = analyze("verify", "--man=no", *(str(tmp_path / unit.name) for unit in (SERVICE, SOCKET, HOLD)))
    about_ours = [line for line in done.stderr.splitlines() if "slurmsyncd" in line or str(tmp_path) in line]
    assert about_ours == []
    assert done.returncode == 0, done.stderr


@with_systemd
def test_the_sandbox_is_tight() -> None:
    """The exposure that systemd computes stays within the bound."""
    done = analyze("security", "--offline=yes", f"--threshold={EXPOSURE}", str(SERVICE))
    assert done.returncode == 0, done.stdout


def test_the_units_fit_the_defaults_of_the_configuration() -> None:
    """Paths and names are the ones that the daemon and the hook take without being told."""
    service, sock = Unit(SERVICE), Unit(SOCKET)
    assert f"unix:{sock['Socket']['ListenDatagram']}" == HookConfig().socket
    assert sock["Socket"]["FileDescriptorName"] == SYSTEMD_NAME
    assert Path("/run", service["Service"]["RuntimeDirectory"]) == DaemonConfig().pid_file.parent
    assert (
        Path("/run", service["Service"]["RuntimeDirectory"]) == Path(sock["Socket"]["ListenDatagram"]).parent
    )
    assert Path("/var/lib", service["Service"]["StateDirectory"]) == DaemonConfig().state_dir
    assert sock["Socket"]["SocketUser"] == service["Service"]["User"]


def test_k9_hints_survive_a_restart_and_their_senders_are_known() -> None:
    """The socket outlives the daemon, carries credentials, and no namespace hides the sender's uid."""
    service, sock = Unit(SERVICE)["Service"], Unit(SOCKET)["Socket"]
    assert service["RuntimeDirectoryPreserve"] == "yes"
    assert service["RuntimeDirectoryMode"] == "0755"
    assert "PrivateUsers" not in service
    assert (sock["PassCredentials"], sock["SocketMode"]) == ("yes", "0660")
    # systemd: a runtime directory of another owner is taken over with all that is in it.
    assert re.search(r"install -d -m 0755 -o slurmsyncd -g slurmsyncd /run/slurmsyncd$", sock["ExecStartPre"])


def test_p8_a_wrong_configuration_is_not_started_again() -> None:
    """Exit statuses that only the operator can cure end the restarts."""
    service = Unit(SERVICE)["Service"]
    assert service["Restart"] == "on-failure"
    assert set(service["RestartPreventExitStatus"].split()) == {"75", "78", "243"}
    assert Unit(SERVICE)["Unit"]["StartLimitIntervalSec"] == "0"


def test_p3_p6_p9_x8_what_systemd_does_about_a_daemon_in_trouble() -> None:
    """Frozen or stuck it is killed and started again; its memory is bounded; no core holds the token."""
    service = Unit(SERVICE)["Service"]
    assert re.fullmatch(r"\d+s", service["WatchdogSec"])
    assert service["Type"] == "notify"
    assert service["Restart"] == "on-failure"  # a watchdog's kill and a kill for memory are failures
    assert re.fullmatch(r"\d+G", service["MemoryMax"])
    assert service["LimitCORE"] == "0"
    assert "LoadCredential" not in service  # a missing one would keep every configuration from starting


def test_p8_a_hint_starts_no_daemon() -> None:
    """
    What a hint activates is a unit that does nothing and stays active.

    Seen on systemd 252: with the daemon there instead, a waiting hint starts it again right after
    `systemctl stop` and after exit 78, a hundred times a minute.
    """
    service, sock, hold = Unit(SERVICE), Unit(SOCKET), Unit(HOLD)
    assert sock["Socket"]["Service"] == HOLD.name
    assert service["Service"]["Sockets"] == SOCKET.name
    assert (hold["Service"]["Type"], hold["Service"]["RemainAfterExit"]) == ("oneshot", "yes")
    # A socket is not started again while its service is active.
    assert hold["Unit"]["PartOf"] == SOCKET.name


def test_p11_slurm_is_no_requirement() -> None:
    """The daemon is ordered after Slurm, munge and the network, and starts without them."""
    unit = Unit(SERVICE)["Unit"]
    assert {"munge.service", "slurmctld.service", "slurmdbd.service"} <= set(unit["After"].split())
    assert not {"Requires", "BindsTo", "PartOf"} & unit.keys()
    assert "slurm" not in unit["Wants"]


SERVE = """
import anyio
from slurmsyncd.config import HookConfig
from slurmsyncd.host.sd_notify import inherited_sockets
from slurmsyncd.triggers.hook_sockets import build_filter, open_hook_sockets
from slurmsyncd.triggers.listener import listen

async def main():
    got, hook = anyio.Event(), HookConfig(allow_users=())
    gate = build_filter(hook, lambda hint: (print(hint), got.set()))
    with anyio.fail_after(20), open_hook_sockets(hook, inherited_sockets()) as sockets:
        async with anyio.create_task_group() as group:
            group.start_soon(listen, gate, sockets)
            await got.wait()
            group.cancel_scope.cancel()

anyio.run(main)
"""


@pytest.mark.skipif(
    shutil.which("systemd-socket-activate") is None, reason="NOT RUN: needs systemd-socket-activate"
)
def test_systemd_hands_the_socket_over_with_what_waits_in_it(tmp_path: Path) -> None:
    """A hint sent before the daemon runs is read by the daemon that systemd's own activation starts."""
    path = tmp_path / "hook.sock"
    argv = ["systemd-socket-activate", "--datagram", f"--listen={path}", "--fdname=hook"]
    activate = subprocess.Popen(
        [*argv, sys.executable, "-c", SERVE], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert activate.stderr is not None
        assert "Listening on" in activate.stderr.readline()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            # Stands in for PassCredentials=yes, which this tool lacks: without it the kernel forgets the sender
            # of what was sent before the daemon asked for him.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            sock.sendto(b"slurmsyncd/1 context=epilog cluster=alpha job=27 restarts=1\n", str(path))
        out, err = activate.communicate(timeout=20)
        assert out.startswith("Notification(cluster='alpha', job_id=27, context='epilog', restarts=1)"), err
    finally:
        activate.kill()
        activate.communicate()
