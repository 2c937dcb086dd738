"""T6: the known ways a store's files can be wrong. None is ever taken for "nothing to do"."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from slurmsyncd.errors import AlreadyRunning, StoreError
from slurmsyncd.model import RunPhase
from slurmsyncd.store import open_store
from tests.unit.store.builders import T0, key, known, opened, plan, started, starts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from slurmsyncd.store import Opened


@pytest.fixture
def left(directory: Path) -> Path:
    """A store that a killed daemon left behind: part in the file, part in the log."""
    store = opened(directory)
    store.record(plan(*(started(key(n)) for n in range(200)), cursor=5), T0)
    store.close()
    store = opened(directory)
    store.record(plan(started(key(1000)), cursor=9), T0)
    crashed = directory.with_name("crashed")
    shutil.copytree(directory, crashed)
    store.close()
    assert (crashed / "store.sqlite-wal").stat().st_size > 0
    return crashed


def reopened(directory: Path) -> Opened:
    return open_store(directory, ["rest"], reserve_bytes=4096)


def test_a_killed_daemons_store_opens_whole(left: Path) -> None:
    """D5, P5: nothing is recovered, nothing is lost, no lock is left."""
    now = reopened(left)
    assert (now.recovered, now.quarantined_as) == (None, None)
    assert (len(known(now.store, "alpha")), now.store.cursor("alpha")) == (201, 9)
    now.store.close()


def test_a_new_directory_is_private_and_nothing_is_recovered(directory: Path) -> None:
    """The first start is no incident, and nobody else can read what is written."""
    now = reopened(directory)
    assert (now.recovered, now.store.data_loss()) == (None, None)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    for path in directory.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    now.store.close()


def zero(path: Path) -> None:
    path.write_bytes(b"")


def half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def torn(path: Path) -> None:
    """A page in the middle holds another's bytes."""
    with path.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(os.urandom(4096))


def garbage_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(os.urandom(100))


def text(path: Path) -> None:
    path.write_text("this was a store once\n" * 1000)


def foreign(path: Path) -> None:
    path.unlink()
    con = sqlite3.connect(path)
    con.execute("CREATE TABLE run (other INTEGER)")
    con.close()


def no_identity(path: Path) -> None:
    con = sqlite3.connect(path)
    with con:
        con.execute("DELETE FROM meta")
    con.close()


def no_tables(path: Path) -> None:
    path.unlink()
    con = sqlite3.connect(path)
    con.execute("VACUUM")
    con.close()


DAMAGES = [zero, half, torn, garbage_header, text, foreign, no_identity, no_tables]


@pytest.mark.parametrize("keep_log", [True, False], ids=["log", "no_log"])
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_d6_d7_t6_a_damaged_store_is_set_aside_and_said(
    left: Path, damage: Callable[[Path], None], keep_log: bool
) -> None:
    """The file is kept under another name, a fresh store works, and the incident stays until acknowledged."""
    path = left / "store.sqlite"
    if not keep_log:
        path.with_name("store.sqlite-wal").unlink()
    damage(path)
    size = path.stat().st_size
    now = reopened(left)
    assert now.recovered == ("emptied" if damage is zero else "damaged")
    assert now.quarantined_as is not None
    assert now.quarantined_as.name.startswith("store.sqlite.damaged-")
    if not keep_log:  # else SQLite may have merged the log into the file
        assert now.quarantined_as.stat().st_size == size
    store = now.store
    assert (known(store, "alpha"), store.cursor("alpha")) == ({}, None)
    store.record(plan(started(key(1)), cursor=3), T0)
    store.close()
    after = reopened(left)
    assert (after.recovered, after.quarantined_as) == (None, None)
    assert known(after.store, "alpha") == {key(1): RunPhase.STARTED}
    incident = after.store.data_loss()
    assert incident is not None
    assert incident[1] == now.recovered
    after.store.acknowledge_data_loss()
    assert after.store.data_loss() is None
    after.store.close()


def test_d7_a_deleted_store_is_missed(left: Path) -> None:
    """The marker remembers that there was one."""
    for name in ("store.sqlite", "store.sqlite-wal"):
        (left / name).unlink()
    now = reopened(left)
    assert (now.recovered, now.quarantined_as) == ("missing", None)
    now.store.close()


@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
@pytest.mark.parametrize("marked", [True, False], ids=["marked", "unmarked"])
def test_d7_what_a_deleted_store_left_behind_is_not_taken_for_the_next_ones(
    left: Path, suffix: str, marked: bool
) -> None:
    """A log without its store is set aside: SQLite would apply it to the new one."""
    wal = (left / "store.sqlite-wal").read_bytes()
    for path in left.iterdir():
        if path.name != "store.id" or not marked:
            path.unlink()
    (left / f"store.sqlite{suffix}").write_bytes(wal)
    now = reopened(left)
    assert (now.recovered, now.quarantined_as) == ("missing" if marked else None, None)
    assert known(now.store, "alpha") == {}
    (kept,) = left.glob(f"store.sqlite.damaged-*{suffix}")
    assert kept.read_bytes() == wal
    now.store.close()


def test_d7_a_loss_is_said_again_until_slurm_was_read(left: Path) -> None:
    """A crash between finding the loss and reading Slurm again must not turn it into a plain start."""
    zero(left / "store.sqlite")
    reopened(left).store.close()
    again = reopened(left)
    assert (again.recovered, again.quarantined_as) == ("emptied", None)
    again.store.record(plan(cursor=5), T0)
    again.store.close()
    last = reopened(left)
    assert last.recovered is None
    last.store.close()


def test_d6_two_damaged_stores_within_a_second_are_both_kept(left: Path) -> None:
    """What was set aside first is not overwritten."""
    kept = []
    for _ in range(3):
        text(left / "store.sqlite")
        now = reopened(left)
        kept.append(now.quarantined_as)
        now.store.close()
    assert len({path for path in kept if path and path.exists()}) == 3


def test_d9_a_store_put_back_from_elsewhere_is_taken_and_slurm_read_again(left: Path, tmp_path: Path) -> None:
    """A sound store that is not the one we had keeps what waits in it, but not its position."""
    other = opened(tmp_path / "other")
    other.record(plan(started(key(77)), cursor=12345), T0)
    other.close()
    (left / "store.sqlite-wal").unlink()
    shutil.copy(tmp_path / "other" / "store.sqlite", left / "store.sqlite")
    now = reopened(left)
    assert now.recovered == "replaced"
    assert now.store.cursor("alpha") is None
    assert [entry.start.key for entry in starts(now.store, T0)] == [key(77)]
    now.store.close()


def test_d9_without_its_log_an_older_state_is_sound_and_shows_in_the_cursor(left: Path) -> None:
    """What only the log had is gone without an error: the cursor is as old as the rest, so it is read again."""
    (left / "store.sqlite-wal").unlink()
    now = reopened(left)
    assert (now.store.cursor("alpha"), len(known(now.store, "alpha"))) == (5, 200)
    now.store.close()


def test_d9_a_store_that_lost_its_first_log_is_no_new_one(directory: Path) -> None:
    """Sound and empty, beside a checkpoint: Slurm is read again over the whole look-back, not from there."""
    store = opened(directory)
    store.record(plan(started(key(1)), cursor=5), T0)
    crashed = directory.with_name("crashed")
    shutil.copytree(directory, crashed)
    store.close()
    (crashed / "store.sqlite-wal").unlink()
    for _ in range(2):  # said again until something was read
        now = reopened(crashed)
        assert (now.recovered, known(now.store, "alpha")) == ("older", {})
        now.store.close()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_t6_i1_a_cut_log_loses_whole_transactions_only(left: Path, share: float) -> None:
    """Cursor and runs go back together, to some commit."""
    log = left / "store.sqlite-wal"
    os.truncate(log, int(log.stat().st_size * share))
    now = reopened(left)
    assert (now.store.cursor("alpha"), len(known(now.store, "alpha"))) in {(5, 200), (9, 201)}
    now.store.close()


def test_d10_a_newer_schema_is_refused_and_left_alone(left: Path) -> None:
    """The message names the release that is needed; nothing is set aside."""
    con = sqlite3.connect(left / "store.sqlite")
    with con:
        con.execute("UPDATE meta SET program = '9.8.7'")
        con.execute("PRAGMA user_version = 99")
    con.close()
    before = sorted(path.name for path in left.iterdir())
    for _ in range(2):
        with pytest.raises(StoreError, match=r"install slurmsyncd 9\.8\.7 or newer"):
            reopened(left)
    assert set(before) >= {path.name for path in left.iterdir() if "damaged" in path.name} == set()


@pytest.mark.parametrize("damage", [text, foreign, zero], ids=lambda damage: damage.__name__)
def test_x11_a_file_that_was_never_ours_is_left_alone(
    directory: Path, damage: Callable[[Path], None]
) -> None:
    """Where no marker says that a store was here, the file is somebody's."""
    directory.mkdir(mode=0o700)
    path = directory / "store.sqlite"
    path.touch()
    damage(path)
    content = path.read_bytes()
    with pytest.raises(StoreError, match="no store of slurmsyncd"):
        reopened(directory)
    assert path.read_bytes() == content


@pytest.mark.parametrize("name", ["store.sqlite", "store.id", "store.reserve"])
def test_x11_symbolic_links_at_our_paths_are_not_followed(left: Path, tmp_path: Path, name: str) -> None:
    """The victim stays as it is, and the path is named."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (left / name).unlink(missing_ok=True)
    (left / name).symlink_to(victim)
    with pytest.raises(StoreError, match=name):
        reopened(left)
    assert victim.read_text() == "precious"


def test_x10_a_directory_that_others_may_write_is_refused(directory: Path, tmp_path: Path) -> None:
    """So are a symbolic link, a file, and somebody else's directory; each with the mode that is wanted."""
    directory.mkdir()
    directory.chmod(0o770)
    file = tmp_path / "file"
    file.touch()
    link = tmp_path / "link"
    link.symlink_to(tmp_path, target_is_directory=True)
    for path in (directory, file, link):
        with pytest.raises(StoreError, match=r"that nobody else can write to, e\.g\. mode 0700"):
            reopened(path)
    with pytest.raises(StoreError, match="file"):
        reopened(file / "below")


def test_x10_a_directory_that_others_may_read_shows_them_names_alone(directory: Path) -> None:
    """What is in the files is for the daemon's user, whatever its umask is."""
    directory.mkdir()
    directory.chmod(0o755)
    umask = os.umask(0o000)
    try:
        reopened(directory).store.close()
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
    finally:
        os.umask(umask)
    assert set(modes.values()) == {0o600}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a directory to somebody else")
def test_x10_a_directory_of_another_user_is_refused(directory: Path) -> None:
    """Root does not leave files there that the daemon could not write."""
    directory.mkdir(mode=0o700)
    os.chown(directory, 12345, 12345)
    with pytest.raises(StoreError, match=r"belongs to uid 12345.*run as that user"):
        reopened(directory)
    assert list(directory.iterdir()) == []


HOLD = """
import sys
from pathlib import Path
from slurmsyncd.store import open_store
store = open_store(Path(sys.argv[1]), ["rest"], reserve_bytes=4096).store
print("open", flush=True)
sys.stdin.read()
"""


def test_p4_p5_a_second_process_is_turned_away_until_the_first_is_dead(directory: Path) -> None:
    """Its message says what to do; after kill -9 no lock is left."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(AlreadyRunning, match="stop it, or ask the daemon"):
            open_store(directory, ["rest"], wait_s=0.05)
        holder.kill()
    reopened(directory).store.close()


def test_p4_a_tool_that_has_the_file_open_keeps_us_out_without_harm(left: Path) -> None:
    """Somebody's sqlite3 shell in a transaction: turned away, not taken for damage."""
    con = sqlite3.connect(left / "store.sqlite", isolation_level=None)
    con.execute("BEGIN IMMEDIATE")
    with pytest.raises(AlreadyRunning, match=r"store\.sqlite is in use"):
        reopened(left)
    con.close()
    assert not [path for path in left.iterdir() if "damaged" in path.name]


@pytest.mark.parametrize("name", ["store.sqlite", "store.sqlite-wal"])
@pytest.mark.parametrize("replaced", [True, False], ids=["replaced", "deleted"])
def test_d8_files_deleted_or_replaced_under_us_are_noticed(
    directory: Path, name: str, replaced: bool
) -> None:
    """Each cycle looks; what is written from then on would vanish."""
    store = opened(directory)
    store.record(plan(started(key(1))), T0)
    store.check_files()
    content = (directory / name).read_bytes()
    (directory / name).unlink()
    if replaced:
        (directory / name).write_bytes(content)
    with pytest.raises(StoreError, match="deleted or replaced"):
        store.check_files()
    store.close()


def test_crash_while_making_the_first_store_leaves_nothing_in_the_way(directory: Path) -> None:
    """A draft that was never put in place is made anew, and is no incident."""
    directory.mkdir(mode=0o700)
    (directory / "store.sqlite.new").write_text("half a draft")
    (directory / "store.id").touch(mode=0o600)
    now = reopened(directory)
    assert now.recovered is None
    now.store.close()
