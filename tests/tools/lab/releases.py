"""The Slurm releases that the lab can bring up, and where on the machine each of them is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.paths import ROOT
from tests.tools.lab import packages
from tests.tools.lab.places import MACHINE, can_mount
from tests.tools.lab.waiting import LabError

#: Chroots are kept here: each takes a minute to make and 600 MB.
CACHE = Path(os.environ.get("SLURMSYNCD_LAB_CACHE", "/var/cache/slurmsyncd-lab"))


@dataclass(frozen=True, slots=True)
class Release:
    """
    A Slurm release as a Debian suite has it.

    Attributes:
        version: Slurm's release, ``22.05``.
        suite: The Debian suite that has it.
        cgroup_plugin: One that needs no cgroup: looking for one by itself, slurmd does not start where there is none.
    """

    version: str
    suite: str
    cgroup_plugin: str = "disabled"

    @property
    def cluster(self) -> str:
        """What the lab calls the cluster."""
        return "lab" + self.version.replace(".", "")

    @property
    def native(self) -> bool:
        """Whether this machine's own packages are of this suite."""
        return _codename() == self.suite

    @property
    def root(self) -> Path:
        """Root directory of its files: the machine's, or that of a chroot that is kept between runs."""
        return MACHINE if self.native else CACHE / self.suite

    def why_not(self) -> str | None:
        """Return why this release cannot be brought up here; None if it can."""
        if reason := packages.why_not():
            return reason
        if self.native or can_mount():
            return None
        return f"this machine is not Debian {self.suite}, and nothing can be mounted here for a chroot"

    def install(self) -> None:
        """
        Install what is missing of it.

        Raises:
            LabError: It did not work out; apt's words are on the terminal.
        """
        done = subprocess.run(
            [sys.executable, packages.__file__] if self.native else self._chroot_maker(),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            check=False,
        )
        if done.returncode:
            raise LabError(f"the packages of Slurm {self.version} could not be installed; see above")
        if not self.native:
            for name in ("hosts", "resolv.conf"):  # the daemons listen on what the host's name resolves to
                shutil.copyfile(f"/etc/{name}", self.root / "etc" / name)

    def _chroot_maker(self) -> list[str]:
        script = [sys.executable, "-m", "tests.tools.lab.chroots"]
        return ["unshare", "--mount", *script, self.suite, str(self.root)]


BOOKWORM = Release("22.05", "bookworm", cgroup_plugin="cgroup/v1")  # it cannot be disabled yet
TRIXIE = Release("24.11", "trixie")
FORKY = Release("26.05", "forky")


def _codename() -> str:
    """Name of this machine's Debian release; empty elsewhere."""
    release = Path("/etc/os-release")
    lines = release.read_text().splitlines() if release.exists() else []
    fields = dict(line.split("=", 1) for line in lines if "=" in line)
    return fields.get("VERSION_CODENAME", "").strip('"') if fields.get("ID") == "debian" else ""
