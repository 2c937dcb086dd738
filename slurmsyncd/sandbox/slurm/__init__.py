"""
A simulated Slurm: squeue, sacct, scontrol, sinfo and sacctmgr over one shared state.

A peer, not a part, of the daemon.
Imports next to nothing here: every command the daemon runs passes through this module.
"""

# Importing pathlib would cost each command a fifth of its time.
# ruff: noqa: PTH100, PTH101, PTH103, PTH118, PTH120, PTH123

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import slurmsyncd

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = ("squeue", "sacct", "scontrol", "sinfo", "sacctmgr")
SHAPES = ("22.05", "24.11", "26.05")

# sh, since the first line of a script may hold no blanks and be no longer than 127 bytes.
# exec keeps the process id, so a caller that kills the command kills Python.
_WRAPPER = """#!/bin/sh
exec {python} -IS -c {code} "$@"
"""
_CODE = """import sys
sys.path.insert(0, {root!r})
from slurmsyncd.sandbox.slurm.commands import main
sys.exit(main({command!r}, {state!r}, {shape!r}, sys.argv[1:]))
"""


def install(bin_dir: Path | str, state_dir: Path | str, shape: str) -> None:
    """
    Write the commands as executables that need nothing of their environment.

    Args:
        bin_dir: Where to; made if it is missing.
        state_dir: Of the Simulation whose jobs they show.
        shape: Release whose output they print, one of ``SHAPES``.

    Raises:
        ValueError: Unknown shape.
    """
    if shape not in SHAPES:
        raise ValueError(f"shape {shape!r}: not one of {', '.join(SHAPES)}")
    os.makedirs(bin_dir, exist_ok=True)
    root = os.path.dirname(os.path.dirname(os.path.abspath(slurmsyncd.__file__)))
    for command in COMMANDS:
        code = _CODE.format(root=root, command=command, state=os.path.abspath(state_dir), shape=shape)
        path = os.path.join(bin_dir, command)
        with open(path, "w", encoding="utf-8") as file:
            file.write(_WRAPPER.format(python=_quoted(sys.executable), code=_quoted(code)))
        os.chmod(path, 0o755)  # noqa: S103 - a command that anybody may run


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
