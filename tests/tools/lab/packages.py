"""
Debian packages, installed so that no service starts and nothing else on the machine changes.

Run as a script (``python tests/tools/lab/packages.py``) it installs what the tests need. It is always run in a
process of its own: apt, once begun, ends well even if the tests are stopped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: slurm-wlm-plugins is left out: it draws in elasticsearch, hdf5, influxdb and more. JSON works without.
SLURM = (
    "slurmctld",
    "slurmd",
    "slurmdbd",
    "slurm-client",
    "slurm-wlm-basic-plugins",
    "slurm-wlm-mysql-plugin",
    "munge",
    "mariadb-server",
)
LOCK_WAIT_S = 300


def why_not() -> str | None:
    """Return why no package can be installed here; None if it can."""
    if sys.platform != "linux":
        return "this is not Linux"
    if os.geteuid() != 0:
        return "not root"
    if not shutil.which("apt-get"):
        return "no apt-get on this machine"
    return None


def missing(names: Sequence[str], root: Path = Path("/")) -> list[str]:
    """Those of the packages that are not installed; all where that cannot be told."""
    if not shutil.which("dpkg-query"):
        return list(names)
    query = ["dpkg-query", f"--admindir={root}/var/lib/dpkg", "-W", "-f", "${Package} ${db:Status-Status}\n"]
    done = subprocess.run([*query, *names], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    there = {line.split()[0] for line in done.stdout.decode().splitlines() if line.endswith(" installed")}
    return [name for name in names if name not in there]


def install(names: Sequence[str], root: Path = Path("/")) -> None:
    """
    Install what is missing of the packages, on the machine or in a chroot.

    Raises:
        subprocess.CalledProcessError: apt failed, also with fresh lists; it has said why.
    """
    if not (wanted := missing(names, root)):
        return
    say(f"installing {', '.join(wanted)}")
    with _nothing_starts(root):
        if _apt(root, "install", "--no-install-recommends", *wanted).returncode:
            _update(root)
            _apt(root, "install", "--no-install-recommends", *wanted).check_returncode()


def download(names: Sequence[str], root: Path) -> None:
    """
    Have apt in a chroot keep packages and what they need, with lists of today, to be installed there later.

    Raises:
        subprocess.CalledProcessError: apt failed; it has said why.
    """
    say(f"downloading {', '.join(names)}")
    _update(root)
    _apt(root, "install", "--no-install-recommends", "--download-only", *names).check_returncode()


def say(words: str) -> None:
    """Tell the terminal, also under pytest's capture, since this takes its time."""
    sys.stderr.write(f"lab: {words}\n")
    sys.stderr.flush()


def _update(root: Path) -> None:
    """Fetch the package lists; unlike dpkg's lock, apt does not wait for the one on the lists."""
    deadline = time.monotonic() + LOCK_WAIT_S
    while (done := _apt(root, "update")).returncode:
        if "Could not get lock" not in done.stdout or time.monotonic() > deadline:
            done.check_returncode()
        time.sleep(2)


def _apt(root: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run apt-get, quiet unless it fails."""
    within = [] if root == Path("/") else ["chroot", str(root)]
    options = [
        "-y",
        "-q",
        "-o",
        f"DPkg::Lock::Timeout={LOCK_WAIT_S}",
        "-o",
        "Acquire::Check-Valid-Until=false",
    ]
    done = subprocess.run(
        [*within, "apt-get", *options, *args],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        say(f"apt-get {args[0]}: exit {done.returncode}: " + "\n".join(done.stdout.splitlines()[-15:]))
    return done


@contextmanager
def _nothing_starts(root: Path) -> Iterator[None]:
    """Forbid packages to start services for this while; a policy that is there comes back afterwards."""
    policy, aside = root / "usr/sbin/policy-rc.d", root / "usr/sbin/policy-rc.d.slurmsyncd-lab"
    if policy.exists():
        policy.rename(aside)
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()
        if aside.exists():
            aside.rename(policy)


if __name__ == "__main__":
    names = sys.argv[1:] or SLURM
    if missing(names) and (reason := why_not()):
        sys.exit(f"cannot install {' '.join(missing(names))} ({reason}): please do so, or try again as root")
    install(names)
