"""What a running command has in its hands: the state, its arguments, its output."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from slurmsyncd.sandbox.slurm import formatting as words
from slurmsyncd.sandbox.slurm.state import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from slurmsyncd.sandbox.slurm.records import RunRow
    from slurmsyncd.sandbox.slurm.release_format import ReleaseFormat

_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class CommandError(Exception):
    """The command ends here, with a message on stderr."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


class OutputCut(Exception):
    """The output is cut off here: a fault said so."""


class Invocation:
    """
    One call of a command.

    Attributes:
        home: The cluster whose slurm.conf the command reads; ``cluster`` is the one that it asks.
        limit: Bytes after which the output is cut off, None for no limit.
        poison: Kind and job id of the one record that is to be unreadable.
    """

    def __init__(self, command: str, state: State, shape: ReleaseFormat, argv: list[str]) -> None:
        self.command = command
        self.state = state
        self.shape = shape
        self.argv = argv
        self.settings = state.settings()
        self.faults = state.faults(command)
        self.now = state.now(self.settings)
        self.cluster = self.settings.get("cluster", "sim")
        self.home = self.cluster
        self.neighbours: dict[str, str] = json.loads(self.settings.get("neighbours", "{}"))
        self.limit: int | None = None
        self.poison: tuple[str, int] | None = None

    def visit(self, cluster: str) -> bool:
        """Ask another cluster from now on, of the same slurmdbd. Returns whether there is such a one."""
        if cluster == self.cluster:
            return True
        if cluster not in self.neighbours:
            return False
        ours = {name: value for name, value in self.faults.items() if name in ("dbd", "db", "munge")}
        self.state = State(self.neighbours[cluster])
        self.settings = self.state.settings()
        self.faults = self.state.faults(self.command) | ours
        self.now = self.state.now(self.settings)
        self.cluster = cluster
        return True

    def write(self, text: str) -> None:
        """Print; what is no UTF-8 passes through as it came."""
        data = text.encode("utf-8", "surrogateescape")
        if self.limit is not None:
            data, cut = data[: self.limit], len(data) > self.limit
            self.limit -= len(data)
            if cut:
                sys.stdout.buffer.write(data)
                raise OutputCut
        sys.stdout.buffer.write(data)

    def flush(self) -> None:
        """Hand on what was printed."""
        sys.stdout.buffer.flush()

    def complain(self, message: str) -> None:
        """Print on stderr."""
        if message:
            sys.stderr.buffer.write(message.encode() + b"\n")
            sys.stderr.buffer.flush()

    def json(self, name: str, records: Iterable[Any], around: dict[str, Any]) -> None:
        """Print a document, its records one by one: where they stand in it depends on the release."""
        rest = _slashed(_ENCODE(around))[1:-1]
        first = f"{{{rest},\n" if not self.shape.modern else "{"
        self.write(f'{first}"{name}": [')
        comma = "\n"
        for record in records:
            self.write(comma + _slashed(_ENCODE(record)))
            comma = ",\n"
        self.write("\n]\n}\n" if not self.shape.modern else f"\n],\n{rest}}}\n")

    def instant(self, at: float) -> str:
        """Write an instant as the caller's environment wants it."""
        return words.instant(at, os.environ.get("SLURM_TIME_FORMAT", ""), self.shape.release)

    def told(self, runs: Iterable[RunRow]) -> Iterator[RunRow]:
        """Pass runs on as they come, but for those that a fault hides, doubles or spoils."""
        vanished, doubled = self.faults.get("vanish", ""), self.faults.get("double", "")
        for run in runs:
            if str(run["job_id"]) == vanished:
                continue
            yield self._poisoned(run)
            if str(run["job_id"]) == doubled:
                yield self._poisoned(run)

    def _poisoned(self, run: RunRow) -> RunRow:
        """Spoil one record as it is read: a state that nobody knows, a name that is no UTF-8."""
        kind, job_id = self.poison or ("", 0)
        if run["job_id"] != job_id:
            return run
        if kind == "state":
            return run | {"state": "TELEPORTED", "phase": ""}
        if kind == "utf8":
            return run | {"request": run["request"] | {"name": "bad\udcff\udcfename"}}
        return run

    def spoil(self, record: dict[str, Any]) -> dict[str, Any]:
        """Spoil one record as it is printed: wrong types, nulls, numbers out of range."""
        if self.poison != ("types", record["job_id"]):
            return record
        wrong = {"start_time": "soon", "job_state": 7, "cpus": [], "nodes": None, "user_id": 2**70}
        wrong |= {"time": "later", "state": [], "tres": None, "job_resources": "all of them"}
        return record | {key: value for key, value in wrong.items() if key in record}


def _slashed(text: str) -> str:
    return text.replace("/", "\\/")  # as Slurm's own serializer has it
