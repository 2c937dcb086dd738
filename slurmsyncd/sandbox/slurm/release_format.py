"""How each release prints: records as captured, and its conventions for numbers and states."""

# Importing pathlib would cost each command a fifth of its time.
# ruff: noqa: PTH100, PTH118, PTH120, PTH123

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

_CAPTURED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "captured")

# --json=VERSION: what the release offers, in the order in which it lists them; the first is not the default.
_PARSERS = {
    "24.11": ("v0.0.42", "v0.0.40", "v0.0.41"),
    "26.05": ("v0.0.43", "v0.0.42", "v0.0.45", "v0.0.44"),
}
_DEFAULT_PARSER = {"24.11": "v0.0.42", "26.05": "v0.0.45"}


class ReleaseFormat:
    """
    One release, or one of the data versions a release offers.

    Attributes:
        release: 22.05, 24.11 or 26.05: decides what the commands do.
        modern: Numbers as ``{set, infinite, number}``, states as lists.
        layout: Release whose records are printed. 26.05 asked for v0.0.42 prints 24.11's: of
            that combination there is no capture.
    """

    def __init__(self, release: str, parser: str = "") -> None:
        self.release = release
        self.modern = release != "22.05"
        self.parser = parser or _DEFAULT_PARSER.get(release, "")
        self.layout = "24.11" if self.parser in {"v0.0.40", "v0.0.41", "v0.0.42"} else release
        self.records: dict[str, Any] = _load(self.layout)
        self.version: str = self.records["version"]
        if self.layout != release:
            self.version = _load(release)["version"]

    @property
    def parsers(self) -> tuple[str, ...]:
        """Data versions that ``--json=VERSION`` takes; empty where it takes none."""
        return _PARSERS.get(self.release, ())

    def text(self, name: str) -> str:
        """Return a captured text: ``config`` or ``helpformat``."""
        with open(os.path.join(_CAPTURED, self.release, name + ".txt"), encoding="utf-8") as file:
            return file.read()

    def number(self, value: float | None, unset: Any = None) -> Any:
        """Print a number that may be unset (None); 22.05 has null for those, or ``unset``."""
        if not self.modern:
            return unset if value is None else value
        return {"set": value is not None, "infinite": False, "number": 0 if value is None else value}

    def envelope(self, kind: str, cluster: str, updated_at: int, words: list[str]) -> dict[str, Any]:
        """
        Return what stands around the records.

        Args:
            kind: ``ctld``, ``dbd``, ``nodes`` or ``sinfo``.
            cluster: Its name.
            updated_at: For ``last_update``; 0 means that slurmctld was not reached.
            words: The command line.
        """
        around = {key: value for key, value in self.records[kind].items() if key != "errors"}
        if not self.modern:
            return around | {"errors": []}
        for key in ("last_update", "last_backfill"):
            if key in around:
                around[key] = self.number(updated_at)
        meta = around["meta"]
        major, minor, micro = self.version.split(".")
        around["meta"] = meta | {
            "plugin": meta["plugin"] | {"data_parser": "data_parser/" + self.parser},
            "command": words,
            "slurm": {
                "version": {"major": major, "micro": micro, "minor": minor},
                "release": self.version,
                "cluster": cluster,
            },
        }
        return around | {"errors": []}

    def exit_code(self, code: int, signal: int, *, known: bool = True) -> Any:
        """Print how a job ended, as JSON of 24.11 on and of 22.05's sacct does."""
        if not self.modern:
            if signal:
                killed = {"signal_id": signal, "name": _NAMES[signal]}
                return {"status": "SIGNALED", "return_code": None, "signal": killed}
            return {"status": "SUCCESS", "return_code": 0}  # whatever the code: 22.05 does not know better
        status = "SIGNALED" if signal else "ERROR" if code else "SUCCESS"
        return {
            "status": [status if known else "PENDING"],
            "return_code": self.number(None if signal or not known else code),
            "signal": {"id": self.number(signal or None), "name": _SIGNALS.get(signal, "")},
        }


_NAMES = {1: "Hangup", 9: "Killed", 15: "Terminated"}
_SIGNALS = {1: "HUP", 9: "KILL", 15: "TERM"}


def _load(release: str) -> dict[str, Any]:
    with open(os.path.join(_CAPTURED, release, "records.json"), encoding="utf-8") as file:
        records: dict[str, Any] = json.load(file)
    return records
