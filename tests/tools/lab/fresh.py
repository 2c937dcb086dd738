"""
The two commands of the README in a fresh clone, on a Debian that has never seen the project.

Run as a script: ``python -m tests.tools.lab.fresh SUITE``. The system is a chroot of its own each time.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.paths import ROOT
from tests.tools.lab import chroots, packages
from tests.tools.lab.releases import CACHE

#: What the README asks for, and what every installed Debian has.
ASKED_FOR = ("git", "make", "python3", "ca-certificates")
CLONE = "/root/slurmsyncd"
COMMANDS = ("make demo DEMO_ARGS='--duration 30'", """make test PYTEST_ARGS="-m 'not real_slurm'" """)
_ENVIRONMENT = (
    "HOME=/root",
    "LANG=C.UTF-8",
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
)
#: Certificates that this machine trusts besides Debian's, where a company's proxy needs one.
_CERTIFICATES = Path("usr/local/share/ca-certificates")


def main(suite: str) -> int:
    """Make the system, run both commands in mounts that only they see, and remove it."""
    base = CACHE / f"{suite}-bare"
    CACHE.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=f"{suite}-fresh.", dir=CACHE))
    try:
        root = place / "root"
        with chroots.smallest(suite, base):
            subprocess.run(["cp", "-a", str(base), str(root)], check=True)
        shutil.copytree("/" / _CERTIFICATES, root / _CERTIFICATES, dirs_exist_ok=True)
        subprocess.run(["git", "clone", "-q", str(ROOT), f"{root}{CLONE}"], check=True)
        inside = [sys.executable, "-m", "tests.tools.lab.fresh", "--inside", str(root)]
        return subprocess.run(["unshare", "--mount", *inside], cwd=ROOT, check=False).returncode
    finally:
        subprocess.run(["rm", "-rf", "--one-file-system", str(place)], check=True)


def run(root: Path) -> int:
    """Run the commands; the first that fails is the last."""
    chroots.furnish(root)
    packages.install(ASKED_FOR, root)
    for command in COMMANDS:
        packages.say(f"{root}: {command}")
        argv = ["chroot", str(root), "env", "-i", *_ENVIRONMENT, *shlex.split(command), "-C", CLONE]
        if status := subprocess.run(argv, stdin=subprocess.DEVNULL, check=False).returncode:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[2])) if sys.argv[1] == "--inside" else main(sys.argv[1]))
