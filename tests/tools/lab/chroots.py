"""
Directories with another Debian release and its Slurm, made by debootstrap and kept between runs.

Run as a script, in a process and with mounts of its own: ``unshare --mount python -m tests.tools.lab.chroots SUITE DIRECTORY``,
and one word more for a system that can be booted.
"""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.tools.lab import packages

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Suites that Debian's own debootstrap may not know yet are made as the one that always exists.
ANY_SUITE = Path("/usr/share/debootstrap/scripts/sid")
PYTHON = ("python3",)  # for the hook
SYSTEMD = ("systemd-sysv", "dbus")
#: Packages that a guide has its reader install: kept beside the lists, so that apt installs them without a network.
TO_INSTALL = ("python3-venv",)


def make(suite: str, directory: Path, *, bootable: bool = False) -> None:
    """Make a chroot, or complete one; for a system to boot with systemd, and with packages to install in it."""
    with smallest(suite, directory):
        wanted = (*packages.SLURM, *PYTHON)
        if packages.missing(wanted, directory):
            furnish(directory)
            packages.install(wanted, directory)
            for waste in (
                *directory.glob("var/lib/apt/lists/*"),
                *directory.glob("var/cache/apt/archives/*.deb"),
            ):
                shutil.rmtree(waste) if waste.is_dir() else waste.unlink()
        kept = directory / "var/cache/apt/archives"
        if bootable and not all([*kept.glob(f"{name}_*.deb")] for name in TO_INSTALL):
            furnish(directory)
            packages.install(SYSTEMD, directory)
            packages.download(TO_INSTALL, directory)


@contextmanager
def smallest(suite: str, directory: Path) -> Iterator[None]:
    """Have at least the smallest system in a directory, and nobody else change it during the block."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with Path(f"{directory}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.exists():
            _bootstrap(suite, directory)
        yield


def _bootstrap(suite: str, directory: Path) -> None:
    """Make the smallest system; under its name once it is whole."""
    packages.install(("debootstrap", "eatmydata"))
    packages.say(f"making Debian {suite} in {directory}")
    partial = Path(f"{directory}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    call = ["eatmydata", "debootstrap", "--variant=minbase", suite, str(partial)]
    if mirror := _mirror():
        call += [mirror, str(ANY_SUITE)]
    done = subprocess.run(call, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        packages.say("\n".join((done.stdout + done.stderr).splitlines()[-10:]))
        done.check_returncode()
    partial.rename(directory)


def _mirror() -> str:
    """return the mirror that this machine itself uses; empty: debootstrap's own choice."""
    sources = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*.*"))]
    text = "\n".join(source.read_text() for source in sources if source.exists())
    found = re.search(r"^(?:URIs:|deb(?: \[.*?\])?)\s+(https?://\S+/debian)/?\s", text, re.MULTILINE)
    return found[1] if found else ""


def furnish(root: Path) -> None:
    """Mount what packages want when they are installed, and let names be resolved."""
    for argv in (
        ["mount", "--make-rprivate", "/"],
        ["mount", "-t", "proc", "proc", f"{root}/proc"],
        ["mount", "--rbind", "/dev", f"{root}/dev"],
    ):
        subprocess.run(argv, check=True)
    for name in ("resolv.conf", "hosts"):
        shutil.copyfile(f"/etc/{name}", root / "etc" / name)


if __name__ == "__main__":
    make(sys.argv[1], Path(sys.argv[2]), bootable=len(sys.argv) > 3)
