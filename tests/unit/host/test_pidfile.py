"""The PID file and its lock."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from slurmsyncd.errors import AlreadyRunning, ConfigError
from slurmsyncd.host.pid_file import pid_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOLD = """
import pathlib, sys, time
from slurmsyncd.host.pid_file import pid_file
with pid_file(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds the PID file until its stdin is closed, or it is killed."""
    argv = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        try:
            yield process
        finally:
            process.kill()


def test_holds_the_pid_and_is_gone_after_a_clean_stop(tmp_path: Path) -> None:
    """The file has our pid and a mode that others can read, and is removed at the end."""
    path = tmp_path / "run" / "slurmsyncd.pid"
    mask = os.umask(0o077)
    with pid_file(path):
        os.umask(mask)
        assert path.read_text() == f"{os.getpid()}\n"
        assert path.stat().st_mode & 0o777 == 0o644
    assert not path.exists()


def test_p4_a_second_daemon_is_told_the_pid_of_the_first(tmp_path: Path) -> None:
    """Two daemons at once: the second gets an error with the holder's pid and leaves the file alone."""
    path = tmp_path / "slurmsyncd.pid"
    with holder(path) as process:
        with pytest.raises(AlreadyRunning, match=rf"pid {process.pid} .*stop it"), pid_file(path):
            pass
        assert path.read_text() == f"{process.pid}\n"


def test_p5_a_file_of_a_killed_daemon_is_no_obstacle(tmp_path: Path) -> None:
    """After kill -9 the file is left, the lock is not; the next daemon starts."""
    path = tmp_path / "slurmsyncd.pid"
    with holder(path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(20)
        assert path.exists()
        with pid_file(path):
            assert path.read_text() == f"{os.getpid()}\n"


def test_p5_a_stale_file_with_the_pid_of_a_living_process_is_no_obstacle(tmp_path: Path) -> None:
    """Pids are used again: only the lock says that a daemon runs."""
    path = tmp_path / "slurmsyncd.pid"
    path.write_text(f"{os.getppid()} and more than we would write\n")
    with pid_file(path):
        assert path.read_text() == f"{os.getpid()}\n"


def test_x11_a_link_to_a_victim_is_refused(tmp_path: Path) -> None:
    """A symbolic or hard link in the place of the file is refused, and what it leads to is untouched."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for make in (os.symlink, os.link):
        path = tmp_path / f"{make.__name__}.pid"
        make(victim, path)
        with pytest.raises(ConfigError, match=r"daemon\.pid_file = .*remove it or choose another path"):
            pid_file(path).__enter__()
    assert victim.read_text() == "precious"


def test_x11_a_fifo_or_a_directory_is_refused(tmp_path: Path) -> None:
    """What is no plain file is refused at once."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "directory").mkdir()
    for name in ("fifo", "directory"):
        with pytest.raises(ConfigError, match="remove it or choose another path"):
            pid_file(tmp_path / name).__enter__()


def test_x10_a_directory_open_to_others_is_refused(tmp_path: Path) -> None:
    """Where others can write, they could put a file of theirs in place of ours."""
    tmp_path.chmod(0o777)
    with pytest.raises(ConfigError, match=r"has mode 777; wanted: .* mode 755"):
        pid_file(tmp_path / "slurmsyncd.pid").__enter__()
