"""Where the sockets may be made, and by whom they may be written to."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest
import structlog

from slurmsyncd.config import HookConfig
from slurmsyncd.errors import AlreadyRunning, ConfigError
from slurmsyncd.triggers.hook_sockets import build_filter, open_hook_sockets
from slurmsyncd.triggers.sockets import allowed_uids, open_datagram_socket, open_stream_sockets

if TYPE_CHECKING:
    from pathlib import Path


def leave_socket(path: Path) -> None:
    """Leave what a daemon leaves that was killed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))


def test_p5_the_socket_of_a_killed_daemon_is_replaced(run_dir: Path) -> None:
    """A stale socket of ours is no obstacle."""
    leave_socket(run_dir / "hook.sock")
    open_datagram_socket(f"unix:{run_dir}/hook.sock").close()


def test_p4_the_socket_of_a_running_daemon_is_left_alone(run_dir: Path) -> None:
    """Where somebody listens, nothing is removed."""
    with open_datagram_socket(f"unix:{run_dir}/hook.sock") as first:
        with pytest.raises(AlreadyRunning, match="another program listens"):
            open_datagram_socket(f"unix:{run_dir}/hook.sock")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"still there", str(run_dir / "hook.sock"))
        assert first.recv(100) == b"still there"


@pytest.mark.parametrize("kind", ["file", "link", "link to a socket", "directory"])
def test_k13_what_is_no_socket_of_ours_is_not_removed(kind: str, run_dir: Path) -> None:
    """A file, a link or a directory at the path is left as it is; the message says what to do."""
    path = run_dir / "hook.sock"
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        leave_socket(run_dir / "other")
        path.symlink_to(run_dir / "other" if kind == "link to a socket" else run_dir)
    before = path.lstat()
    with pytest.raises(ConfigError, match=r"hook\.socket = .*is no socket of ours .*remove it or choose"):
        open_datagram_socket(f"unix:{path}")
    assert os.path.samestat(before, path.lstat())


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT RUN: needs root to give a socket away")
def test_k13_the_socket_of_another_user_is_not_removed(run_dir: Path) -> None:
    """Only a socket owned by us is unlinked."""
    path = run_dir / "hook.sock"
    leave_socket(path)
    os.chown(path, 65534, 65534)
    with pytest.raises(ConfigError, match="owner: uid 65534"):
        open_datagram_socket(f"unix:{path}")
    assert path.exists()


def test_k14_a_directory_that_others_can_write_is_refused(run_dir: Path) -> None:
    """In such a directory anybody could put his own socket in our place."""
    run_dir.chmod(0o777)
    with pytest.raises(ConfigError, match=r"hook\.socket = .*has mode 777; wanted"):
        open_datagram_socket(f"unix:{run_dir}/hook.sock")


@pytest.mark.parametrize("address", ["unix:", "unix:relative", "tcp:127.0.0.1:1", "unix:/x/" + "y" * 200])
def test_a_socket_needs_a_usable_path(address: str) -> None:
    """A relative, empty, missing or too long path is one line with the setting's name."""
    with pytest.raises(ConfigError, match=r"hook\.socket = "):
        open_datagram_socket(address)


@pytest.mark.parametrize(
    "address",
    [
        "tcp:",
        "tcp::1",
        "tcp:127.0.0.1",
        "tcp:127.0.0.1:http",
        "127.0.0.1:1",
        "tcp:127.0.0.1:70000",
        "tcp:192.0.2.1:9",
    ],
)
def test_k11_an_address_must_be_one_of_this_host(address: str) -> None:
    """What cannot be listened on is refused with the setting's name; there is no "everywhere" by accident."""
    with pytest.raises(ConfigError, match=rf"hook\.listen = {address}: "):
        open_stream_sockets(address)


def test_k11_tcp_without_a_secret_is_refused() -> None:
    """A listener that would take anybody's hints does not open."""
    with pytest.raises(ConfigError, match=r"hook\.secret_file: is missing"):
        build_filter(HookConfig(listen=("tcp:127.0.0.1:0",)), print)


def test_no_socket_at_all_is_a_setting() -> None:
    """With an empty address and no systemd there is nothing to listen on, and the timer does it all."""
    with open_hook_sockets(HookConfig(socket=""), {}) as sockets:
        assert sockets == ()


def test_a_stream_socket_from_systemd_is_refused() -> None:
    """A unit with ListenStream= in place of ListenDatagram= is named as the mistake."""
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as wrong,
        pytest.raises(ConfigError, match="ListenDatagram="),
    ):
        open_hook_sockets(HookConfig(), {"hook": wrong}).__enter__()


def test_k9_users_are_named_or_numbered() -> None:
    """Root and our own user always count; unknown users are left out and not guessed."""
    assert allowed_uids(()) == {0, os.geteuid()}
    assert allowed_uids(("daemon", "2", "no-such-user", "99999999999")) == {0, os.geteuid(), 1, 2}


def test_a_socket_that_cannot_be_had_leaves_no_other_behind(run_dir: Path) -> None:
    """When one address fails, what was opened before it is closed and removed."""
    hook = HookConfig(socket=f"unix:{run_dir}/hook.sock", listen=("tcp:192.0.2.1:9",), allow_users=())
    with pytest.raises(ConfigError, match="cannot listen"):
        open_hook_sockets(hook, {}).__enter__()
    assert list(run_dir.iterdir()) == []


@pytest.mark.parametrize("word", ["short", ""])
def test_k11_a_secret_that_can_be_guessed_is_refused(word: str, tmp_path: Path) -> None:
    """The shared secret has at least 16 characters."""
    (tmp_path / "secret").write_text(word)
    hook = HookConfig(listen=("tcp:127.0.0.1:0",), secret_file=str(tmp_path / "secret"))
    with pytest.raises(ConfigError, match=r"hook\.secret_file = "):
        build_filter(hook, print)


def test_x9_a_secret_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    """The log says what to do, and does not show the secret."""
    (tmp_path / "secret").write_text("sesame-sesame-00")
    (tmp_path / "secret").chmod(0o644)
    with structlog.testing.capture_logs() as logs:
        build_filter(
            HookConfig(listen=("tcp:127.0.0.1:0",), secret_file=str(tmp_path / "secret"), allow_users=()),
            print,
        )
    assert [entry["event"] for entry in logs] == ["secret_exposed"]
    assert "sesame" not in repr(logs)
