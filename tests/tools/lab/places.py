"""Where a lab's programs run: on the machine as it is, or among mounts that only they see, in a chroot or not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.tools.lab.waiting import LabError, succeeds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.tools.lab.processes import Keeper

MACHINE = Path("/")


@dataclass(frozen=True, slots=True)
class Place:
    """
    Where a lab's programs run.

    Attributes:
        root: Root directory of the release's files.
        namespace: The mounts that its programs see; empty: the machine's.
    """

    root: Path = MACHINE
    namespace: str = ""

    def inside(self, *argv: str) -> list[str]:
        """Command line for a child of the keeper, which is among those mounts already."""
        return list(argv) if self.root == MACHINE else ["chroot", str(self.root), *argv]

    def outside(self, *argv: str, user: str = "root") -> list[str]:
        """Command line for anybody else who is root."""
        enter = ["nsenter", f"--mount={self.namespace}", "--"] if self.namespace else []
        become = [] if user == "root" else ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
        return [*enter, *self.inside(*become, *argv)]

    def write_commands(self, directory: Path, names: Sequence[str]) -> Path:
        """Write Slurm's commands for programs on this machine, and return the directory that has them."""
        if not self.namespace:
            return Path("/usr/bin")
        for name in names:
            command = directory / name
            # chroot is in a directory that the PATH of a service need not have.
            run = " ".join(self.outside(f"/usr/bin/{name}"))
            command.write_text(f'#!/bin/sh\nPATH="$PATH:/usr/sbin:/sbin"\nexec {run} "$@"\n')
            command.chmod(0o755)
        return directory


def can_mount() -> bool:
    """Whether we may mount; root in a container often may not."""
    return succeeds(["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"])


def furnish(keeper: Keeper, root: Path) -> Place:
    """
    Return the keeper mounts of its own, that end with its last process.

    /run is its own, so that neither munge's socket, which has one place, nor its kin meet the machine's. Where
    we may not mount, the machine itself has to do, and the keeper stays among its mounts: else nobody else's
    would be seen there.

    Raises:
        LabError: A chroot cannot be furnished.
    """
    if root == MACHINE and not can_mount():
        return Place()
    try:
        keeper.ask("isolate")
        for argv in _mounts(root):
            keeper.call(*argv)
    except LabError:
        if root != MACHINE:
            raise
        return Place()
    return Place(root, f"/proc/{keeper.pid}/ns/mnt")


def _mounts(root: Path) -> Iterator[tuple[str, ...]]:
    yield "mount", "--make-rprivate", "/"
    if root != MACHINE:
        yield "mount", "-t", "proc", "proc", f"{root}/proc"
        for shared in ("dev", "sys", "tmp"):  # one path to the lab's directory, on both sides
            yield "mount", "--rbind", f"/{shared}", f"{root}/{shared}"
    yield "mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", f"{root}/run"
