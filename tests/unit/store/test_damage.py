"""D6: whatever rots in a store is noticed or does no harm. What was owed is told, or named, and nothing loops."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from slurmsyncd.delivery import DeadLetter, Delivered, Retry
from slurmsyncd.errors import StoreError
from slurmsyncd.store import SqliteStore, open_store
from slurmsyncd.store.database import DatabaseCorrupt
from slurmsyncd.store.queries import DeliverySelection
from slurmsyncd.store.schema import VERSION
from tests.tools.flips.life import flips
from tests.unit.store.builders import T0, key, opened, plan, settle, started, starts, stopped, stops

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from slurmsyncd.store import Opened

#: As many as ``python -m tests.tools.flips`` flips by the thousand: each kind of place, in each kind of store.
FLIPS = 72
SEED = 20261130


@pytest.mark.anyio
async def test_d6_a_flipped_bit_loses_no_run_and_restarts_the_daemon_once_at_most(tmp_path: Path) -> None:
    """Every run is told or named, though a bit of the file, its log or its marker flips, also while in use."""
    with capture_logs():
        found = [each async for _, each in flips(range(FLIPS), SEED, tmp_path)]
    assert [each for each in found if each.bad] == []
    assert any(each.recovered == ["damaged"] for each in found)
    assert any(each.ends for each in found)


@pytest.fixture
def left(directory: Path) -> Path:
    """A store that was closed: a start to send, a run that runs, a stop to send, a dead letter, a settled run."""
    store = opened(directory)
    runs = [key(n) for n in range(2, 6)]
    store.record(plan(*map(started, runs), stopped(key(3)), stopped(key(5)), cursor=5), T0)
    settle(store, starts(store, T0)[:2], Delivered(T0, T0, "ok"), T0)
    settle(store, starts(store, T0)[:1], DeadLetter("http_400", "bad"), T0)
    settle(store, starts(store, T0), Delivered(T0, T0, "ok"), T0)
    settle(
        store, [each for each in stops(store, T0) if each.start.key == key(5)], Delivered(T0, T0, "ok"), T0
    )
    store.record(plan(started(key(1))), T0)
    store.close()
    return directory


def reopened(directory: Path) -> Opened:
    return open_store(directory, ["rest"], reserve_bytes=4096)


def change(directory: Path, sql: str) -> None:
    """Change a store as nothing of ours does."""
    con = sqlite3.connect(directory / "store.sqlite")
    with con:
        con.executescript(sql)
    con.close()


def overwrite(offset: int, what: bytes) -> Callable[[Path], None]:
    def write(directory: Path) -> None:
        with (directory / "store.sqlite").open("r+b") as file:
            file.seek(offset)
            file.write(what)

    return write


def an_index_entry(directory: Path) -> None:
    """Change the last byte of an index: of the id of the row that it leads to."""
    con = sqlite3.connect(directory / "store.sqlite")
    ((page,),) = con.execute("SELECT rootpage FROM sqlite_master WHERE name = 'delivery_due'")
    con.close()
    overwrite(4096 * page - 1, b"\x77")(directory)


def a_gap(directory: Path) -> None:
    """Have a gap of accounting end a year later: what ends until then would not be read."""
    con = sqlite3.connect(directory / "store.sqlite")
    con.execute("INSERT INTO accounting_gap VALUES ('alpha', 100, 1700000160, 'x', 1.0)")
    con.commit()
    con.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    ((page,),) = con.execute("SELECT rootpage FROM sqlite_master WHERE name = 'accounting_gap'")
    con.close()
    page_bytes = (directory / "store.sqlite").read_bytes()[4096 * (page - 1) : 4096 * page]
    at = page_bytes.index((1_700_000_160).to_bytes(4, "big"))
    overwrite(4096 * (page - 1) + at, (1_731_536_160).to_bytes(4, "big"))(directory)


def a_letter_of_the_schema(directory: Path) -> None:
    """Make it no UTF-8: sqlite3 cannot even decode the message about it."""
    at = (directory / "store.sqlite").read_bytes().index(b"CREATE TABLE delivery")
    overwrite(at, b"\xc3")(directory)


def a_rule_of_the_schema(directory: Path) -> None:
    at = (directory / "store.sqlite").read_bytes().index(b"DEFAULT '[]'")
    overwrite(at, b"DEFAULT '[}'")(directory)


def a_function_in_the_schema(directory: Path) -> None:
    at = (directory / "store.sqlite").read_bytes().index(b"state IN (")
    overwrite(at, b"state$IN (")(directory)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(an_index_entry, id="index"),
        pytest.param(a_gap, id="gap"),
        pytest.param(a_letter_of_the_schema, id="schema, letter"),
        pytest.param(a_rule_of_the_schema, id="schema, default"),
        pytest.param(a_function_in_the_schema, id="schema, function"),
        pytest.param(overwrite(18, b"\x03"), id="write format"),
        pytest.param(overwrite(19, b"\x03"), id="read format"),
        pytest.param(overwrite(47, b"\x05"), id="schema format"),
        pytest.param(overwrite(60, bytes(4)), id="version 0"),
        pytest.param(overwrite(60, b"\x80"), id="version below 0"),
        pytest.param(overwrite(62, b"\x01"), id="version above ours"),
        pytest.param(overwrite(63, bytes((VERSION - 1,))), id="version before ours"),
        pytest.param(overwrite(63, b"\x01"), id="version 1"),
    ],
)
def test_d6_t6_damage_that_looks_like_something_else_is_set_aside_once(
    left: Path, damage: Callable[[Path], None]
) -> None:
    """None of it is taken for another release, a read-only disk or a sound store, start after start."""
    damage(left)
    now = reopened(left)
    assert (now.recovered, now.quarantined_as is not None) == ("damaged", True)
    now.store.record(plan(cursor=5), T0)
    now.store.close()
    again = reopened(left)
    assert (again.recovered, again.quarantined_as) == (None, None)
    again.store.close()


def test_d6_z6_a_settled_time_that_changed_is_damage(left: Path) -> None:
    """A later one would hide runs that slurmctld reported late; the index has the right one."""
    store = reopened(left).store
    store.settle_until("alpha", T0 - 4321)
    store.close()
    path = left / "store.sqlite"
    data, before, after = path.read_bytes(), *((T0 + s).to_bytes(4, "big") for s in (-4321, 4321))
    assert data.count(before) == 2
    path.write_bytes(data.replace(before, after, 1))
    now = reopened(left)
    assert (now.recovered, now.store.settled_until("alpha")) == ("damaged", None)
    now.store.close()


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM started WHERE run_id = 1",
        "DELETE FROM stopped",
        "INSERT INTO stopped SELECT * FROM started WHERE run_id = 1",
        "INSERT INTO started SELECT 99, at, trigger, body, crc FROM started LIMIT 1",
        "UPDATE run SET end_at = 0 WHERE phase = 'started'",
        "UPDATE delivery SET state = 'idle', due_at = NULL WHERE step = 'start'",
        "UPDATE delivery SET state = 'idle', due_at = NULL WHERE step = 'stop'",
        "UPDATE delivery SET state = 'ready', due_at = 0 WHERE state = 'idle'",
        "UPDATE meta SET recovered_at = 0",
        "DELETE FROM meta",
    ],
)
def test_d6_rows_that_contradict_each_other_are_damage(left: Path, sql: str) -> None:
    """A run that would never be ended, or a stop that would never be sent, is found at the start."""
    change(left, f"PRAGMA foreign_keys = OFF; {sql};")
    now = reopened(left)
    assert now.recovered == "damaged"
    now.store.close()


NONSENSE = ["1e300", "-1", "'word'", "x'ff'", "CAST(x'ff' AS TEXT)"]


@pytest.mark.parametrize("value", NONSENSE)
@pytest.mark.parametrize(
    ("table", "column"),
    [
        *(("delivery", name) for name in ("waiting_since", "acked_at", "hold_until", "failing_since")),
        *(("delivery", name) for name in ("start_attempts", "stop_attempts", "reason", "detail", "history")),
        *((table, name) for table in ("started", "stopped") for name in ("at", "trigger")),
    ],
)
def test_d6_an_impossible_value_holds_up_nothing(left: Path, table: str, column: str, value: str) -> None:
    """Whatever only describes a run is reset, or read as far as it can be: no run waits, and none is forgotten."""
    change(left, f"UPDATE {table} SET {column} = {value};")
    now = reopened(left)
    store = now.store
    assert (now.recovered, store.cursor("alpha")) == (None, 5)
    everything_can_be_asked_for(store)
    settle(store, starts(store, T0), Retry(T0, "http_500", "oops"), T0)
    assert [each.start.key for each in starts(store, T0)] == [key(1)]
    settle(store, starts(store, T0), Delivered(T0, T0, "ok"), T0)
    store.record(plan(stopped(key(1)), stopped(key(2))), T0)
    later = T0 + 10**10  # whatever a hold was reset to
    assert {each.start.key for each in stops(store, later)} == {key(1), key(2), key(3)}
    everything_can_be_asked_for(store)
    store.close()


def everything_can_be_asked_for(store: SqliteStore) -> None:
    assert [letter.key for letter in store.list_deliveries()] == [key(4)]
    for job_id in range(1, 6):
        (story,) = store.run_histories(job_id)
        for delivery in story.deliveries:
            assert isinstance(delivery.attempts, int)
            assert isinstance(delivery.waiting_since, float)
            assert 0 <= delivery.waiting_since < 1e11
            assert isinstance(delivery.detail, str)
    assert store.counts("rest").states["dead"] == 1
    assert [*store.delivered_ended_runs("rest", "alpha", 0, 1e11)] == [(T0, 5)]


def test_d6_a_run_whose_values_are_reset_is_named(left: Path) -> None:
    """The log says of which run something was lost."""
    change(left, "UPDATE delivery SET waiting_since = -1 WHERE state = 'dead'")
    with capture_logs() as logs:
        reopened(left).store.close()
    named = [(line["table"], line["job"]) for line in logs if line["event"] == "store_value_reset"]
    assert named == [("delivery", 4)]
    with capture_logs() as logs:
        reopened(left).store.close()
    assert [line["event"] for line in logs] == []


def test_d6_what_an_operator_adds_to_the_schema_is_no_damage(left: Path) -> None:
    """Statistics and an index of somebody's do no harm."""
    change(left, "ANALYZE; CREATE INDEX mine ON run (start_at);")
    now = reopened(left)
    assert now.recovered is None
    now.store.close()


class InUse:
    """A store in use, of which the file rots."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "store.sqlite"
        self.store = reopened(directory).store
        self.sound = self.path.read_bytes()

    def rot(self) -> None:
        with self.path.open("r+b") as file:
            file.seek(4096)
            file.write(os.urandom(len(self.sound) - 4096))
        self.store._db.rows("PRAGMA shrink_memory")

    def heal(self) -> None:
        self.path.write_bytes(self.sound)


@pytest.fixture
def in_use(directory: Path) -> Iterator[InUse]:
    store = opened(directory)
    runs = [key(n) for n in range(2000, 2400)]
    store.record(plan(*map(started, runs), *map(stopped, runs), cursor=5), T0)
    store.close()
    found = InUse(directory)
    yield found
    found.store.close()


def test_d6_damage_that_shows_in_use_is_remembered_and_the_file_set_aside_once(in_use: InUse) -> None:
    """The error says what the next start does, and it does so even if that would find nothing wrong."""
    in_use.rot()
    with pytest.raises(StoreError, match=r"malformed|not a database.*restart; the file is then set aside"):
        [in_use.store.run_histories(job_id) for job_id in range(2000, 2400)]
    with pytest.raises(DatabaseCorrupt):
        in_use.store.check_files()  # whoever asked that question, the daemon ends
    in_use.heal()
    in_use.store.close()
    in_use.path.with_name("store.sqlite-wal").unlink(missing_ok=True)
    in_use.heal()
    now = reopened(in_use.path.parent)
    assert (now.recovered, now.quarantined_as is not None) == ("damaged", True)
    now.store.close()
    again = reopened(in_use.path.parent)
    assert (again.recovered, again.quarantined_as) == ("damaged", None)  # said until Slurm was read
    again.store.close()


def test_d6_an_error_out_of_a_rotten_file_is_called_damage_and_any_other_is_not(in_use: InUse) -> None:
    """A value that cannot be raises what a bug of ours would raise."""
    with pytest.raises(TypeError), in_use.store.examined():
        raise TypeError
    in_use.rot()
    with pytest.raises(DatabaseCorrupt), in_use.store.examined():
        raise TypeError
    in_use.store.close()
    now = reopened(in_use.path.parent)
    assert now.recovered == "damaged"
    now.store.close()


def test_d6_a_record_that_is_gone_in_use_is_damage(left: Path) -> None:
    """It is no dead letter: Slurm can be asked again, for this run and whatever else is gone."""
    store = reopened(left).store
    store._db.write_relaxed(lambda con: con.execute("DELETE FROM started WHERE run_id = 5"))
    with pytest.raises(DatabaseCorrupt, match="is missing"):
        starts(store, T0)
    store.close()
    now = reopened(left)
    assert now.recovered == "damaged"
    now.store.close()


def test_d6_a_start_is_never_sent_as_a_stop(left: Path) -> None:
    """Where a page leads to another table, the record is sound, and of the right run."""
    store = reopened(left).store
    store._db.write_relaxed(
        lambda con: con.execute(
            "UPDATE stopped SET (body, crc) = (SELECT body, crc FROM started a WHERE a.run_id = stopped.run_id)"
        )
    )
    assert stops(store, T0) == []
    assert {
        letter.key for letter in store.select(DeliverySelection(state="dead", reason="damaged_record"))
    } == {key(3)}
    store.close()
