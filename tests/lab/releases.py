"""The Slurm releases that the lab can bring up, and where on the machine each of them is."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.lab import packages
from tests.lab.waiting import LabError


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

    def why_not(self) -> str | None:
        """Say why this release cannot be brought up here; None if it can."""
        if reason := packages.why_not():
            return reason
        return None if self.native else f"this machine is not Debian {self.suite}"

    def install(self) -> None:
        """
        Install what is missing of it.

        Raises:
            LabError: It did not work out; apt's words are on the terminal.
        """
        done = subprocess.run(
            [sys.executable, packages.__file__],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            check=False,
        )
        if done.returncode:
            raise LabError(f"the packages of Slurm {self.version} could not be installed; see above")


BOOKWORM = Release("22.05", "bookworm", cgroup_plugin="cgroup/v1")  # it cannot be disabled yet


def _codename() -> str:
    """Name of this machine's Debian release; empty elsewhere."""
    release = Path("/etc/os-release")
    lines = release.read_text().splitlines() if release.exists() else []
    fields = dict(line.split("=", 1) for line in lines if "=" in line)
    return fields.get("VERSION_CODENAME", "").strip('"') if fields.get("ID") == "debian" else ""
