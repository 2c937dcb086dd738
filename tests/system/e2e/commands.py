"""Slurm's commands as the daemon finds them, each of which notes that it was called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.tools.lab.lab import COMMANDS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.tools.lab import Lab

_SCRIPT = '#!/bin/sh\necho {name} >>{calls}\nexec {real}/{name} "$@"\n'


class Commands:
    """
    A directory for `slurm.bin_dir`.

    Attributes:
        bin_dir: It.
    """

    def __init__(self, lab: Lab, directory: Path) -> None:
        self.bin_dir = directory
        self._calls = directory / "calls"
        directory.mkdir()
        self._calls.touch()
        for name in COMMANDS:
            script = directory / name
            script.write_text(_SCRIPT.format(name=name, calls=self._calls, real=lab.bin_dir))
            script.chmod(0o755)

    def count(self, *names: str) -> int:
        """Count the calls so far: of these commands, or of all."""
        called = self._calls.read_text().split()
        return sum(name in names for name in called) if names else len(called)
