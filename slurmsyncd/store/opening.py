"""
Finds, makes and judges the store's file.

A file is ours if a marker beside it (or the checkpoint file) says that a store was here. Then a file
that is gone, emptied or damaged is a loss, never "nothing to do": what is left of it is set aside
under a new name, a fresh store is made, and ``Opened.recovered`` tells the daemon to read Slurm
again. Without a marker, a file that is no store of ours belongs to somebody: it is left alone.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from slurmsyncd import __version__
from slurmsyncd.errors import DiskFull, StoreError
from slurmsyncd.store.claim import Marker, claim_directory
from slurmsyncd.store.database import Damaged, Database, translated
from slurmsyncd.store.schema import APPLICATION_ID, MIGRATIONS, VERSION
from slurmsyncd.store.space import RESERVE_BYTES, Reserve
from slurmsyncd.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

log = structlog.get_logger()

STORE = "store.sqlite"
_MARKER = "store.id"
_RESERVE = "store.reserve"
_HEADER = b"SQLite format 3\0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """
    An open store.

    Attributes:
        recovered: Why what was written down before is not all here: ``missing``, ``emptied``,
            ``damaged``, ``replaced`` or ``older``; None if it is. There is no cursor then, and Slurm has to
            be read again over the whole look-back, since what had not been delivered yet may be older than
            the checkpoint. Said again at each start until the first cursor is recorded.
        set_aside: Where the damaged file went, None if there was none.
    """

    store: SqliteStore
    recovered: str | None = None
    set_aside: Path | None = None


def open_store(
    directory: Path,
    sinks: Sequence[str],
    *,
    expected: bool = False,
    reserve_bytes: int = RESERVE_BYTES,
    wait_s: float = 1.0,
) -> Opened:
    """
    Open the store of a state directory, making what is missing.

    Args:
        directory: Ours, and writable by nobody else; made (0700) if it is missing.
        sinks: Names of the configured sinks. One that is new gets the runs recorded from now on;
            what waits for one that is gone stays until it is dropped.
        expected: There was a store before (the checkpoint file exists), whatever the marker says.
        reserve_bytes: Kept back for a full disk.
        wait_s: For a process that is just letting go of the store.

    Raises:
        StoreError: The directory or a file in it cannot be used; the message says what to do.
        AlreadyRunning: Another process has the store.
    """
    try:
        claim_directory(directory)
        marker = Marker(directory / _MARKER, wait_s)
    except OSError as err:
        raise _refused(directory, err) from err
    try:
        return _open(directory, tuple(sinks), marker, expected=expected, reserve_bytes=reserve_bytes)
    except OSError as err:
        marker.release()
        raise _refused(directory, err) from err
    except BaseException:
        marker.release()
        raise


def _open(
    directory: Path, sinks: tuple[str, ...], marker: Marker, *, expected: bool, reserve_bytes: int
) -> Opened:
    path = directory / STORE
    ours = expected or bool(marker.id)
    reserve = Reserve(directory / _RESERVE, reserve_bytes)
    if not reserve.take():
        log.warning("disk_full_no_reserve", path=str(directory), hint="make room")
    database, trouble = _found(path, reserve)
    aside = None
    if database is None:
        if trouble != "missing":
            aside = _set_aside(path, trouble, ours=ours)
        _make(path)
        database = _checked(path, reserve)
    recovered = trouble if ours and trouble else None
    identity = _identity(database)
    if recovered is None and marker.id not in {"", identity}:
        recovered = "replaced"
    if recovered is None and expected and not database.rows("SELECT 1 FROM cursor LIMIT 1"):
        recovered = "older"  # accounting was read, and this store knows nothing of it: it has lost its log
    store = _ready(database, sinks, marker, recovered)
    marker.write(identity)
    return Opened(store=store, recovered=recovered or _unfinished(store), set_aside=aside)


def _found(path: Path, reserve: Reserve) -> tuple[Database | None, str]:
    """Give the store that is there, or what is wrong with it."""
    trouble = _outside(path)
    if trouble:
        return None, trouble
    try:
        return _checked(path, reserve), ""
    except Damaged as err:
        log.error("store_damaged", path=str(path), reason=str(err))  # noqa: TRY400 (no traceback for operators)
        return None, "damaged"


def _outside(path: Path) -> str:
    """Tell what is wrong with the file before SQLite touches it; empty if nothing is."""
    try:
        info = path.lstat()
    except FileNotFoundError:
        return "missing"
    if not stat.S_ISREG(info.st_mode):
        raise StoreError(f"{path} is not a plain file: move it away")
    if info.st_size == 0:
        return "emptied"  # SQLite would take it for a new database, and find it sound
    with path.open("rb") as file:
        header = file.read(72)
    ours = header[:16] == _HEADER and header[68:] == APPLICATION_ID.to_bytes(4, "big")
    return "" if ours else "damaged"


def _checked(path: Path, reserve: Reserve) -> Database:
    """Open the file and see that it is a sound store of ours, of a schema we know."""
    database = Database(path, reserve)
    try:
        _judge(database)
        _migrate(database)
    except BaseException:
        database.close()
        raise
    return database


def _judge(database: Database) -> None:
    version = _version(database)
    if version > VERSION:
        program = max(
            (name for (name,) in database.rows("SELECT program FROM meta")), default="of its release"
        )
        raise StoreError(
            f"{database.path} has schema {version}, this slurmsyncd knows {VERSION}: "
            f"install slurmsyncd {program} or newer"
        )
    answer = database.rows("PRAGMA quick_check(1)")
    if answer != [("ok",)]:
        raise Damaged(f"{database.path}: {answer[0][0]}")
    if len(database.rows("SELECT id FROM meta")) != 1:
        raise Damaged(f"{database.path} has lost its identity")


def _migrate(database: Database) -> None:
    version = _version(database)
    if version < VERSION:
        database.let_out(lambda con: _advance(con, version))


def _version(database: Database) -> int:
    ((version,),) = database.rows("PRAGMA user_version")
    return int(version)


def _advance(con: sqlite3.Connection, version: int) -> None:
    for statements in MIGRATIONS[version:]:
        for statement in statements:
            con.execute(statement)
    con.execute(f"PRAGMA user_version = {VERSION}")
    con.execute("UPDATE meta SET program = ?", (__version__,))


def _make(path: Path) -> None:
    """Make a fresh store under another name and put it in place whole."""
    draft = path.with_name(path.name + ".new")
    for leftover in (draft, draft.with_name(draft.name + "-journal")):
        leftover.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    try:
        _fill(draft)
    except sqlite3.Error as err:
        raise translated(err, path) from err
    draft.rename(path)
    _sync_directory(path.parent)


def _fill(draft: Path) -> None:
    con = sqlite3.connect(draft, isolation_level=None)
    try:
        con.execute("PRAGMA synchronous = FULL")
        con.execute("BEGIN IMMEDIATE")
        con.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        _advance(con, 0)
        con.execute(
            "INSERT INTO meta (one, id, program, created_at) VALUES (1, ?, ?, ?)",
            (secrets.token_hex(16), __version__, time.time()),
        )
        con.execute("COMMIT")
    finally:
        con.close()


def _set_aside(path: Path, trouble: str, *, ours: bool) -> Path:
    if not ours:
        raise StoreError(f"{path} is no store of slurmsyncd: move it away, or set daemon.state_dir elsewhere")
    aside = _unused(path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"))
    # The log first: beside a fresh store, it would be taken for that one's.
    for suffix in ("-wal", "-shm", "-journal", ""):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    _sync_directory(path.parent)
    log.error("store_set_aside", path=str(path), reason=trouble, kept_as=str(aside))
    return aside


def _unused(path: Path) -> Path:
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate


def _unfinished(store: SqliteStore) -> str | None:
    """Give why a store was recovered if nothing has been read again since."""
    incident = store.incident()
    return incident[1] if incident and not store.looked() else None


def _identity(database: Database) -> str:
    ((identity,),) = database.rows("SELECT id FROM meta")
    return str(identity)


def _ready(database: Database, sinks: tuple[str, ...], marker: Marker, recovered: str | None) -> SqliteStore:
    """Write once, so that a disk that cannot be written shows now and the log is there to be watched."""
    now = time.time()

    def note(con: sqlite3.Connection) -> None:
        con.execute("UPDATE meta SET opened_at = ?", (now,))
        if recovered:
            con.execute("UPDATE meta SET recovered_at = ?, recovered_from = ?", (now, recovered))
            con.execute("DELETE FROM cursor")  # wherever it was, Slurm is read again from further back

    try:
        try:
            database.let_out(note)
        except DiskFull:
            if recovered:
                raise  # else draining may still go on
        database.remember_files()
    except BaseException:
        database.close()
        raise
    return SqliteStore(database, sinks, release=marker.release)


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _refused(directory: Path, err: OSError) -> StoreError:
    name = err.filename or directory
    return StoreError(f"{name}: {err.strerror}: give the daemon's user a state directory of its own")
