"""What the doctor finds. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class CheckLevel(str, enum.Enum):
    """How it stands with one thing."""

    OK = "ok"
    NOTE = "note"  # nothing is wrong; the operator may want to know
    WARN = "warn"  # works, and will not always, or not for every job
    FAIL = "fail"  # does not work
    SKIPPED = "skipped"  # could not be looked at because something before it failed


@dataclass(frozen=True, slots=True)
class CheckResult:
    """
    One line of the report.

    Attributes:
        area: Part of the path: configuration, slurm, hook, backend, web, state, daemon.
        name: What was looked at; a short constant, for scripts.
        said: What was found, in words.
        remedy: What to do; empty if nothing has to be done.
    """

    area: str
    name: str
    level: CheckLevel
    said: str
    remedy: str = ""


def compare_clocks(area: str, whose: str, ahead_s: float, at_most_s: float) -> CheckResult:
    """
    Compare this host's clock with another's.

    Args:
        area: See Finding.
        whose: The other, in words.
        ahead_s: Seconds that ours is ahead of it.
        at_most_s: They may be apart by so many.
    """
    if abs(ahead_s) <= at_most_s:
        return CheckResult(area, "clock", CheckLevel.OK, f"this host's clock and {whose}'s agree")
    way = "ahead of" if ahead_s > 0 else "behind"
    said = f"this host's clock is {abs(ahead_s):.0f} s {way} {whose}'s"
    return CheckResult(
        area, "clock", CheckLevel.WARN, said, "have both hosts keep time (chrony, systemd-timesyncd)"
    )


def worst(findings: tuple[CheckResult, ...]) -> CheckLevel:
    """Return the worst level of all; OK if there are none."""
    order = (CheckLevel.FAIL, CheckLevel.WARN)
    return next((level for level in order if any(each.level is level for each in findings)), CheckLevel.OK)
