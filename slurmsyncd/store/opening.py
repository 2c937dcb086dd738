"""
Finds, makes and judges the store's file.

Where a marker beside it says that a store was here, a file that is gone, emptied or damaged is a loss,
never "nothing to do": what is left of it is set aside under a new name, a fresh store is made, and
``Opened.recovered`` has the daemon read Slurm again. Without a marker there was no store: a checkpoint
file alone is where the first start begins, and a file that is no store of ours is left alone.
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
from slurmsyncd.store import soundness
from slurmsyncd.store.database import Database, DatabaseCorrupt, translate_error
from slurmsyncd.store.disk_reserve import RESERVE_BYTES, DiskReserve
from slurmsyncd.store.lock import StoreLock, claim_directory
from slurmsyncd.store.schema import APPLICATION_ID, MIGRATIONS, VERSION
from slurmsyncd.store.sqlite_store import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

log = structlog.get_logger()

STORE = "store.sqlite"
_MARKER = "store.id"
_RESERVE = "store.reserve"
_SUFFIXES = ("-wal", "-shm", "-journal", "")
# A loss that is only said again keeps its time.
_RECORD_LOSS = """
    UPDATE meta SET recovered_at = :now, recovered_from = :reason WHERE recovered_from IS NOT :reason
"""
_AFTER_LOSS = "Slurm is read again over daemon.max_span; compare with `slurmsyncd verify`, then acknowledge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """
    An open store.

    Attributes:
        recovered: Why what was written down before is not all here: ``missing``, ``emptied``,
            ``damaged``, ``replaced`` or ``older``; None if it is. There is no cursor then, and Slurm has to
            be read again over the whole look-back, since what had not been delivered yet may be older than
            the checkpoint. Said again at each start until the first cursor is recorded.
        quarantined_as: Where the damaged file went, None if there was none.
    """

    store: SqliteStore
    recovered: str | None = None
    quarantined_as: Path | None = None


def open_store(
    directory: Path,
    sinks: Sequence[str],
    *,
    reserve_bytes: int = RESERVE_BYTES,
    wait_s: float = 1.0,
) -> Opened:
    """
    Open the store of a state directory, making what is missing.

    Args:
        directory: Ours, and writable by nobody else; made (0700) if it is missing.
        sinks: Names of the configured sinks. One that is new gets the runs recorded from now on;
            what waits for one that is gone stays until it is dropped.
        reserve_bytes: Kept back for a full disk.
        wait_s: For a process that is just letting go of the store.

    Raises:
        StoreError: The directory or a file in it cannot be used; the message says what to do.
        AlreadyRunning: Another process has the store.
    """
    try:
        claim_directory(directory)
        marker = StoreLock(directory / _MARKER, wait_s)
    except OSError as err:
        raise _refused(directory, err) from err
    try:
        return _open(directory, tuple(sinks), marker, DiskReserve(directory / _RESERVE, reserve_bytes))
    except OSError as err:
        marker.release()
        raise _refused(directory, err) from err
    except BaseException:
        marker.release()
        raise


def _open(directory: Path, sinks: tuple[str, ...], marker: StoreLock, reserve: DiskReserve) -> Opened:
    path = directory / STORE
    if not reserve.allocate():
        log.warning("disk_full_no_reserve", path=str(directory), hint="make room")
    database, trouble = _found(path, reserve, marker)
    aside = None
    if database is None:
        aside = _set_aside(path, trouble)
        _make(path)
        database = _checked(path, reserve)
    try:
        recovered = _loss(database, trouble, marker)
        store = _ready(database, sinks, marker, recovered)
    except BaseException:
        database.close()
        raise
    if recovered:
        log.warning("store_lost", path=str(path), reason=recovered, remedy=_AFTER_LOSS)
    return Opened(store=store, recovered=recovered, quarantined_as=aside)


def _found(path: Path, reserve: DiskReserve, marker: StoreLock) -> tuple[Database | None, str]:
    """Return the store that is there, or what is wrong with it."""
    trouble = _outside(path, marker)
    if trouble:
        return None, trouble
    try:
        return _checked(path, reserve), ""
    except DatabaseCorrupt as err:
        log.error("store_damaged", path=str(path), reason=err.what)  # noqa: TRY400 (no traceback for operators)
        return None, "damaged"


def _outside(path: Path, marker: StoreLock) -> str:
    """Return what is wrong with the file before SQLite touches it; empty if nothing is."""
    try:
        info = path.lstat()
    except FileNotFoundError:
        return "missing"
    if not stat.S_ISREG(info.st_mode):
        raise StoreError(f"{path} is not a plain file: move it away")
    with path.open("rb") as file:
        header = file.read(soundness.HEADER_BYTES)
    if not marker.id and not soundness.is_ours(header):
        raise StoreError(f"{path} is no store of slurmsyncd: move it away, or set daemon.state_dir elsewhere")
    if not header:
        return "emptied"  # SQLite would take it for a new database, and find it sound
    sound = soundness.is_ours(header) and soundness.is_whole(header) and not marker.suspect
    return "" if sound else "damaged"


def _loss(database: Database, trouble: str, marker: StoreLock) -> str | None:
    """Return why what was recorded here is not all in this store, None if it is."""
    if trouble:
        return trouble if marker.id or trouble != "missing" else None
    if marker.id not in {"", _identity(database)}:
        return "replaced"
    if database.rows("SELECT 1 FROM cursor LIMIT 1"):
        return None
    ((earlier,),) = database.rows("SELECT recovered_from FROM meta")  # and nothing has been read since
    return earlier or ("older" if marker.read else None)


def _checked(path: Path, reserve: DiskReserve) -> Database:
    """Open the file and see that it is a sound store of ours, of a schema we know."""
    database = Database(path, reserve)
    try:
        soundness.check(database)
        _migrate(database)
        soundness.reset_impossible_values(database, time.time())
    except BaseException:
        database.close()
        raise
    return database


def _migrate(database: Database) -> None:
    version = soundness.schema_version(database)
    if version < VERSION:
        database.write_relaxed(lambda con: _advance(con, version))


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
        raise translate_error(err, path) from err
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


def _set_aside(path: Path, trouble: str) -> Path | None:
    """Rename what is left of a store; return the new name of the file, None if that is gone."""
    aside = _unused(path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"))
    # The log first: beside a fresh store, it would be taken for that one's.
    moved = [suffix for suffix in _SUFFIXES if _renamed(path, aside, suffix)]
    if not moved:
        return None
    _sync_directory(path.parent)
    log.error("store_set_aside", path=str(path), reason=trouble, kept_as=f"{aside}{moved[-1]}")
    return aside if "" in moved else None


def _renamed(path: Path, aside: Path, suffix: str) -> bool:
    with suppress(FileNotFoundError):
        path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
        return True
    return False


def _unused(path: Path) -> Path:
    candidate, number = path, 1
    while any(candidate.with_name(candidate.name + suffix).exists() for suffix in _SUFFIXES):
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate


def _identity(database: Database) -> str:
    ((identity,),) = database.rows("SELECT id FROM meta")
    return str(identity)


def _ready(
    database: Database, sinks: tuple[str, ...], marker: StoreLock, recovered: str | None
) -> SqliteStore:
    """Write once, so that a disk that cannot be written shows now and the log is there to be watched."""
    now = time.time()

    def note(con: sqlite3.Connection) -> None:
        con.execute("UPDATE meta SET opened_at = ?", (now,))
        if recovered:
            con.execute(_RECORD_LOSS, {"now": now, "reason": recovered})
            con.execute("DELETE FROM cursor")  # wherever it was, Slurm is read again from further back
            con.execute("DELETE FROM settled")

    try:
        database.write_relaxed(note)
    except DiskFull:
        if recovered:
            raise  # else draining may still go on
    marker.store_identity(_identity(database))
    database.watch(marker.note_damage)
    return SqliteStore(database, sinks, marker)


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _refused(directory: Path, err: OSError) -> StoreError:
    name = err.filename or directory
    return StoreError(f"{name}: {err.strerror}: give the daemon's user a state directory of its own")
