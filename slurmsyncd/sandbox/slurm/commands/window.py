"""Which runs ``-S``, ``-E``, ``-s`` and ``-j`` of sacct choose, as measured. Pure but for the zone."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from slurmsyncd.sandbox.slurm.commands.invocation import CommandError

if TYPE_CHECKING:
    from slurmsyncd.sandbox.slurm.records import RunRow

STATES = {
    "BF": "BOOT_FAIL",
    "CA": "CANCELLED",
    "CD": "COMPLETED",
    "DL": "DEADLINE",
    "F": "FAILED",
    "NF": "NODE_FAIL",
    "OOM": "OUT_OF_MEMORY",
    "PD": "PENDING",
    "PR": "PREEMPTED",
    "R": "RUNNING",
    "RQ": "REQUEUED",
    "RS": "RESIZING",
    "RV": "REVOKED",
    "S": "SUSPENDED",
    "TO": "TIMEOUT",
}
_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
_FORMS = ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d")
_LATE = 2**62
_EARLIEST = 1_000_000  # Slurm takes a smaller number for a mistake


class Window:
    """
    What one sacct was asked for.

    Attributes:
        start, end: Epoch seconds, both inclusive.
        ids: Numbers of ``-j``; empty without it.
        only_ended: Only final states were asked for.
    """

    def __init__(self, options: dict[str, str], now: float) -> None:
        self.states = frozenset(map(_state, filter(None, options.get("state", "").split(","))))
        self.ids = tuple(_number(word) for word in filter(None, options.get("jobs", "").split(",")))
        self.only_ended = bool(self.states) and not self.states & {"PENDING", "RUNNING", "SUSPENDED"}
        start, end = options.get("starttime"), options.get("endtime")
        self._timed = not self.ids or start is not None or end is not None or bool(self.states)
        if start is not None:
            self.start = instant_of(start, now)
        else:
            self.start = 0 if self.ids else int(now) if self.states else _midnight(now)
        if end is not None:
            self.end = instant_of(end, now)
        else:  # with states and no end, the end is the start: a trap
            self.end = self.start if self.states and not self.ids else int(now)

    def takes(self, run: RunRow) -> bool:
        """Return whether a run, as slurmdbd has it, is in the answer."""
        if not self._timed:
            return True
        if self.states:
            return any(self._was(run, state) for state in self.states)
        alive = not run["end_at"] or run["end_at"] >= self.start
        if self.ids:
            return alive and (not run["start_at"] or run["start_at"] <= self.end)
        return alive and 0 < run["eligible_at"] <= self.end

    def _was(self, run: RunRow, state: str) -> bool:
        """Return whether it was in a state at some time in the window, or ended in it."""
        if state == "PENDING":
            until = run["start_at"] or run["end_at"] or _LATE
            return 0 < run["eligible_at"] <= self.end and until >= self.start
        if state == "RUNNING":
            return 0 < run["start_at"] <= self.end and (run["end_at"] or _LATE) >= self.start
        if state == "SUSPENDED":
            return run["state"] == "SUSPENDED"
        return run["state"] == state and self.start <= run["end_at"] <= self.end

    def cut(self, run: RunRow) -> RunRow:
        """Cut start and end to the window, as ``-T`` does."""
        end = run["end_at"] or self.end
        return run | {"start_at": max(run["start_at"], self.start), "end_at": min(end, self.end)}


def _state(word: str) -> str:
    name = STATES.get(word.strip().upper(), word.strip().upper())
    if name not in STATES.values():
        raise CommandError(f"sacct: fatal: unrecognized job state value: {word}")
    return name


def _number(word: str) -> int:
    digits = re.match(r"\d+", word)
    if not digits:
        raise CommandError(f"sacct: fatal: Invalid job id: {word}")
    return int(digits[0])


def instant_of(text: str, now: float) -> int:
    """
    Read a time specification in the zone of the environment.

    Raises:
        Refused: With Slurm's words. A bare number, ``@``, ``Z`` and offsets are refused too.
    """
    relative = re.fullmatch(r"now(?:([+-])(\d+)([a-z]*))?", text)
    if relative:
        sign, count, unit = relative.groups()
        factor = _UNITS.get((unit or "second").rstrip("s"), 0)
        if count is None or factor:
            return int(now) + int(f"{sign or '+'}{count or 0}") * factor
    if re.fullmatch(r"uts\d+", text) and int(text[3:]) >= _EARLIEST:
        return int(text[3:])
    for form in _FORMS:
        try:
            return int(time.mktime(time.strptime(text, form)))
        except ValueError:
            continue
    short = re.fullmatch(r"(\d\d)/(\d\d)-(\d\d):(\d\d)", text)
    if short:
        month, day, hour, minute = map(int, short.groups())
        year = time.localtime(now).tm_year
        return int(time.mktime((year, month, day, hour, minute, 0, 0, 0, -1)))
    tail = re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", text)
    raise CommandError(f"Invalid time specification (pos={tail.end() if tail else 0}): {text}")


def _midnight(now: float) -> int:
    local = time.localtime(now)
    return int(time.mktime((*local[:3], 0, 0, 0, 0, 0, -1)))
