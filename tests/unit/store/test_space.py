"""A full disk stops taking in, not draining."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from slurmsyncd.delivery import DeadLetter, Delivered
from slurmsyncd.errors import DiskFull, StoreError
from slurmsyncd.store import SqliteStore, open_store
from tests.unit.store.builders import (
    T0,
    key,
    known,
    plan,
    settle,
    started,
    starts,
    stopped,
    stops,
    tell_starts,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RESERVE = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m,mode=0755", "tmpfs", disk], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"needs the right to mount: {done.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def opened(disk: Path) -> SqliteStore:
    return open_store(disk / "state", ["rest"], reserve_bytes=RESERVE).store


def fill(disk: Path) -> Path:
    """Take all the room there is, to the last block."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            while True:
                try:
                    file.write(b"x" * size)
                except OSError:
                    break
    return filler


def take_in_until_full(store: SqliteStore) -> int:
    """Record plans of 100 runs until there is no room; give how many were taken."""
    for number in range(1000):
        runs = [key(number * 100 + each) for each in range(100)]
        try:
            store.record(plan(*(started(run, "x" * 9000 + str(run)) for run in runs), cursor=number + 1), T0)
        except DiskFull:
            return number
    raise AssertionError("the disk never filled up")


def test_d1_i1_a_full_disk_refuses_the_whole_plan(small_disk: Path) -> None:
    """The cursor stays, nothing is half written, reading and settling go on, also after a restart."""
    store = opened(small_disk)
    fill_later = small_disk / "ballast"
    fill_later.write_bytes(bytes(5 << 20))
    taken = take_in_until_full(store)
    assert taken > 0
    assert store.cursor("alpha") == taken
    assert len(known(store, "alpha")) == taken * 100
    with pytest.raises(DiskFull, match="make room"):
        store.record(plan(*(started(key(10**6 + n), "y" * 9000) for n in range(500)), cursor=10**7), T0)
    assert (small_disk / "state" / "store.reserve").stat().st_size == RESERVE
    store.close()
    store = opened(small_disk)
    assert (store.cursor("alpha"), len(known(store, "alpha"))) == (taken, taken * 100)
    tell_starts(store)
    assert store.counts("rest").states == {"idle": taken * 100}
    fill_later.unlink()
    store.record(plan(started(key(10**6)), cursor=10**6), T0)
    assert store.cursor("alpha") == 10**6
    store.close()


def test_d2_on_a_full_disk_the_reserve_is_given_up_to_go_on_settling(small_disk: Path) -> None:
    """Every verdict is carried out; nothing is taken in until there is room for the reserve again."""
    store = opened(small_disk)
    runs = [key(n) for n in range(300)]
    store.record(plan(*map(started, runs), *map(stopped, runs), cursor=1), T0)
    store.close()
    store = opened(small_disk)
    filler = fill(small_disk)
    tell_starts(store)
    settle(store, stops(store, T0)[:100], DeadLetter("http_400", "no"), T0)
    settle(store, stops(store, T0), Delivered(T0, T0, "ok"), T0)
    assert store.counts("rest").states == {"dead": 100}
    assert not (small_disk / "state" / "store.reserve").exists()
    with pytest.raises(DiskFull):
        store.record(plan(started(key(999)), cursor=2), T0)
    assert store.cursor("alpha") == 1
    filler.unlink()
    store.record(plan(started(key(999)), cursor=2), T0)
    assert store.cursor("alpha") == 2
    assert (small_disk / "state" / "store.reserve").stat().st_size == RESERVE
    store.close()


def test_d2_a_disk_that_is_full_at_the_start_drains(small_disk: Path) -> None:
    """The store opens without a reserve if need be, and what is due can be told."""
    store = opened(small_disk)
    store.record(plan(*(started(key(n)) for n in range(50))), T0)
    store.close()
    (small_disk / "state" / "store.reserve").unlink()
    filler = fill(small_disk)
    store = opened(small_disk)
    assert len(starts(store, T0)) == 50
    with pytest.raises(DiskFull):
        store.record(plan(started(key(99))), T0)
    filler.unlink()
    store.record(plan(started(key(99))), T0)
    tell_starts(store)
    assert store.counts("rest").states == {"idle": 51}
    store.close()


def test_d2_with_nothing_left_to_give_up_a_settlement_is_refused_whole(small_disk: Path) -> None:
    """It can be made again when there is room: the entries are still due."""
    store = opened(small_disk)
    store.record(plan(*(started(key(n)) for n in range(2000))), T0)
    store.close()
    store = opened(small_disk)
    (small_disk / "state" / "store.reserve").unlink()
    filler = fill(small_disk)
    entries = starts(store, T0)
    with pytest.raises(DiskFull):
        settle(store, entries, DeadLetter("http_400", "x" * 400), T0)
    assert starts(store, T0) == entries
    filler.unlink()
    settle(store, entries, DeadLetter("http_400", "x" * 400), T0)
    assert store.counts("rest").states == {"dead": 2000}
    store.close()


LIMITED = """
import sys
from pathlib import Path
from slurmsyncd.errors import DiskFull
from tests.unit.store.builders import T0, opened, tell_starts
from tests.unit.store.test_space import limit_files, take_in_until_full
store = opened(Path(sys.argv[1]))
limit_files()
taken = take_in_until_full(store)
assert store.cursor("alpha") == taken > 0
tell_starts(store)
store.close()
print(taken)
"""


SETTLING = """
import sys
from pathlib import Path
from slurmsyncd.delivery import Retry
from tests.unit.store.builders import T0, key, opened, plan, settle, started, starts, tell_starts
from tests.unit.store.test_space import limit_files
store = opened(Path(sys.argv[1]))
store.record(plan(*(started(key(n)) for n in range(1000))), T0)
for _ in range(5):  # the log is longer than the file will be
    settle(store, starts(store, T0), Retry(T0, "http_500", ""), T0)
limit_files((Path(sys.argv[1]) / "store.sqlite-wal").stat().st_size)
tell_starts(store)
assert store.counts("rest").states == {"idle": 1000}
store.close()
"""


def limit_files(size: int = 3 << 20) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_d3_a_log_that_may_not_grow_is_emptied_to_go_on_settling(directory: Path) -> None:
    """Settling does not need a larger file than there is."""
    done = subprocess.run(
        [sys.executable, "-c", SETTLING, str(directory)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_d3_a_limit_on_the_file_size_is_a_full_disk(directory: Path) -> None:
    """The process's limit (EFBIG) and a quota (EDQUOT) come as an I/O error: still only intake stops."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(directory)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    store = opened(directory.parent)
    assert store.cursor("alpha") == int(done.stdout)
    assert store.counts("rest").states == {"idle": int(done.stdout) * 100}
    store.close()


def test_d4_a_disk_that_became_read_only_ends_the_daemon(small_disk: Path) -> None:
    """No guessing: an error that is not DiskFull, naming the path; after a remount all is there."""
    store = opened(small_disk)
    store.record(plan(started(key(1)), cursor=1), T0)
    remount(small_disk, "ro", store)
    with pytest.raises(StoreError) as caught:
        opened(small_disk)
    assert not isinstance(caught.value, DiskFull)
    assert str(small_disk) in str(caught.value)
    remount(small_disk, "rw", None)
    store = opened(small_disk)
    assert store.cursor("alpha") == 1
    store.close()


def remount(disk: Path, how: str, store: SqliteStore | None) -> None:
    if store:
        store.close()
    subprocess.run(["mount", "-o", f"remount,{how}", disk], check=True)


def test_d4_io_errors_are_not_taken_for_a_full_disk(directory: Path) -> None:
    """An error on sync ends the daemon; what was acknowledged is there, and nothing is set aside."""
    if not os.access("/usr/bin/strace", os.X_OK):
        pytest.skip("needs strace")
    script = """
import sys
from pathlib import Path
from slurmsyncd.errors import DiskFull, StoreError
from tests.unit.store.builders import *
store = opened(Path(sys.argv[1]))
store.record(plan(started(key(1)), cursor=1), T0)
try:
    for n in range(2, 50):
        store.record(plan(started(key(n)), cursor=n), T0)
        print(n, flush=True)
except DiskFull:
    sys.exit("taken for a full disk")
except StoreError as err:
    print(err)
"""
    done = subprocess.run(
        [
            *("strace", "-f", "-o", "/dev/null", "-e", "trace=fdatasync"),
            *("-e", "inject=fdatasync:error=EIO:when=30+"),
            *(sys.executable, "-c", script, directory),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *acknowledged, error = done.stdout.split("\n")[:-1]
    assert "disk I/O error" in error
    again = open_store(directory, ["rest"], reserve_bytes=4096)
    assert again.recovered is None
    assert acknowledged
    assert (again.store.cursor("alpha") or 0) >= int(acknowledged[-1])
    again.store.close()
