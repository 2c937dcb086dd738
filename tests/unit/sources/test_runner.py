from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from structlog.testing import capture_logs

from slurmsyncd.errors import SourceUnavailable
from slurmsyncd.sources.executors.local import CommandCosts, CommandFailed, minimal_environment, run
from slurmsyncd.sources.output import CommandOutput, FileText

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
NOWHERE = Path("/nonexistent/spool")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="NOT RUN: needs root to act as another user")


def script(root: Path, text: str, name: str = "squeue") -> str:
    """Make a command of a few lines of sh."""
    path = root / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


async def call(
    *argv: str, timeout_s: float = 20.0, limit: int = MIB, directory: Path | None = None
) -> CommandOutput:
    return await run(
        argv, timeout_s=timeout_s, output_limit=limit, env=minimal_environment(), directory=directory
    )


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of which only the last 64 KiB are free."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0755", "tmpfs", str(disk)]
    done = subprocess.run(mount, capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"needs the right to mount: {done.stderr.decode().strip()}")
    (disk / "filler").write_bytes(b"x" * (MIB - 65536))
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in another process
            await anyio.sleep(0.01)


async def gone(pid_file: Path) -> None:
    """Wait until the process whose id is in the file is no more (or only a zombie)."""
    await until(lambda: not _alive(pid_file.read_text().strip()))


async def written(path: Path) -> None:
    await until(lambda: path.exists() and bool(path.read_text().strip()))


def _alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_output_comes_back_whole(tmp_path: Path) -> None:
    """Standard output as bytes, standard error as printable text, nothing left in the directory."""
    spool = tmp_path / "spool"
    spool.mkdir()
    output = await call(script(tmp_path, "printf 'a\\n\\377b'; printf 'be\\033warned' >&2"), directory=spool)
    assert output.data[:] == b"a\n\xffb"
    assert output.stderr == "be warned"
    assert list(spool.iterdir()) == []


async def test_a_large_output_is_closed_in_a_thread(tmp_path: Path) -> None:
    """Closing an output of several MiB frees its descriptor, and a second call does nothing."""
    output = await call(script(tmp_path, "head -c 2000000 /dev/zero"), limit=4 * MIB)
    assert isinstance(output.data, FileText)
    assert output.data[1_999_990:] == b"\0" * 10
    await output.close()
    await output.close()
    with pytest.raises(SourceUnavailable, match="cannot be read"):
        output.data[:1]


async def test_empty_output_is_empty(tmp_path: Path) -> None:
    """Nothing printed is an answer of its own."""
    assert len((await call(script(tmp_path, "exit 0"))).data) == 0


async def test_s8_a_failure_names_command_code_and_words(tmp_path: Path) -> None:
    """The message has what an operator needs, and at most 200 characters of what the command said."""
    with pytest.raises(CommandFailed) as caught:
        await call(script(tmp_path, "echo \"no way $(head -c 5000 /dev/zero | tr '\\0' x)\" >&2; exit 3"))
    assert str(caught.value).startswith("squeue failed with exit code 3: no way xxx")
    assert len(str(caught.value)) < 300
    assert caught.value.exit_code == 3


async def test_a_death_by_signal_is_a_failure(tmp_path: Path) -> None:
    """What it printed before is not believed."""
    with pytest.raises(CommandFailed, match="killed by signal 11") as caught:
        await call(script(tmp_path, "echo half; kill -SEGV $$"))
    assert caught.value.exit_code == -signal.SIGSEGV


async def test_s4_a_command_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    """At the deadline the whole group is gone."""
    text = f"sleep 60 & echo $! > {tmp_path}/child; echo $$ > {tmp_path}/self; trap '' TERM INT HUP; wait"
    with pytest.raises(CommandFailed, match=r"did not end within 1 s \(slurm.command_timeout\)"):
        await call(script(tmp_path, text), timeout_s=1.0)
    await gone(tmp_path / "self")
    await gone(tmp_path / "child")


async def test_s5_a_grandchild_that_keeps_the_output_open_does_not_hold_us_up(tmp_path: Path) -> None:
    """The command is over when it is over; what it left behind is ended, too."""
    text = f"sleep 600 & echo $! > {tmp_path}/child; echo done"
    output = await call(script(tmp_path, text), timeout_s=600.0)
    assert output.data[:] == b"done\n"
    await gone(tmp_path / "child")


async def left_behind(root: Path, size: int, act: str) -> CommandOutput:
    """Have a command print so many bytes; then let a process in a session of its own act on its output."""
    ready, go, done = (root / name for name in ("ready", "go", "done"))
    for fifo in ready, go, done:
        os.mkfifo(fifo)
    left = f"echo > {ready}; read x < {go}; {act}; echo > {done}"
    text = f"head -c {size} /dev/zero; setsid sh -c '{left}' & read x < {ready}; exit 0"
    output = await call(script(root, text), limit=8 * MIB)
    await anyio.to_thread.run_sync(go.write_text, "\n")
    await anyio.to_thread.run_sync(done.read_text)
    return output


async def test_s5_a_process_left_behind_that_truncates_a_large_output_fails_the_command_only(
    tmp_path: Path,
) -> None:
    """Reading what was truncated raises; were the file mapped, SIGBUS would end the daemon."""
    output = await left_behind(tmp_path, 5_000_000, ": > /proc/self/fd/1")
    with pytest.raises(SourceUnavailable, match="truncated"):
        output.data[4_000_000:4_000_010]
    with pytest.raises(SourceUnavailable, match="truncated"):
        output.data.find(b"x")


@pytest.mark.parametrize("size", [1000, 5_000_000])
async def test_s5_what_a_process_left_behind_appends_is_not_read(tmp_path: Path, size: int) -> None:
    """The output ends where it ended when its command did."""
    output = await left_behind(tmp_path, size, "echo more")
    assert len(output.data) == size
    assert output.data[:] == b"\0" * size
    assert output.data.find(b"m") == -1


async def test_s9_endless_output_ends_at_the_limit(tmp_path: Path) -> None:
    """The file stops growing at the limit and the answer is refused."""
    with pytest.raises(CommandFailed, match=r"more than 1048576 bytes \(slurm.output_limit\)") as caught:
        await call("yes", limit=MIB)
    assert caught.value.exit_code is None


async def test_s9_endless_complaints_end_at_the_limit(tmp_path: Path) -> None:
    """Standard error is bounded as well, and only its beginning is read."""
    with pytest.raises(CommandFailed) as caught:
        await call(script(tmp_path, "exec yes >&2"), limit=MIB)
    assert len(caught.value.stderr) <= 4096


async def test_s9_a_program_that_survives_the_limit_is_refused_too(tmp_path: Path) -> None:
    """Ignoring the signal and exiting 0 does not make a cut answer whole."""
    with pytest.raises(CommandFailed, match="more than"):
        await call(script(tmp_path, "trap '' XFSZ; head -c 3000000 /dev/zero 2>/dev/null; exit 0"), limit=MIB)


async def test_cancelling_ends_the_command(tmp_path: Path) -> None:
    """Nothing goes on running behind our back."""
    text = f"echo $$ > {tmp_path}/self; exec sleep 600"
    async with anyio.create_task_group() as group:
        group.start_soon(call, script(tmp_path, text))
        await written(tmp_path / "self")
        group.cancel_scope.cancel()
    await gone(tmp_path / "self")


def bearers(mark: str) -> list[int]:
    """Return the processes that have a mark in their environment."""

    def marked(process: Path) -> bool:
        try:
            return mark.encode() in (process / "environ").read_bytes()
        except OSError:
            return False

    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and marked(entry)]


@pytest.mark.parametrize("steps", range(12))
async def test_s4_cancelling_amid_the_start_leaves_nothing_behind(tmp_path: Path, steps: int) -> None:
    """However far the start has come, the command and its children are gone."""
    mark = f"MARK={tmp_path}"
    command = script(tmp_path, "sleep 600 & sleep 600")
    env = minimal_environment() | {"MARK": str(tmp_path)}
    async with anyio.create_task_group() as group:
        group.start_soon(partial(run, [command], timeout_s=600, output_limit=MIB, env=env))
        for _ in range(steps):
            await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    await until(lambda: not bearers(mark))


async def test_the_environment_is_ours_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No format, zone or secret of the daemon's environment reaches Slurm."""
    monkeypatch.setenv("SQUEUE_FORMAT", "%i")
    monkeypatch.setenv("TZ", "America/New_York")
    monkeypatch.setenv("CREDENTIAL_TOKEN", "canary")
    env = minimal_environment("/etc/other/slurm.conf")
    output = await run(["env"], timeout_s=20, output_limit=MIB, env=env)
    given = dict(line.split("=", 1) for line in output.text.splitlines())
    assert given == {
        "PATH": os.environ["PATH"],
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "SLURM_TIME_FORMAT": "%s",
        "SLURM_CONF": "/etc/other/slurm.conf",
    }
    assert "SLURM_CONF" not in minimal_environment()


async def test_a_command_has_no_input_and_no_descriptors_of_ours(tmp_path: Path) -> None:
    """It reads nothing, and inherits only the three standard descriptors."""
    ours = os.open(tmp_path / "secret", os.O_CREAT | os.O_RDWR)
    os.set_inheritable(ours, True)
    try:
        output = await call("/bin/sh", "-c", "cat; ls -l /proc/self/fd | grep -c secret; exit 0")
    finally:
        os.close(ours)
    assert output.text == "0\n"


@pytest.mark.parametrize("mode", [None, 0o644])
async def test_s18_a_missing_command_names_itself_and_the_setting(tmp_path: Path, mode: int | None) -> None:
    """Whoever reads the message knows what to do."""
    path = tmp_path / "sacct"
    if mode:
        path.write_text("#!/bin/sh\n")
        path.chmod(mode)
    with pytest.raises(SourceUnavailable, match=r"sacct cannot be started: .*; set slurm.bin_dir") as caught:
        await call(str(path))
    assert not isinstance(caught.value, CommandFailed)
    with pytest.raises(SourceUnavailable, match="PATH="):
        await call("a-command-that-nobody-has")


async def test_a_missing_directory_is_said() -> None:
    """A spool that cannot be made is no crash."""
    with pytest.raises(SourceUnavailable, match="no place for a command's output"):
        await run(["true"], timeout_s=5, output_limit=MIB, env=minimal_environment(), directory=NOWHERE)


async def test_no_name_is_on_disk_while_it_runs(tmp_path: Path) -> None:
    """The file of the output has no name that others could open."""
    spool = tmp_path / "spool"
    spool.mkdir()
    text = f"ls -A {spool}; stat -L -c %a /proc/self/fd/1"
    assert (await call(script(tmp_path, text), directory=spool)).text == "600\n"


def _always(answer: bool, _: SourceUnavailable) -> bool:
    return answer


async def test_what_is_asked_is_counted() -> None:
    """Calls, failures and seconds are counted by command; a failure that is an answer is none."""
    tally = CommandCosts()
    with tally.count("squeue", partial(_always, False)):
        pass
    for is_answer in (False, True):
        with pytest.raises(SourceUnavailable), tally.count("squeue", partial(_always, is_answer)):
            raise SourceUnavailable("x")
    with pytest.raises(KeyboardInterrupt), tally.count("squeue", partial(_always, False)):
        raise KeyboardInterrupt  # as a stop of the daemon's: no failure of Slurm's
    assert tally.commands["squeue"].calls == 4
    assert tally.commands["squeue"].failures == 1
    assert tally.commands["squeue"].seconds >= 0


async def test_each_command_is_a_debug_line(tmp_path: Path) -> None:
    """Its words as they may be typed, how long it took, what it printed and how it ended."""
    squeue = script(tmp_path, "printf 12345; exit 3")
    with capture_logs() as lines, pytest.raises(CommandFailed):
        await run([squeue, "-o", "%i %j"], timeout_s=20.0, output_limit=MIB, env={"PATH": os.environ["PATH"]})
    (line,) = lines
    assert line.pop("seconds") >= 0
    assert line == {
        "event": "slurm_command",
        "log_level": "debug",
        "command": f"{squeue} -o '%i %j'",
        "bytes": 5,
        "exit_code": 3,
    }


async def test_d1_an_answer_for_which_there_was_no_room_is_none(tmp_path: Path, full_disk: Path) -> None:
    """D1: Slurm's commands exit with 0 when the disk is full, and their answer lacks its end."""
    squeue = script(tmp_path, "head -c 200000 /dev/zero 2>&-; exit 0")
    with pytest.raises(
        SourceUnavailable, match=f"output in {full_disk}: No space left on device; make room"
    ) as raised:
        await call(squeue, directory=full_disk)
    assert raised.value.disk_full
    (full_disk / "filler").unlink()
    assert len((await call(squeue, directory=full_disk)).data) == 200_000


@pytest.fixture
def few_descriptors() -> Iterator[Callable[[int], None]]:
    """Leave so many descriptors to this process."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    held: list[int] = []

    def leave(count: int) -> None:
        top = os.open("/dev/null", os.O_RDONLY)
        held.append(top)
        while (low := os.open("/dev/null", os.O_RDONLY)) < top:
            held.append(low)
        os.close(low)
        resource.setrlimit(resource.RLIMIT_NOFILE, (low + count, before[1]))

    yield leave
    resource.setrlimit(resource.RLIMIT_NOFILE, before)
    for each in held:
        os.close(each)


@pytest.mark.parametrize("count", range(9))
async def test_p10_without_descriptors_a_command_fails_and_names_the_limit(
    tmp_path: Path, few_descriptors: Callable[[int], None], count: int
) -> None:
    """Whichever system call meets the limit, the command fails, and the daemon lives on."""
    command = script(tmp_path, "head -c 2000000 /dev/zero")
    few_descriptors(count)
    try:
        output = await call(command, limit=4 * MIB)
    except SourceUnavailable as err:
        assert re.search("Too many open files.*; raise LimitNOFILE", str(err))  # noqa: PT017 - or it succeeds
    else:
        assert count > 3
        assert len(output.data) == 2_000_000


RESTRICTED = """
import os, resource, sys
import anyio
from slurmsyncd.errors import SourceUnavailable
from slurmsyncd.logs import configure_logs
from slurmsyncd.sources.executors.local import minimal_environment, run

configure_logs("warning", "json")
anyio.run(anyio.run_process, "true")  # imports what the other user may not be able to read
kind, size, *argv = sys.argv[1:]
os.chdir("/")
os.setgroups([])
os.setgid(61999)
os.setuid(61999)
resource.setrlimit(getattr(resource, kind), (int(size), int(size)))

async def call():
    output = await run(argv, timeout_s=20, output_limit=2**22, env=minimal_environment())
    if kind == "RLIMIT_NPROC":
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
    await output.close()
    return len(output.data)

try:
    print("bytes:", anyio.run(call))
except SourceUnavailable as err:
    print(type(err).__name__, err)
"""


def restricted(kind: str, size: int, *argv: str) -> str:
    """Run a command of a daemon that is not root and has a limit."""
    start = [sys.executable, "-W", "ignore::ResourceWarning", "-c", RESTRICTED, kind, str(size), *argv]
    done = subprocess.run(start, capture_output=True, check=False, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


@as_root
def test_p10_without_tasks_a_command_fails_and_names_the_limit() -> None:
    """A fork that fails is the command's failure, and so is a thread that asyncio cannot start for it."""
    large = ("/usr/bin/head", "-c", "2000000", "/dev/zero")
    said = [restricted("RLIMIT_NPROC", count, *large) for count in (1, 2, 9)]
    assert re.search("Resource temporarily unavailable .*; raise TasksMax", said[0])
    assert said[1] == said[2] or "can't start new thread; raise TasksMax" in said[1]
    assert said[2] == "bytes: 2000000"


@as_root
def test_s9_a_file_size_limit_of_the_daemon_is_named_when_it_is_met() -> None:
    """The daemon's own limit below the configured one cannot be raised, and ends no daemon."""
    assert restricted("RLIMIT_FSIZE", 65536, "/bin/echo", "done") == "bytes: 5"
    said = restricted("RLIMIT_FSIZE", 65536, "/usr/bin/head", "-c", "100000", "/dev/zero")
    assert said.startswith("CommandFailed head printed more than 65536 bytes (LimitFSIZE")
