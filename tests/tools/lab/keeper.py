"""
Keeps the lab's processes, and takes everything away when its standard input closes.

The parent (pytest) may end by returning, by Ctrl-C or by SIGKILL: its end of the pipe closes in each case.
The keeper is a session of its own, so that Ctrl-C does not reach it, and a subreaper: whatever its daemons
leave behind (slurmstepd and the jobs detach themselves) becomes its child, is found and is killed.

One JSON object a line comes in, one goes out for each. Standard library only; started as a script.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

PR_SET_CHILD_SUBREAPER = 36
CLONE_NEWNS = 0x00020000
SWEEP_S = 30.0

_libc = ctypes.CDLL(None, use_errno=True)
_ended: dict[int, int] = {}
_locks: list[socket.socket] = []
_rubbish: list[str] = []


def main() -> None:
    """Answer requests until the input closes, then clear up."""
    _must(_libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
    signal.signal(signal.SIGCHLD, _reap)
    signal.signal(signal.SIGTERM, _leave)
    for harmless in (signal.SIGINT, signal.SIGHUP):
        signal.signal(harmless, signal.SIG_IGN)
    try:
        for line in sys.stdin:
            sys.stdout.write(json.dumps(_answer(json.loads(line))) + "\n")
            sys.stdout.flush()
    except BrokenPipeError:
        pass  # the parent is gone before it read the answer
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _sweep()
        _clear()


def _answer(request: dict[str, Any]) -> Any:
    """Do what is asked; an error goes back as text."""
    actions: dict[str, Callable[..., Any]] = {
        "claim": _claim,
        "isolate": _isolate,
        "spawn": _spawn,
        "signal": _signal,
        "ended": _ended.get,
        "remove_at_end": _rubbish.append,
    }
    try:
        return {"result": actions[request["do"]](*request["args"])}
    except OSError as error:
        return {"error": f"{request['do']}: {error}"}


def _claim(name: str) -> bool:
    """Take the one lab of this name on the machine; the kernel gives it back when we end."""
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        lock.bind(f"\0slurmsyncd-lab-{name}")
    except OSError:
        lock.close()
        return False
    _locks.append(lock)
    return True


def _isolate() -> None:
    """See mounts that nobody else sees, and that end with our last process."""
    _must(_libc.unshare(CLONE_NEWNS))


def _spawn(argv: list[str], env: dict[str, str], output: str) -> int:
    """
    Start a process in a session of its own; its output is appended to a file.

    Numbers of processes come again, and of the thousands that end here one may have had this number: how that
    one ended is forgotten before the new one's end can be noted.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    try:
        pid = os.posix_spawnp(
            argv[0],
            argv,
            env,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, output, flags, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGINT, signal.SIGHUP, signal.SIGPIPE],
        )
        _ended.pop(pid, None)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    return pid


def _signal(pid: int, number: int) -> bool:
    """Signal a process of ours; False if it has ended (its pid may be another's by now)."""
    if pid in _ended:
        return False
    os.kill(pid, number)
    return True


def _reap(*_: object) -> None:
    """Note how each ended child ended."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _ended[pid] = os.waitstatus_to_exitcode(status)


def _leave(*_: object) -> NoReturn:
    sys.exit(1)


def _sweep() -> None:
    """Kill every descendant; again, until none is left, for they may still be forking."""
    deadline = time.monotonic() + SWEEP_S
    while victims := _descendants(os.getpid()):
        if time.monotonic() > deadline:
            sys.stderr.write(f"the lab's processes {victims} do not end\n")
            return
        for pid in victims:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.02)
        _reap()


def _descendants(root: int) -> list[int]:
    """Children, grandchildren and so on; no zombies of others in between."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = stat.read_text(errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(stat.parent.name)] = int(after_name[1])
    family = {root}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return sorted(family - {root})


def _clear() -> None:
    """Remove what was named for it, the last first."""
    for name in reversed(_rubbish):
        path = Path(name)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _must(result: int) -> None:
    """Turn libc's -1 into an exception."""
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    main()
