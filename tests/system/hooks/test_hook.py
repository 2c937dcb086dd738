"""The hook script and `slurmsyncd notify`, as slurmctld and an operator start them."""

from __future__ import annotations

import ast
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import pytest

from slurmsyncd.model import Notification
from tests.paths import ROOT
from tests.unit.triggers.bell import SECRET, listening

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HOOK = ROOT / "hooks" / "slurmctld-hook"
DATA = Path(__file__).parent / "data"
ENVIRONMENT = {
    "SLURM_SCRIPT_CONTEXT": "prolog_slurmctld",
    "SLURM_CLUSTER_NAME": "alpha",
    "SLURM_JOB_ID": "27",
    "SLURM_JOB_RESTART_COUNT": "0",
}
HINT = Notification(cluster="alpha", job_id=27, context="prolog")
#: Far beyond what a hook may take; only one that hangs gets there.
HANGS_S = 20.0

pytestmark = pytest.mark.skipif(
    not Path("/usr/bin/python3").exists(), reason="NOT RUN: needs the system's /usr/bin/python3"
)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="NOT RUN: needs root to act as another user")


@pytest.fixture
def hook(run_dir: Path) -> list[str]:
    """Install the script where another user can run it, as `install -m 755` does."""
    return [str(shutil.copy(str(HOOK), str(run_dir / "slurmctld-hook")))]


@pytest.fixture(params=["script", "command"])
def ring(request: pytest.FixtureRequest, hook: list[str]) -> list[str]:
    """Return both ways of ringing."""
    return hook if request.param == "script" else [sys.executable, "-m", "slurmsyncd", "notify"]


def run(argv: Sequence[str], environment: Mapping[str, str] = ENVIRONMENT, **options: Any) -> str:
    """Run a hook to its end; it must exit 0 and say nothing on stdout. Gives stderr."""
    done = subprocess.run(
        argv,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=HANGS_S,
        check=False,
        **options,
    )
    assert (done.returncode, done.stdout) == (0, "")
    return str(done.stderr)


def captured(name: str) -> dict[str, str]:
    """Read an environment that a real slurmctld gave to its hook."""
    pairs: list[list[str]] = []
    for line in (DATA / name).read_text().splitlines():
        if line.startswith(("SLURM_", "PWD=", "SHLVL=")):
            pairs.append(line.split("=", 1))
        else:  # a value of several lines
            pairs[-1][1] += "\n" + line
    return {name: value for name, value in pairs}  # noqa: C416 - dict() of lists does not type-check


@as_root
@pytest.mark.anyio
@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("22.05-prolog-name-with-newline.env", Notification("lab2205", 16, "prolog", 0)),
        ("22.05-epilog-requeued.env", Notification("lab2205", 13, "epilog", 1)),
        ("24.11-prolog-array.env", Notification("lab2411", 11, "prolog", 0)),
        ("26.05-epilog-het.env", Notification("lab2605", 6, "epilog", 0)),
    ],
)
async def test_k5_rings_from_the_environment_of_a_real_slurmctld(
    name: str, hint: Notification, run_dir: Path, hook: list[str]
) -> None:
    """With what slurmctld gives (no PATH, no HOME), as another user, the hint arrives with the raw job id."""
    argv = [*hook, "--socket", f"unix:{run_dir}/hook.sock"]
    async with listening(run_dir / "hook.sock", allow_users=("daemon",)) as bell:
        options = {"user": 1, "group": 1, "extra_groups": [], "cwd": "/"}
        said = await anyio.to_thread.run_sync(lambda: run(argv, captured(name), **options))
        await bell.received(1)
    assert said == ""
    assert bell.hints == [hint]


@pytest.mark.anyio
async def test_k5_an_empty_environment_and_closed_descriptors_do_no_harm(
    run_dir: Path, ring: list[str]
) -> None:
    """With every standard descriptor closed a hint is sent, and nothing but the hint gets into the socket."""
    shell = 'exec "$@" 0<&- 1>&- 2>&-'
    argv = ["/bin/sh", "-c", shell, "sh", *ring, "--verbose", "--socket", f"{run_dir}/hook.sock"]
    argv += ["--job-id", "27", "--cluster=alpha", "--context", "prolog"]
    async with listening(run_dir / "hook.sock") as bell:
        await anyio.to_thread.run_sync(run, argv, {})
        await bell.received(1)
        assert bell.gate.counts().rejected == {}
    assert bell.hints == [HINT]


@pytest.mark.parametrize("kind", ["absent", "stale", "file", "directory", "too-long"])
def test_k1_without_a_daemon_the_hook_exits_0(kind: str, run_dir: Path, ring: list[str]) -> None:
    """Whatever is in the place of the socket, the hook ends well and says why only when it is asked to."""
    path = run_dir / ("x" * 200 if kind == "too-long" else "hook.sock")
    if kind == "stale":
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.bind(str(path))
    elif kind == "file":
        path.touch()
    elif kind == "directory":
        path.mkdir()
    assert run([*ring, "--socket", f"unix:{path}"]) == ""
    said = run([*ring, "--verbose", "--socket", f"unix:{path}"])
    assert said.startswith(f"slurmsyncd notify: not sent: unix:{path}: ")
    assert said.count("\n") == 1


def test_k2_a_stopped_daemon_with_a_full_queue_delays_nobody(run_dir: Path, ring: list[str]) -> None:
    """When the receiver is stopped and the kernel's queue is full, the hint is dropped and the hook ends."""
    code = "import socket,sys,time; sock = socket.socket(1, 2); sock.bind(sys.argv[1]); print(flush=True); time.sleep(600)"
    path = str(run_dir / "hook.sock")
    receiver = subprocess.Popen([sys.executable, "-IS", "-c", code, path], stdout=subprocess.PIPE)
    try:
        assert receiver.stdout is not None
        receiver.stdout.readline()
        receiver.send_signal(signal.SIGSTOP)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            with suppress(BlockingIOError):
                while sock.sendto(b"x", path):
                    pass
        assert "Resource temporarily unavailable" in run([*ring, "--verbose", "--socket", path])
    finally:
        receiver.kill()
        receiver.communicate()


def block_alarm() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    signal.signal(signal.SIGALRM, signal.SIG_IGN)


def test_k2_a_silent_tcp_host_is_given_up(run_dir: Path, secret_file: str, ring: list[str]) -> None:
    """A host that does not answer costs a fraction of a second, even where SIGALRM came in blocked and ignored."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        filler = socket.create_connection(server.getsockname())
        with filler:  # the queue of connections is full: the next one hangs for two minutes
            address = f"tcp:127.0.0.1:{server.getsockname()[1]}"
            argv = [*ring, "--verbose", "--socket", address, "--secret-file", secret_file]
            said = run(argv, preexec_fn=block_alarm)
    assert "took longer than 0.4 s" in said


def test_k6_a_killed_hook_leaves_nothing_behind(run_dir: Path, secret_file: str, ring: list[str]) -> None:
    """Killed alone, as slurmctld's stop does it: its child ends by itself, and there is no file to clean up."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        filler = socket.create_connection(server.getsockname())
        before = sorted(run_dir.iterdir())
        address = f"tcp:127.0.0.1:{server.getsockname()[1]}"
        argv = [*ring, "--socket", address, "--secret-file", secret_file]
        with filler, subprocess.Popen(argv, env=ENVIRONMENT, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            deadline = time.monotonic() + HANGS_S
            while not children.read_text() and time.monotonic() < deadline:
                time.sleep(0.001)
            process.kill()
            # The child holds the other end of the pipe until it is gone.
            assert process.stdout.read() == b""
    assert sorted(run_dir.iterdir()) == before


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
async def test_rings_over_tcp_with_the_secret(
    host: str, run_dir: Path, secret_file: str, ring: list[str]
) -> None:
    """Over TCP the hint carries the secret from the file, and the secret is not told to anybody else."""
    listen = "tcp:[::1]:0" if host == "[::1]" else "tcp:127.0.0.1:0"
    async with listening(run_dir / "hook.sock", listen=(listen,), secret_file=secret_file) as bell:
        argv = [*ring, "--verbose", "--socket", f"tcp:{host}:{bell.port}", "--secret-file", secret_file]
        said = await anyio.to_thread.run_sync(run, argv)
        await bell.received(1)
    assert bell.hints == [HINT]
    assert said.startswith(f"slurmsyncd notify: sent to tcp:{host}:")
    assert SECRET not in said


@pytest.mark.parametrize(
    "words",
    [
        ["--nonsense"],
        ["--non\nsense"],
        ["--socket"],
        ["--socket", "tcp:nowhere"],
        ["--socket", "tcp:127.0.0.1:99999", "--secret-file", "/dev/null"],
        ["--socket", "tcp:127.0.0.1:1"],
        ["--job-id", "1;reboot"],
        ["--job-id", "$(reboot)"],
        ["--cluster", "a\nslurmsyncd/1 context=test"],
        ["--cluster", "a" * 100_000],
        ["--cluster", "\udcff"],
    ],
)
def test_k12_wrong_arguments_are_said_in_one_line_and_exit_0(words: list[str], ring: list[str]) -> None:
    """What is no plain id or name is not sent; the remedy comes on request only."""
    assert run([*ring, *words]) == ""
    said = run([*ring, "--verbose", *words])
    assert said.startswith("slurmsyncd notify: not sent: ")
    assert said.count("\n") == 1


def point_settings_file(script: Path, settings: Path) -> Path:
    script.write_text(script.read_text().replace("/etc/slurmsyncd/hook.conf", str(settings)))
    return settings


@pytest.mark.anyio
async def test_the_settings_file_names_the_socket(run_dir: Path, hook: list[str]) -> None:
    """PrologSlurmctld takes no arguments: one line in a file replaces them, and need not be there."""
    settings = point_settings_file(Path(hook[0]), run_dir / "hook.conf")
    settings.write_text(f"--socket unix:{run_dir}/hook.sock\n")
    async with listening(run_dir / "hook.sock") as bell:
        await anyio.to_thread.run_sync(run, hook)
        await bell.received(1)
    assert bell.hints == [HINT]
    settings.write_text("socket = nonsense")
    assert "unknown option" in run([*hook, "--verbose"])


def test_the_script_needs_nothing_but_an_old_interpreter() -> None:
    """The hook runs under any system's Python from 3.6 on, with modules that are built in."""
    tree = ast.parse(HOOK.read_text(), feature_version=(3, 6))
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert imported == {"_signal", "_socket", "posix", "sys"}
    assert not any(isinstance(node, ast.ImportFrom) for node in ast.walk(tree))
    assert HOOK.read_text().startswith("#!/usr/bin/python3 -IS\n")
    assert os.access(HOOK, os.X_OK)


def test_help_says_what_there_is(ring: list[str]) -> None:
    """`--help` prints the options on stdout and exits 0."""
    done = subprocess.run([*ring, "--help"], capture_output=True, check=True, text=True, timeout=HANGS_S)
    assert "--secret-file" in done.stdout
    assert done.stderr == ""
