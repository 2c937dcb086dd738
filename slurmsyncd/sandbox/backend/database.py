"""
The backend's tables: started jobs wait in ``job_cache`` until a tick moves them to ``job``.

Synchronous and short: called from the event loop, so each method is atomic towards the others.
"""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any, Literal

from slurmsyncd.errors import SlurmsyncdError
from slurmsyncd.sandbox.backend.schema import SHARED, STATES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

Table = Literal["job", "job_cache"]
Row = dict[str, Any]

_DAY = 86400
COLUMNS = (
    "job_id, cluster, subcluster, start_time, hpc_user, project, partition, array_job_id, duration, walltime,"
    " job_state, num_nodes, num_hwthreads, num_acc, smt, shared, monitoring_status, resources, meta_data"
)
_SLOTS = ", ".join("?" * len(COLUMNS.split(",")))


def _table(name: Table, key: str, smt_check: str) -> str:
    return f"""
    CREATE TABLE IF NOT EXISTS {name} (
        id INTEGER PRIMARY KEY {key},
        job_id BIGINT NOT NULL,
        cluster TEXT NOT NULL,
        subcluster TEXT NOT NULL,
        start_time BIGINT NOT NULL,
        hpc_user TEXT NOT NULL,
        project TEXT NOT NULL,
        partition TEXT NOT NULL,
        array_job_id BIGINT NOT NULL,
        duration INT NOT NULL,
        walltime BIGINT NOT NULL,
        job_state TEXT NOT NULL CHECK (job_state IN {STATES}),
        num_nodes INT NOT NULL,
        num_hwthreads INT NOT NULL,
        num_acc INT NOT NULL,
        smt INT NOT NULL {smt_check},
        shared TEXT NOT NULL CHECK (shared IN {SHARED}),
        monitoring_status INT NOT NULL CHECK (monitoring_status IN (0, 1, 2, 3)),
        resources TEXT NOT NULL,
        meta_data TEXT,
        UNIQUE (job_id, cluster, start_time));
    """


_SCHEMA = f"""
    {_table("job", "AUTOINCREMENT", "")}
    {_table("job_cache", "", "CHECK (smt IN (0, 1))")}
    CREATE INDEX IF NOT EXISTS job_by_start ON job (start_time, job_id);
    CREATE INDEX IF NOT EXISTS job_cache_by_start ON job_cache (start_time, job_id);
    CREATE INDEX IF NOT EXISTS job_by_state ON job (job_state, cluster, start_time);
    CREATE TABLE IF NOT EXISTS tag (
        id INTEGER PRIMARY KEY, type TEXT NOT NULL, name TEXT NOT NULL, scope TEXT NOT NULL,
        UNIQUE (type, name));
    CREATE TABLE IF NOT EXISTS jobtag (
        job_id INTEGER NOT NULL REFERENCES job (id) ON DELETE CASCADE,
        tag_id INTEGER NOT NULL REFERENCES tag (id) ON DELETE CASCADE,
        PRIMARY KEY (job_id, tag_id));
    CREATE TABLE IF NOT EXISTS node_state (
        cluster TEXT NOT NULL, hostname TEXT NOT NULL, subcluster TEXT NOT NULL, state TEXT NOT NULL,
        cpus INT NOT NULL, memory_mib INT NOT NULL, gpus INT NOT NULL, jobs INT NOT NULL, at INT NOT NULL,
        PRIMARY KEY (cluster, hostname));
    """


class DatabaseUnusable(SlurmsyncdError):
    """The database cannot be opened; the message says what to do."""


class BackendDatabase:
    """
    One SQLite file, or memory; raises DatabaseUnusable when it cannot be opened.

    Attributes:
        link: The connection, in autocommit mode; the other tables' modules use it too.
    """

    def __init__(self, path: Path | None) -> None:
        try:
            self.link = _connect(str(path) if path else ":memory:")
        except sqlite3.Error as err:
            raise DatabaseUnusable(f"{path}: {err}; remove it, or choose another state directory") from err

    def close(self) -> None:
        """Close the file."""
        self.link.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Run the statements of the block in one transaction."""
        self.link.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.link.execute("ROLLBACK")
            raise
        self.link.execute("COMMIT")

    def one(self, sql: str, *values: Any) -> Row | None:
        """Return the first row of a query, None if there is none."""
        row: Row | None = self.link.execute(sql, values).fetchone()
        return row

    def all(self, sql: str, *values: Any) -> list[Row]:
        """Return all rows of a query."""
        rows: list[Row] = self.link.execute(sql, values).fetchall()
        return rows

    def insert(self, table: Table, values: tuple[Any, ...]) -> int:
        """
        Insert a job, with its values in the order of COLUMNS; gives its id.

        Raises:
            sqlite3.Error: A constraint is broken, or the database fails.
        """
        sql = f"INSERT INTO {table} ({COLUMNS}) VALUES ({_SLOTS})"  # noqa: S608  # constants only
        return self.link.execute(sql, values).lastrowid or 0

    def repeat_of(self, job_id: int, cluster: str, start_time: int) -> Row | None:
        """
        Return the row that forbids a start, None if nothing does.

        The difference is signed, as in the original: any earlier start is refused too.
        """
        return self.one(
            "SELECT * FROM job WHERE job_id = ? AND cluster = ? AND ? - start_time < ? ORDER BY id LIMIT 1",
            job_id,
            cluster,
            start_time,
            _DAY,
        )

    def newest(self, table: Table, which: Mapping[str, Any]) -> Row | None:
        """Return the row with the highest id that matches jobId and, where given, cluster and startTime."""
        return self.one(
            f"SELECT * FROM {table} WHERE job_id = ? AND cluster = coalesce(?, cluster)"  # noqa: S608
            " AND start_time = coalesce(?, start_time) ORDER BY id DESC LIMIT 1",
            which.get("jobId", 0),
            which.get("cluster"),
            which.get("startTime"),
        )

    def job(self, dbid: int) -> Row | None:
        """Return a committed job."""
        return self.one("SELECT * FROM job WHERE id = ?", dbid)

    def commit_cache(self) -> int:
        """Move all cached jobs, drop those whose key exists, and return the number of cached jobs."""
        with self.transaction():
            self.link.execute(
                f"INSERT OR IGNORE INTO job ({COLUMNS}) SELECT {COLUMNS} FROM job_cache ORDER BY id"  # noqa: S608
            )
            return self.link.execute("DELETE FROM job_cache").rowcount

    def move(self, cached: Row) -> int:
        """
        Move one cached job; gives its new id.

        A row that a tick has moved meanwhile copies nothing, and the id is then that of another running
        job: the original takes its connection's last insert id (race R1 of the contract).

        Raises:
            sqlite3.Error: The key exists in both tables.
        """
        with self.transaction():
            done = self.link.execute(
                f"INSERT INTO job ({COLUMNS}) SELECT {COLUMNS} FROM job_cache WHERE id = ?",  # noqa: S608
                (cached["id"],),
            )
            self.link.execute("DELETE FROM job_cache WHERE id = ?", (cached["id"],))
            return (done.lastrowid or 0) if done.rowcount else self._somebody_else(cached)

    def _somebody_else(self, job: Row) -> int:
        other = self.one(
            "SELECT id FROM job WHERE job_state = 'running' AND NOT (job_id = ? AND cluster = ?)"
            " ORDER BY id DESC LIMIT 1",
            job["job_id"],
            job["cluster"],
        )
        return int(other["id"]) if other else 0

    def finish(self, dbid: int, state: str, duration: int) -> None:
        """Set the end of a committed job."""
        self.link.execute("UPDATE job SET job_state = ?, duration = ? WHERE id = ?", (state, duration, dbid))

    def archived(self, dbid: int) -> None:
        """Mark a job as archived."""
        self.link.execute("UPDATE job SET monitoring_status = 3 WHERE id = ?", (dbid,))

    def set_meta(self, dbid: int, meta_data: str) -> None:
        """Replace a committed job's metadata (JSON)."""
        self.link.execute("UPDATE job SET meta_data = ? WHERE id = ?", (meta_data, dbid))

    def delete(self, dbid: int) -> None:
        """Remove a committed job with its tags' links."""
        self.link.execute("DELETE FROM job WHERE id = ?", (dbid,))

    def wipe(self) -> None:
        """Remove all jobs, as an admin may."""
        with self.transaction():
            self.link.execute("DELETE FROM job_cache")
            self.link.execute("DELETE FROM job")


def _connect(path: str) -> sqlite3.Connection:
    link = sqlite3.connect(path, isolation_level=None)
    link.row_factory = _as_dict
    try:
        link.execute("PRAGMA journal_mode = WAL")
        link.execute("PRAGMA synchronous = NORMAL")
        link.execute("PRAGMA foreign_keys = ON")
        link.executescript(_SCHEMA)
    except sqlite3.Error:
        link.close()
        raise
    return link


def _as_dict(cursor: sqlite3.Cursor, values: tuple[Any, ...]) -> Row:
    return {column[0]: value for column, value in zip(cursor.description, values, strict=True)}
