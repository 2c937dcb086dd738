"""
The connection: whole transactions, translated errors, and a reserve for the day the disk is full.

Taking in waits for the disk (``synchronous=FULL``): a lost record is a lost run. Settling does not
(``NORMAL``): a power cut that loses a settlement only repeats a request that is harmless to repeat,
and waiting for an honest disk would cap a deliverer at some 170 groups a second.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from slurmsyncd.errors import AlreadyRunning, DiskFull, SlurmsyncdError, StoreError
from slurmsyncd.store.disk_reserve import is_disk_full

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from slurmsyncd.store.disk_reserve import DiskReserve

T = TypeVar("T")

log = structlog.get_logger()

# The log is cut back to this after a large transaction.
_WAL_BYTES = 4 * 2**20
# SQLite's own 2 MiB fill up at 1 KB for each run, and are no faster: the kernel has the pages, too.
_CACHE_KIB = 256


# SQLite's message quotes what it read, and sqlite3 cannot decode all of that.
_FAILED = (sqlite3.Error, UnicodeDecodeError)
# Errors of the host and of our code. All others are the file's, a constraint's too: our SQL breaks none.
_OTHER_KINDS = (sqlite3.OperationalError, sqlite3.ProgrammingError, sqlite3.InterfaceError)
# But these operational errors are the file's.
_DAMAGE = ("malformed", "unsupported file format", "no such table", "no such column")


class DatabaseCorrupt(StoreError):
    """
    The file is no sound database: exit. The next start quarantines it.

    Attributes:
        what: What is wrong with it.
    """

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"{path}: {what}: restart; the file is then set aside and Slurm read again")
        self.what = what


class Database:
    """
    The open store file.

    Attributes:
        path: Of the file.
    """

    def __init__(self, path: Path, reserve: DiskReserve, *, wait_s: float = 1.0) -> None:
        self.path = path
        self._reserve = reserve
        self._inodes: dict[Path, tuple[int, int]] = {}
        self._damage: DatabaseCorrupt | None = None
        self._note_damage: Callable[[], None] | None = None
        try:
            self._con = connect(path, wait_s)
        except _FAILED as err:
            raise translate_error(err, path) from err

    def rows(self, sql: str, values: Sequence[object] | Mapping[str, object] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        try:
            return self._con.execute(sql, values).fetchall()
        except _FAILED as err:
            raise self._failure(err) from err

    def each(self, sql: str, values: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query one by one. Exhaust the iterator before the next query."""
        try:
            yield from self._con.execute(sql, values)
        except _FAILED as err:
            raise self._failure(err) from err

    def write_durable(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """
        Do ``work`` in one transaction that is on the disk when this returns.

        Raises:
            DiskFull: Nothing was changed. The room left is kept for ``write_relaxed``.
        """
        if not self._has_room():
            raise _full(self.path)
        try:
            return self._transact(work, "FULL")
        except DiskFull:
            self._empty_log()
            raise

    def write_relaxed(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """
        Do ``work`` in one transaction; on a full disk the reserve is given up for it.

        A power cut may undo it, a crash of the process does not.

        Raises:
            DiskFull: Nothing was changed, and there is no reserve left.
        """
        try:
            return self._transact(work, "NORMAL")
        except DiskFull:
            if self._reserve.release():
                log.warning("disk_full_reserve_given_up", path=str(self.path), hint="make room")
            self._empty_log()
        return self._transact(work, "NORMAL")

    def watch(self, note_damage: Callable[[], None]) -> None:
        """
        Remember which files are ours, for ``check_files``.

        Args:
            note_damage: Called when the file turns out to be damaged from now on.
        """
        self._note_damage = note_damage
        self._inodes = {path: where for path in self._files() if (where := _inode(path)) is not None}

    def check_files(self) -> None:
        """
        Check that the files were not deleted or replaced and that no query found damage.

        Raises:
            StoreError: A file was deleted or replaced, so later writes would be lost. Exit.
            DatabaseCorrupt: A query found damage.
        """
        if self._damage is not None:
            raise self._damage
        for path, where in self._inodes.items():
            if _inode(path) != where:
                raise StoreError(
                    f"{path} was deleted or replaced while in use: restart; Slurm is then read again"
                )

    def close(self) -> None:
        """Let go of the file. What was committed stays, even if the last clean-up fails."""
        try:
            self._con.close()
        except _FAILED as err:
            log.warning("store_close_failed", path=str(self.path), reason=str(self._failure(err)))

    def _empty_log(self) -> None:
        """Move the log into the file, so that it can be written from its beginning again."""
        with suppress(sqlite3.Error):  # no room for that either
            self._con.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _has_room(self) -> bool:
        try:
            return self._reserve.allocate()
        except OSError as err:
            raise StoreError(f"{err.filename or self.path.parent}: {err.strerror}: check the disk") from err

    def _files(self) -> tuple[Path, Path]:
        return self.path, self.path.with_name(self.path.name + "-wal")

    def _transact(self, work: Callable[[sqlite3.Connection], T], synchronous: str) -> T:
        con = self._con
        try:
            con.execute(f"PRAGMA synchronous = {synchronous}")
            con.execute("BEGIN IMMEDIATE")
            try:
                result = work(con)
                con.execute("COMMIT")
            except BaseException:
                # SQLite itself has rolled back after some errors, a full disk among them.
                if con.in_transaction:
                    con.execute("ROLLBACK")
                raise
        except _FAILED as err:
            raise self._failure(err) from err
        return result

    def damaged(self, what: str) -> DatabaseCorrupt:
        """Note damage that a query found, so that the next start sets the file aside; return the error."""
        return self._note(DatabaseCorrupt(self.path, what))

    def _failure(self, err: Exception) -> SlurmsyncdError:
        failure = translate_error(err, self.path)
        return self._note(failure) if isinstance(failure, DatabaseCorrupt) else failure

    def _note(self, damage: DatabaseCorrupt) -> DatabaseCorrupt:
        self._damage = damage
        if self._note_damage is not None:
            with suppress(OSError):  # the next start has to find it by itself
                self._note_damage()
        return damage


def connect(path: Path, wait_s: float) -> sqlite3.Connection:
    """Open an existing file with the settings that everything here relies on, alone."""
    con = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=wait_s,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        # Exclusive before the first access: one connection, no shared memory file, and a second
        # process is turned away (two writers may also meet SQLite's WAL-reset bug).
        con.execute("PRAGMA locking_mode = EXCLUSIVE")
        con.execute("PRAGMA journal_mode = WAL")
        con.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
        con.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        con.execute("PRAGMA foreign_keys = ON")
        # No inode is needed while the disk is full.
        con.execute("PRAGMA temp_store = MEMORY")
        # One flipped byte of a text must not keep the other rows from being read.
        con.text_factory = partial(str, encoding="utf-8", errors="replace")
    except BaseException:
        con.close()
        raise
    return con


def translate_error(err: Exception, path: Path) -> SlurmsyncdError:
    """Return the slurmsyncd error for an SQLite error, by its text: Python 3.10 has no SQLite error codes."""
    text = "malformed text" if isinstance(err, UnicodeDecodeError) else str(err)
    if "is locked" in text:
        return AlreadyRunning(
            f"{path} is in use by another process: stop it, or ask the running daemon instead"
        )
    if not isinstance(err, _OTHER_KINDS) or any(words in text for words in _DAMAGE):
        return DatabaseCorrupt(path, text)
    if "is full" in text or ("disk I/O error" in text and is_disk_full(path)):
        return _full(path)
    return StoreError(f"{path}: {text}: check the disk and the rights of its directory")


def _full(path: Path) -> DiskFull:
    return DiskFull(f"{path.parent}: no room on the disk: make room; nothing more is taken in until then")


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        info = path.lstat()
    except FileNotFoundError:
        return None
    return info.st_dev, info.st_ino
