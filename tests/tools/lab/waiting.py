"""Waiting for a condition, with a deadline, and running a command with one."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")


class LabError(Exception):
    """The lab did not do what it was asked to; the message says what was seen instead."""


def until(condition: Callable[[], T], what: str, *, timeout_s: float, every_s: float = 0.1) -> T:
    """
    Ask until the answer is true, and return it.

    Raises:
        LabError: It was not true in time; `what` and the last answer are in the message.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise LabError(f"no {what} within {timeout_s:g} s; the last answer was {answer!r}")
        time.sleep(every_s)


def run(
    argv: Sequence[str], *, env: Mapping[str, str] | None = None, stdin: str = "", timeout_s: float = 60
) -> str:
    """
    Run a command and return what it printed.

    Raises:
        LabError: It failed or took too long; Slurm's clients retry inside for minutes when a daemon is away.
    """
    try:
        done = subprocess.run(
            argv,
            env=env,
            input=stdin.encode(),
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        raise LabError(f"{' '.join(argv)}: no end within {timeout_s:g} s") from late
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip() or done.stdout.decode(errors="replace").strip()
        raise LabError(f"{' '.join(argv)}: exit {done.returncode}: {said}")
    return done.stdout.decode("utf-8", "surrogateescape")


def succeeds(argv: Sequence[str], *, env: Mapping[str, str] | None = None, timeout_s: float = 5) -> bool:
    """Whether a command ends with 0 in time."""
    try:
        run(argv, env=env, timeout_s=timeout_s)
    except LabError:
        return False
    return True
