"""Run one command to its end, whatever it does: deadline, output limit, no shell, no pipes."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import shlex
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Final

import anyio
import structlog

from slurmsyncd.errors import SourceUnavailable
from slurmsyncd.slurm.scalars import printable
from slurmsyncd.sources.output import CommandOutput, read_output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from anyio.abc import Process

log = structlog.get_logger(__name__)

_STDERR_LIMIT: Final = 4096
_REAP_S: Final = 5.0
#: Bytes for which there has to be room when a command has ended; what was free a moment ago may be used.
_ROOM: Final = 65536
_MORE_TASKS: Final = "raise TasksMax of slurmsyncd.service"
_REMEDIES: Final = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EMFILE: "raise LimitNOFILE of slurmsyncd.service",
    errno.ENFILE: "raise fs.file-max of this host",
    errno.EAGAIN: _MORE_TASKS,
    errno.ENOMEM: "free memory of this host",
    errno.E2BIG: "lower slurm.batch",
}
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class CommandFailed(SourceUnavailable):
    """
    A command ran and did not succeed.

    Attributes:
        exit_code: None if it was killed.
        stderr: What it said, printable.
    """

    def __init__(self, message: str, *, exit_code: int | None, stderr: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.stderr = stderr


@dataclass(slots=True)
class CommandTally:
    """What one command has cost so far."""

    calls: int = 0
    failures: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class CommandCosts:
    """What all commands of a source have cost so far, by name; for metrics."""

    commands: dict[str, CommandTally] = field(default_factory=dict)

    @contextlib.contextmanager
    def count(self, name: str, is_answer: Callable[[SourceUnavailable], bool]) -> Iterator[None]:
        """Count one call of a command, and its failure unless that is an answer, too."""
        tally = self.commands.setdefault(name, CommandTally())
        tally.calls += 1
        began = time.monotonic()
        try:
            yield
        except SourceUnavailable as err:
            tally.failures += not is_answer(err)
            raise
        finally:
            tally.seconds += time.monotonic() - began


def minimal_environment(slurm_conf: str = "") -> dict[str, str]:
    """
    Return the environment of every command: nothing of ours but PATH.

    Times come as epoch seconds (``SLURM_TIME_FORMAT``), so no zone and no DST can bend them; without our
    environment no SQUEUE_FORMAT or SACCT_FORMAT can change an answer.
    """
    environment = {
        "PATH": os.environ.get("PATH") or _DEFAULT_PATH,
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "SLURM_TIME_FORMAT": "%s",
    }
    return environment | {"SLURM_CONF": slurm_conf} if slurm_conf else environment


async def run(
    argv: Sequence[str],
    *,
    timeout_s: float,
    output_limit: int,
    env: Mapping[str, str],
    directory: Path | None = None,
) -> CommandOutput:
    """
    Run a command and give what it printed.

    Output goes to an unlinked file, not a pipe: a grandchild that keeps it open cannot hold us up, and
    endless output ends at the file size limit instead of in our memory. The whole process group is gone
    when this returns, also when it is cancelled.

    Args:
        argv: No shell is involved.
        timeout_s: Seconds until the group is killed.
        output_limit: Bytes that it may print.
        env: Its whole environment.
        directory: Where the file is made; None for the system's choice.

    Raises:
        CommandFailed: It exited non-zero, was killed, or met a limit.
        SourceUnavailable: It could not be started, or the system has no room, descriptor or task for it.
    """
    limit, began = _limit(output_limit), time.monotonic()
    with _as_its_failure(argv), _spool(directory) as out, _spool(directory) as err:
        process = await _start(argv, env, out, err)
        in_time = False
        try:
            _limit_output(process.pid, limit.size)
            with anyio.move_on_after(timeout_s):
                await process.wait()
                in_time = True
        finally:
            await _end_group(process)
        stderr = printable(os.pread(err.fileno(), _STDERR_LIMIT, 0), _STDERR_LIMIT)
        size = os.fstat(out.fileno()).st_size
        log.debug(
            "slurm_command",
            command=shlex.join(argv),
            seconds=round(time.monotonic() - began, 3),
            bytes=size,
            exit_code=process.returncode,
        )
        _require_room(out.fileno(), size, directory)
        reason = _failure(process.returncode, in_time, size, timeout_s, limit)
        if reason:
            code = process.returncode if in_time and size < limit.size else None
            said = f": {stderr[:200]}" if stderr else ""
            raise CommandFailed(f"{_name(argv)} {reason}{said}", exit_code=code, stderr=stderr)
        return read_output(out.fileno(), stderr)


@contextlib.contextmanager
def _as_its_failure(argv: Sequence[str]) -> Iterator[None]:
    """Make a system call that fails for one command that command's failure, whatever call it is."""
    try:
        yield
    except OSError as err:
        raise SourceUnavailable(f"{_name(argv)}: {_said(err)}", disk_full=err.errno in _FULL) from err


def _spool(directory: Path | None) -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(dir=directory, buffering=0)
    except OSError as err:
        raise SourceUnavailable(_no_place(err, directory), disk_full=err.errno in _FULL) from err


def _require_room(file: int, size: int, directory: Path | None) -> None:
    """
    See that there is room for more than what was printed, and give that back.

    Slurm's commands exit with 0 though they could not write all that they had to say: on a full disk an
    answer that lacks its end would be taken for whole.
    """
    try:
        os.posix_fallocate(file, size, _ROOM)
    except OSError as err:
        if err.errno in _FULL:
            raise SourceUnavailable(_no_place(err, directory), disk_full=True) from err
    os.ftruncate(file, size)


def _no_place(err: OSError, directory: Path | None) -> str:
    return f"no place for a command's output in {directory or tempfile.gettempdir()}: {_said(err)}"


def _said(err: OSError) -> str:
    remedy = _REMEDIES.get(err.errno or 0)
    return f"{err.strerror or err}; {remedy}" if remedy else f"{err.strerror or err}"


async def _start(argv: Sequence[str], env: Mapping[str, str], out: IO[bytes], err: IO[bytes]) -> Process:
    try:
        # Cancelled amid its start, a process would live on with nobody to end its group.
        with anyio.CancelScope(shield=True):
            process = await anyio.open_process(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=env,
                start_new_session=True,
            )
    except OSError as problem:
        where = f"in PATH={env['PATH']}" if "/" not in argv[0] else f"({argv[0]})"
        remedy = _REMEDIES.get(problem.errno or 0, "set slurm.bin_dir to the directory of Slurm's commands")
        raise SourceUnavailable(
            f"{_name(argv)} cannot be started: {problem.strerror} {where}; {remedy}"
        ) from problem
    except RuntimeError as problem:  # no thread, which asyncio of Python 3.11 and older has for each command
        raise SourceUnavailable(f"{_name(argv)} cannot be started: {problem}; {_MORE_TASKS}") from problem
    return process


@dataclass(frozen=True, slots=True)
class _Limit:
    """Bytes that a command may print, and which setting says so."""

    size: int
    setting: str


def _limit(output_limit: int) -> _Limit:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if hard != resource.RLIM_INFINITY and hard < output_limit:  # the command inherits it
        return _Limit(hard, "LimitFSIZE of slurmsyncd.service")
    return _Limit(output_limit, "slurm.output_limit")


def _limit_output(pid: int, size: int) -> None:
    # Set from outside: code between fork and exec would cost a slow and unsafe path of subprocess.
    with contextlib.suppress(ProcessLookupError):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, size))


async def _end_group(process: Process) -> None:
    # Also after a good end: what it left behind in its group is not ours to feed.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    # A process in uninterruptible sleep does not die; it must not take us along.
    with anyio.move_on_after(_REAP_S, shield=True):
        await process.wait()


def _failure(code: int | None, in_time: bool, size: int, timeout_s: float, limit: _Limit) -> str | None:
    if size >= limit.size or code == -signal.SIGXFSZ:
        return f"printed more than {limit.size} bytes ({limit.setting})"
    if not in_time:
        return f"did not end within {timeout_s:g} s (slurm.command_timeout)"
    if code is not None and code < 0:
        return f"was killed by signal {-code}"
    return f"failed with exit code {code}" if code else None


def _name(argv: Sequence[str]) -> str:
    return argv[0].rpartition("/")[2]
