"""The shared state: one SQLite file that the engine writes and every command reads."""

# Importing pathlib would cost each command a fifth of its time.
# ruff: noqa: PTH100, PTH103, PTH118

from __future__ import annotations

import json
import os
import sqlite3
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from slurmsyncd.sandbox.slurm.records import NodeRow, RunRow

_SCHEMA = """
CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE fault (name TEXT, command TEXT, value TEXT NOT NULL, PRIMARY KEY (name, command));
CREATE TABLE node (rank INTEGER PRIMARY KEY, name TEXT UNIQUE, body TEXT NOT NULL);
CREATE TABLE run (
  id INTEGER PRIMARY KEY, job_id INTEGER, array_job_id INTEGER, het_job_id INTEGER,
  state TEXT, phase TEXT, submit_at INTEGER, eligible_at INTEGER, start_at INTEGER, end_at INTEGER,
  next_at REAL, in_memory INTEGER, submit_seen REAL, start_seen REAL, end_seen REAL, body TEXT NOT NULL
);
CREATE INDEX run_job ON run (job_id);
CREATE INDEX run_array ON run (array_job_id) WHERE array_job_id > 0;
CREATE INDEX run_het ON run (het_job_id) WHERE het_job_id > 0;
CREATE INDEX run_memory ON run (job_id) WHERE in_memory = 1;
CREATE INDEX run_end ON run (end_at);
CREATE INDEX run_seen ON run (end_seen);
CREATE INDEX run_next ON run (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX run_requeued ON run (job_id) WHERE state = 'REQUEUED';
CREATE INDEX run_pending ON run (id) WHERE state = 'PENDING';
"""

_COLUMNS = (
    "id",
    "job_id",
    "array_job_id",
    "het_job_id",
    "state",
    "phase",
    "submit_at",
    "eligible_at",
    "start_at",
    "end_at",
    "next_at",
    "in_memory",
    "submit_seen",
    "start_seen",
    "end_seen",
)
_SELECT = f"SELECT {', '.join(_COLUMNS)}, body FROM run "  # noqa: S608 - names of ours
_PUT = f"INSERT OR REPLACE INTO run VALUES ({', '.join('?' * (len(_COLUMNS) + 1))})"  # noqa: S608


class State:
    """The state directory's database, open. Writers commit when they leave ``with state:``."""

    def __init__(self, state_dir: str | os.PathLike[str], *, create: bool = False) -> None:
        path = os.path.join(os.path.abspath(state_dir), "slurm.db")
        if create:
            os.makedirs(state_dir, exist_ok=True)
        mode = "rwc" if create else "rw"
        self._db = sqlite3.connect(f"file:{path}?mode={mode}", uri=True, timeout=30.0, isolation_level=None)
        if create and not self._db.execute("SELECT 1 FROM sqlite_master").fetchone():
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.executescript(_SCHEMA)
        self._db.execute("PRAGMA synchronous = OFF")  # a simulation need not survive a power cut

    def close(self) -> None:
        """Close the database file."""
        self._db.close()

    def __enter__(self) -> State:  # noqa: PYI034 - typing.Self is younger than 3.10
        self._db.execute("BEGIN IMMEDIATE")
        return self

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        self._db.execute("ROLLBACK" if failed else "COMMIT")

    def settings(self) -> dict[str, str]:
        """Return all settings."""
        return dict(self._db.execute("SELECT name, value FROM setting"))

    def set(self, **values: object) -> None:
        """Write settings; None removes one."""
        for name, value in values.items():
            self._db.execute("DELETE FROM setting WHERE name = ?", (name,))
            if value is not None:
                self._db.execute("INSERT INTO setting VALUES (?, ?)", (name, str(value)))

    def now(self, settings: Mapping[str, str]) -> float:
        """Return the time of day: the real one unless a test has set its own."""
        return float(settings["now"]) if "now" in settings else time.time()

    def faults(self, command: str = "") -> dict[str, str]:
        """Return the active faults of a command as name → value; its own override those of all commands."""
        rows = self._db.execute(
            "SELECT name, value FROM fault WHERE command IN ('', ?) ORDER BY command", (command,)
        )
        return dict(rows)

    def set_fault(self, name: str, value: str | None, command: str) -> None:
        """Put a fault in force, or end it with None."""
        self._db.execute("DELETE FROM fault WHERE name = ? AND command = ?", (name, command))
        if value is not None:
            self._db.execute("INSERT INTO fault VALUES (?, ?, ?)", (name, command, value))

    def all_faults(self) -> list[tuple[str, str, str]]:
        """Return (name, command, value) of every fault in force."""
        return list(self._db.execute("SELECT name, command, value FROM fault ORDER BY name, command"))

    def clear_faults(self) -> None:
        """End every fault."""
        self._db.execute("DELETE FROM fault")

    def nodes(self) -> list[NodeRow]:
        """Return the nodes in Slurm's order."""
        return [json.loads(body) for (body,) in self._db.execute("SELECT body FROM node ORDER BY rank")]

    def put_nodes(self, nodes: Iterable[NodeRow]) -> None:
        """Write the nodes, in Slurm's order."""
        rows = [(rank, node["name"], json.dumps(node)) for rank, node in enumerate(nodes)]
        self._db.executemany("INSERT OR REPLACE INTO node VALUES (?, ?, ?)", rows)

    def runs(self, where: str, values: Iterable[Any] = ()) -> Iterator[RunRow]:
        """
        Return runs one by one, as they are read.

        ``where`` is the rest of the SELECT, beginning with WHERE. It never contains foreign text.
        """
        for row in self._db.execute(_SELECT + where, tuple(values)):
            yield json.loads(row[-1]) | dict(zip(_COLUMNS, row[:-1], strict=True))

    def by_id(self, ids: list[int]) -> Iterator[RunRow]:
        """Return the runs of these row ids in their order; the memory needed is that of 500."""
        for first in range(0, len(ids), 500):
            some = ids[first : first + 500]
            found = {run["id"]: run for run in self.runs(f"WHERE id IN ({','.join('?' * len(some))})", some)}
            yield from (found[one] for one in some if one in found)

    def ids(self, where: str, values: Iterable[Any] = ()) -> list[int]:
        """Return row ids alone: cheap to sort."""
        return [row[0] for row in self._db.execute("SELECT id FROM run " + where, tuple(values))]  # noqa: S608

    def put(self, run: RunRow) -> RunRow:
        """Write a run; one without an id gets the next."""
        row: dict[str, Any] = dict(run)
        columns = [row.pop(name) for name in _COLUMNS]
        columns[0] = columns[0] or None
        run["id"] = self._db.execute(_PUT, (*columns, json.dumps(row))).lastrowid or run["id"]
        return run
