"""What the doctor finds. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Level(str, enum.Enum):
    """How it stands with one thing."""

    OK = "ok"
    NOTE = "note"  # nothing is wrong; the operator may want to know
    WARN = "warn"  # works, and will not always, or not for every job
    FAIL = "fail"  # does not work
    SKIPPED = "skipped"  # could not be looked at because something before it failed


@dataclass(frozen=True, slots=True)
class Finding:
    """
    One line of the report.

    Attributes:
        area: Part of the path: configuration, slurm, hook, backend, state, daemon.
        name: What was looked at; a short constant, for scripts.
        said: What was found, in words.
        remedy: What to do; empty if nothing has to be done.
    """

    area: str
    name: str
    level: Level
    said: str
    remedy: str = ""


def worst(findings: tuple[Finding, ...]) -> Level:
    """Give the worst level of all; OK if there are none."""
    order = (Level.FAIL, Level.WARN)
    return next((level for level in order if any(each.level is level for each in findings)), Level.OK)
