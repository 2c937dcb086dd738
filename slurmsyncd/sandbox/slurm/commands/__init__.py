"""The commands: what the executables written by ``install`` call. Each process answers one question."""

from __future__ import annotations

import importlib
import os

from slurmsyncd.sandbox.slurm.commands.apply_faults import misbehave
from slurmsyncd.sandbox.slurm.commands.invocation import CommandError, Invocation, OutputCut
from slurmsyncd.sandbox.slurm.release_format import ReleaseFormat
from slurmsyncd.sandbox.slurm.state import State


def main(command: str, state_dir: str, release: str, argv: list[str]) -> int:
    """
    Run one command of Slurm.

    Returns:
        Its exit status.
    """
    shape = ReleaseFormat(release)
    state = State(state_dir)
    answer = Invocation(command, state, shape, argv)
    try:
        status = _run(answer)
        answer.flush()
    except BrokenPipeError:  # the reader has gone, as with SIGPIPE
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    finally:
        state.close()
    return status


def _run(answer: Invocation) -> int:
    if answer.argv in (["--version"], ["-V"]):
        answer.write(f"slurm-wlm {answer.shape.version}\n")
        return 0
    try:
        misbehave(answer)
        run = importlib.import_module("slurmsyncd.sandbox.slurm.commands." + answer.command).run
        return int(run(answer))
    except CommandError as refused:
        answer.complain(refused.message)
        return refused.status
    except OutputCut:
        return 0
