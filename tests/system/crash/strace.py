"""A script under strace, which puts a signal, an error or a wrong result in place of its n-th system call."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from functools import cache
from typing import TYPE_CHECKING

from tests.system.crash.script import LASTRUN

if TYPE_CHECKING:
    from pathlib import Path

#: Calls that change something, or get at what will be changed. A name with ? is not on every machine.
CALLS = (
    *("openat", "?open", "?mkdir", "mkdirat", "write", "pwrite64", "fallocate", "ftruncate"),
    *("fsync", "fdatasync", "?rename", "?renameat", "renameat2", "?unlink", "unlinkat", "utimensat"),
)
_STORE = "store.sqlite"
_FILES = (
    *(_STORE + suffix for suffix in ("", "-wal", "-journal", ".new", ".new-journal", ".probe")),
    *("store.id", "store.reserve", LASTRUN, ""),
)
_CALL = re.compile(r"^\d+ +(\w+)\(", re.MULTILINE)


@cache
def why_not() -> str:
    """Why nothing can be traced here; empty if it can."""
    if shutil.which("strace") is None:
        return "needs strace"
    done = subprocess.run(
        ["strace", "-f", "--seccomp-bpf", "-qq", "-e", "inject=fsync:retval=0:when=1", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"strace cannot trace here: {done.stderr.strip()[:200]}" if done.returncode else ""


def run(name: str, directory: Path, inject: str = "") -> subprocess.CompletedProcess[str]:
    """
    Run a script, ``inject`` being strace's ``CALL:WHAT:when=N``; the calls made are in ``stderr``.

    Only calls on the state directory's own files count, so that N is the same in every run, whatever
    Python's start has to open.
    """
    paths = [str(directory / file) if file else str(directory) for file in _FILES]
    log = directory.with_name(f"{directory.name}.strace")
    # Stopping at no other calls is faster; strace 6.1 then sends no signals, though.
    fast = () if "signal=" in inject else ("--seccomp-bpf",)
    return subprocess.run(
        [
            *("strace", "-f", *fast, "-qq", "-o", log, "-e", f"trace={','.join(CALLS)}"),
            *(part for path in paths for part in ("-P", path)),
            *(("-e", f"inject={inject}") if inject else ()),
            *(sys.executable, "-m", "tests.system.crash.script", name, directory),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )


def calls(name: str, directory: Path) -> list[str]:
    """Return the calls that an undisturbed script makes, in order."""
    done = run(name, directory)
    assert done.returncode == 0, done.stdout + done.stderr
    return _CALL.findall(directory.with_name(f"{directory.name}.strace").read_text())
