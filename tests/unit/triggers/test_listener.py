"""The sockets that hints come in by, with real senders."""

from __future__ import annotations

import os
import resource
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
import structlog

from slurmsyncd.config import HookConfig
from slurmsyncd.model import Notification
from slurmsyncd.triggers.hook_sockets import build_filter, open_hook_sockets
from slurmsyncd.triggers.listener import listen
from slurmsyncd.triggers.notification_filter import NotificationFilter
from tests.unit.triggers.bell import SECRET, listening

pytestmark = pytest.mark.anyio

GOOD = b"slurmsyncd/1 context=prolog cluster=alpha job=27 restarts=0\n"
HINT = Notification(cluster="alpha", job_id=27, context="prolog")

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="NOT RUN: needs root to act as another user")


def send(path: Path, *messages: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        for message in messages:
            sock.sendto(message, str(path))


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def send_as(uid: int, path: Path, message: bytes) -> None:
    """Send from a process of another user."""
    code = "import socket,sys; socket.socket(1, 2).sendto(sys.argv[2].encode(), sys.argv[1])"
    argv = ["/usr/bin/python3", "-IS", "-c", code, str(path), message.decode()]
    subprocess.run(argv, user=uid, group=uid, extra_groups=[], check=True, timeout=20)


async def test_a_datagram_of_our_own_user_gets_through(run_dir: Path) -> None:
    """A good message from root or the daemon's user becomes a hint, and is counted with its time."""
    async with listening(run_dir / "hook.sock") as bell:
        send(bell.path, GOOD)
        await bell.received(1)
        counts = bell.gate.counts()
    assert bell.hints == [HINT]
    assert (counts.accepted, counts.rejected, counts.accepted_at is not None) == (1, {}, True)
    assert not bell.path.exists()


async def test_k7_bad_datagrams_are_counted_by_reason_and_change_nothing(run_dir: Path) -> None:
    """After any amount of nonsense the next good hint gets through."""
    async with listening(run_dir / "hook.sock") as bell:
        send(bell.path, b"", b"x", b"\xff" * 100, b"slurmsyncd/9 context=test\n", b"A" * 65536)
        await bell.received(5)
        send(bell.path, GOOD)
        await bell.received(6)
        counts = bell.gate.counts()
    assert counts.rejected == {"syntax": 3, "version": 1, "size": 1}
    assert bell.hints == [HINT]


async def test_after_a_reload_the_same_sockets_are_served_again(run_dir: Path) -> None:
    """A listener that is cancelled leaves its sockets open; what came in between waits for the next."""
    hints: list[Notification] = []
    config = HookConfig(socket=f"unix:{run_dir}/hook.sock")
    with open_hook_sockets(config, {}) as sockets:
        for count in (1, 2):
            send(run_dir / "hook.sock", GOOD)
            async with anyio.create_task_group() as group:
                group.start_soon(listen, build_filter(config, hints.append), sockets)
                with anyio.fail_after(20):
                    while len(hints) < count:  # noqa: ASYNC110 - the daemon has no need of an event here
                        await anyio.sleep(0.005)
                group.cancel_scope.cancel()
    assert hints == [HINT, HINT]


@as_root
async def test_k9_a_stranger_is_refused_by_his_uid(run_dir: Path) -> None:
    """Even where the mode of the socket lets him write, only a user on the list is heard."""
    async with listening(run_dir / "hook.sock", allow_users=("1",)) as bell:
        bell.path.chmod(0o666)
        run_dir.parent.chmod(0o755)
        await anyio.to_thread.run_sync(send_as, 65534, bell.path, GOOD)
        await bell.received(1)
        assert bell.hints == []
        await anyio.to_thread.run_sync(send_as, 1, bell.path, GOOD)
        await bell.received(2)
        assert bell.gate.counts().rejected == {"uid": 1}
    assert bell.hints == [HINT]


@as_root
async def test_k9_the_mode_lets_in_the_group_of_slurm_and_nobody_else(run_dir: Path) -> None:
    """The socket belongs to the group of the first user that is let in; a stranger cannot even write."""
    async with listening(run_dir / "hook.sock", allow_users=("no-such-user", "daemon")) as bell:
        found = bell.path.stat()
        assert (found.st_mode & 0o777, found.st_gid) == (0o660, 1)
        with pytest.raises(subprocess.CalledProcessError):
            await anyio.to_thread.run_sync(send_as, 65534, bell.path, GOOD)
        await anyio.to_thread.run_sync(send_as, 1, bell.path, GOOD)
        await bell.received(1)
    assert bell.hints == [HINT]


async def test_passed_descriptors_do_not_pile_up(run_dir: Path) -> None:
    """A sender that attaches open files to his datagrams does not fill our table of them."""
    async with listening(run_dir / "hook.sock") as bell:
        before = open_files()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.connect(str(bell.path))
            for number in range(1, 33):
                socket.send_fds(sock, [GOOD], [0, 0, 0])
                await bell.received(number)
        assert open_files() <= before


async def test_hints_survive_a_restart_with_systemds_socket(run_dir: Path) -> None:
    """Datagrams that arrive while no daemon runs are read by the next one, from the socket that systemd keeps."""
    keeper = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)  # PassCredentials=yes
    keeper.bind(str(run_dir / "hook.sock"))
    with keeper:
        async with listening(run_dir / "unused.sock", inherited={"hook": keeper.dup()}):
            pass
        send(run_dir / "hook.sock", GOOD, GOOD)
        async with listening(run_dir / "unused.sock", inherited={"hook": keeper.dup()}) as bell:
            await bell.received(2)
    assert bell.hints == [HINT, HINT]
    assert (run_dir / "hook.sock").exists()
    assert not (run_dir / "unused.sock").exists()


def test_k10_a_flood_of_one_user_is_cut() -> None:
    """Beyond the rate messages are refused unread, and another user is not charged for it."""
    hints: list[Notification] = []
    gate = NotificationFilter(
        hints.append, uids=frozenset({7, 8}), per_second=1.0, burst=3.0, clock=lambda: 0.0
    )
    for _ in range(10):
        gate.admit_local(GOOD, 7)
    gate.admit_local(GOOD, 8)
    assert len(hints) == 4
    assert gate.counts().rejected == {"rate": 7}


async def test_k10_a_flood_does_not_starve_other_tasks(run_dir: Path) -> None:
    """While datagrams come in faster than they are read, other tasks of the loop get their turn."""
    stop = threading.Event()

    def flood() -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            for _ in range(200_000):
                sock.sendto(GOOD, str(run_dir / "hook.sock"))
                if stop.is_set():
                    return True
        return False

    stopped: list[bool] = []

    async def send_flood() -> None:
        stopped.append(await anyio.to_thread.run_sync(flood))

    async with listening(run_dir / "hook.sock") as bell, anyio.create_task_group() as group:
        group.start_soon(send_flood)
        await bell.received(100)
        for _ in range(50):
            await anyio.lowlevel.checkpoint()
        stop.set()
    assert stopped == [True]


async def test_k11_tcp_needs_the_secret(run_dir: Path, secret_file: str) -> None:
    """Over TCP only a message with the shared secret counts; a stranger, a wrong secret and TLS noise do not."""
    settings: dict[str, Any] = {"listen": ("tcp:127.0.0.1:0",), "secret_file": secret_file}
    with_secret = GOOD.rstrip() + f" secret={SECRET}\n".encode()
    async with listening(run_dir / "hook.sock", **settings) as bell:
        wrong = with_secret.replace(SECRET.encode(), SECRET.swapcase().encode())
        tls = b"\x16\x03\x01\x02\x00" * 40 + b"\n"
        for number, data in enumerate((GOOD, wrong, tls, b"", with_secret), 1):
            with socket.create_connection(("127.0.0.1", bell.port)) as client:
                client.sendall(data)
            await bell.received(number)
        assert bell.gate.counts().rejected == {"secret": 2, "syntax": 2}
        with pytest.raises(ConnectionRefusedError):  # listening nowhere but where it was told to
            socket.create_connection(("127.0.0.2", bell.port))
    assert bell.hints == [HINT]


async def test_k11_over_ipv6(run_dir: Path, secret_file: str) -> None:
    """An address in brackets is IPv6."""
    settings: dict[str, Any] = {"listen": ("tcp:[::1]:0",), "secret_file": secret_file}
    async with listening(run_dir / "hook.sock", **settings) as bell:
        with socket.create_connection(("::1", bell.port)) as client:
            client.sendall(GOOD.rstrip() + f" secret={SECRET}\n".encode())
        await bell.received(1)
    assert bell.hints == [HINT]


async def test_k11_idle_and_endless_connections_end_and_an_honest_hint_gets_through(
    run_dir: Path, secret_file: str
) -> None:
    """More idle clients than there are places, and one that never ends its line, delay a hint and no more."""
    settings: dict[str, Any] = {"listen": ("tcp:127.0.0.1:0",), "secret_file": secret_file}
    async with listening(run_dir / "hook.sock", **settings) as bell:
        idle = [socket.create_connection(("127.0.0.1", bell.port)) for _ in range(100)]
        idle[0].sendall(b"A" * 9000)
        with socket.create_connection(("127.0.0.1", bell.port)) as client:
            client.sendall(GOOD.rstrip() + f" secret={SECRET}\n".encode())
        await bell.received(101)
        for client in idle:
            client.close()
        refused = bell.gate.counts().rejected
    assert bell.hints == [HINT]
    assert refused["size"] == 1
    assert refused["slow"] == 99


async def test_k11_a_connection_that_is_reset_is_counted(run_dir: Path, secret_file: str) -> None:
    """A client that breaks off leaves a count, and the next hint gets through."""
    settings: dict[str, Any] = {"listen": ("tcp:127.0.0.1:0",), "secret_file": secret_file}
    async with listening(run_dir / "hook.sock", **settings) as bell:
        client = socket.create_connection(("127.0.0.1", bell.port))
        client.sendall(b"slurmsyncd/1 con")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        await bell.received(1)
        send(bell.path, GOOD)
        await bell.received(2)
    assert bell.gate.counts().rejected == {"reset": 1}
    assert bell.hints == [HINT]


async def test_p10_without_file_descriptors_the_listener_waits(run_dir: Path, secret_file: str) -> None:
    """Out of descriptors, connections wait in the kernel's queue and are read once there are some again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    settings: dict[str, Any] = {"listen": ("tcp:127.0.0.1:0",), "secret_file": secret_file}
    with structlog.testing.capture_logs() as logs:
        async with listening(run_dir / "hook.sock", **settings) as bell:
            with socket.create_connection(("127.0.0.1", bell.port)) as client:
                client.sendall(GOOD.rstrip() + f" secret={SECRET}\n".encode())
                free = os.dup(0)
                os.close(free)
                resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
                try:
                    with anyio.fail_after(20):
                        while not logs:  # noqa: ASYNC110 - what is waited for is the log itself
                            await anyio.sleep(0.005)
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                await bell.received(1)
    assert [entry["event"] for entry in logs] == ["connection_not_accepted"]
    assert bell.hints == [HINT]


def test_ringing_loads_nothing_of_the_daemon() -> None:
    """The hook's way in loads neither the daemon nor its libraries."""
    code = (
        "import os, sys; os._exit = lambda status: None\n"
        "sys.argv = ['slurmsyncd', 'notify', '--socket', '/nonexistent']\n"
        "import posix; posix._exit = lambda status: (_ for _ in ()).throw(SystemExit)\n"
        "from slurmsyncd.__main__ import main\n"
        "before = set(sys.modules)\n"
        "try: main()\n"
        "except SystemExit: print(*sorted(set(sys.modules) - before))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=30
    )
    assert set(done.stdout.split()) <= {"slurmsyncd.notify", "_socket", "_signal", "posix"}
