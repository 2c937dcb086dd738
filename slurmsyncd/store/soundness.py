"""
Whether a file is a sound store: its pages, its schema, and what its rows say together.

`PRAGMA integrity_check` compares each index with its table, and each row with its constraints. So whatever
decides what is sent, and when, is in an index. What only describes a run is in none: an impossible value
there is reset.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, NoReturn

import structlog

from slurmsyncd import __version__
from slurmsyncd.errors import StoreError
from slurmsyncd.store.database import DatabaseCorrupt
from slurmsyncd.store.schema import APPLICATION_ID, MIGRATIONS, VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slurmsyncd.store.database import Database

log = structlog.get_logger()

#: Bytes at the beginning of the file that ``is_ours`` and ``is_whole`` look at.
HEADER_BYTES = 72
#: Rows that are named one by one in the log.
_NAMED = 20
_MAGIC = b"SQLite format 3\0"
_OBJECTS = "SELECT type, name, tbl_name, sql FROM sqlite_master"

#: What no transaction leaves behind: rows of which one is missing, or that contradict each other.
_CONTRADICTIONS = {
    "a record belongs to no run": "PRAGMA foreign_key_check",
    "a run has no start": """
        SELECT 1 FROM run r LEFT JOIN started a ON a.run_id = r.id WHERE a.run_id IS NULL LIMIT 1
    """,
    "a run has ended without a stop, or is open with one": """
        SELECT 1 FROM run r LEFT JOIN stopped z ON z.run_id = r.id
        WHERE (r.phase = 'stopped') <> (z.run_id IS NOT NULL)
           OR (r.phase = 'stopped') <> (r.end_at IS NOT NULL)
        LIMIT 1
    """,
    "a delivery is where its run is not": """
        SELECT 1 FROM delivery d JOIN run r ON r.id = d.run_id
        WHERE CASE d.step
            WHEN 'start' THEN d.state IN ('idle', 'done')
            ELSE d.state <> 'dropped' AND (d.state = 'idle') <> (r.phase = 'started')
        END
        LIMIT 1
    """,
    "it does not say which store it is": """
        SELECT 1 WHERE 1 <> (
            SELECT count(*) FROM meta WHERE typeof(id) = 'text' AND typeof(program) = 'text' AND CASE
                WHEN recovered_at IS NULL THEN recovered_from IS NULL
                ELSE typeof(recovered_from) = 'text' AND recovered_at BETWEEN 0 AND 1e11
            END
        )
    """,
}

_INSTANT = "typeof({0}) = 'real' AND {0} BETWEEN 0 AND 1e11"
_INSTANT_OR_NULL = "{0} IS NULL OR " + _INSTANT
_COUNT = "typeof({0}) = 'integer' AND {0} BETWEEN 0 AND 1000000000"
_TEXT = "typeof({0}) = 'text'"
_SEEN = {"at": (_INSTANT, ":now"), "trigger": ("{0} IN ('hook', 'poll')", "'poll'")}
#: Table → column that no index has → what holds of it, and what it becomes if it does not.
_VALUES: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "delivery": {
        "waiting_since": (_INSTANT, ":now"),
        "start_attempts": (_COUNT, "0"),
        "stop_attempts": (_COUNT, "0"),
        "acked_at": (_INSTANT_OR_NULL, "CASE step WHEN 'stop' THEN :now END"),
        "hold_until": (_INSTANT, ":now"),
        "failing_since": (_INSTANT_OR_NULL, "NULL"),
        "reason": (_TEXT, "'damaged_record'"),
        "detail": (_TEXT, "''"),
        "history": (_TEXT, "'[]'"),
    },
    "started": _SEEN,
    "stopped": _SEEN,
}


def is_ours(header: bytes) -> bool:
    """Return whether a file with this header is, or was, a store of slurmsyncd."""
    return header.startswith(_MAGIC) and header[68:72] == APPLICATION_ID.to_bytes(4, "big")


def is_whole(header: bytes) -> bool:
    """Return whether SQLite would write to a file with this header: both its formats have to agree."""
    return header[18] == header[19]


def check(database: Database) -> None:
    """
    Check that a file is a valid store with a known schema.

    Raises:
        DatabaseCorrupt: The file is damaged.
        StoreError: The file is of a newer release.
    """
    version = schema_version(database)
    if version > VERSION:
        _refuse_newer(database, version)
    if (_objects(VERSION) - _objects(version)) & set(database.rows(_OBJECTS)):
        _refuse_number(database, version)  # a migration would find its tables there, at each start
    if not _has_schema(database, version):
        raise DatabaseCorrupt(database.path, f"its tables are not those of schema {version}")
    answer = database.rows("PRAGMA integrity_check(1)")
    if answer != [("ok",)]:
        raise DatabaseCorrupt(database.path, answer[0][0])
    for what, contradiction in _CONTRADICTIONS.items():
        if database.rows(contradiction):
            raise DatabaseCorrupt(database.path, what)


def schema_version(database: Database) -> int:
    """Return the number of migrations that were applied to a file."""
    ((version,),) = database.rows("PRAGMA user_version")
    return int(version)


def reset_impossible_values(database: Database, now: float) -> None:
    """Reset what only describes a run and cannot have been recorded so, and name these runs in the log."""
    for table, columns in _VALUES.items():
        sound = {column: condition.format(column) for column, (condition, _) in columns.items()}
        doubtful = " OR ".join(f"NOT ({condition})" for condition in sound.values())
        changes = ", ".join(
            f"{column} = CASE WHEN {condition} THEN {column} ELSE {columns[column][1]} END"
            for column, condition in sound.items()
        )
        find = f"SELECT cluster, job_id, start_at FROM {table} JOIN run r ON r.id = run_id WHERE {doubtful}"  # noqa: S608 (all of it is ours)
        reset = partial(_update, f"UPDATE {table} SET {changes} WHERE {doubtful}", {"now": now})  # noqa: S608
        if runs := database.rows(find):
            for cluster, job_id, start_at in runs[:_NAMED]:
                log.warning("store_value_reset", table=table, cluster=cluster, job=job_id, start_at=start_at)
            database.write_relaxed(reset)


def _update(sql: str, values: Mapping[str, float], con: sqlite3.Connection) -> None:
    con.execute(sql, values)


def _refuse_newer(database: Database, version: int) -> None:
    """Tell a newer release's store from one of ours with another number in its header."""
    program = max((name for (name,) in database.rows("SELECT program FROM meta")), default="of its release")
    if _numbers(program) <= _numbers(__version__) and _has_schema(database, VERSION):
        _refuse_number(database, version)
    raise StoreError(
        f"{database.path} has schema {version}, this slurmsyncd knows {VERSION}: "
        f"install slurmsyncd {program} or newer"
    )


def _refuse_number(database: Database, version: int) -> NoReturn:
    raise DatabaseCorrupt(database.path, f"its header says schema {version}, and its tables are of {VERSION}")


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", release)))


def _has_schema(database: Database, version: int) -> bool:
    """Return whether all objects of a schema version exist; additional objects are ignored."""
    return version > 0 and _objects(version) <= set(database.rows(_OBJECTS))


def _objects(version: int) -> set[tuple[str, ...]]:
    """Return the tables and indexes of a schema version."""
    with closing(sqlite3.connect(":memory:")) as con:
        for statement in chain.from_iterable(MIGRATIONS[:version]):
            con.execute(statement)
        return set(con.execute(_OBJECTS))
