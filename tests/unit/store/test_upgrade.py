"""T12: what earlier releases left behind opens, is complete, and drains."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from slurmsyncd.delivery import Delivered
from slurmsyncd.errors import StoreError
from slurmsyncd.model import RunPhase
from slurmsyncd.store import open_store, opening, soundness
from slurmsyncd.store.schema import MIGRATIONS
from tests.unit.store.builders import (
    T0,
    ended,
    key,
    known,
    opened,
    plan,
    running,
    settle,
    started,
    starts,
    stops,
    tell_all,
)

DATA = Path(__file__).with_name("data")


def stored(directory: Path, version: int) -> None:
    """Put a store of an earlier schema in place."""
    directory.mkdir(mode=0o700)
    con = sqlite3.connect(directory / "store.sqlite")
    con.executescript((DATA / f"schema-{version}.sql").read_text())
    con.close()


def test_t12_a_store_of_every_released_schema_is_at_hand() -> None:
    """A new schema comes with a dump of what it leaves behind."""
    assert {path.name for path in DATA.glob("*.sql")} == {
        f"schema-{version}.sql" for version in range(1, len(MIGRATIONS) + 1)
    }


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS) + 1))
def test_t12_an_earlier_schema_opens_and_drains(directory: Path, version: int) -> None:
    """Runs, cursor, waiting, held, parked and dead deliveries are all there, and can be told."""
    stored(directory, version)
    now = open_store(directory, ["rest"], reserve_bytes=4096)
    store = now.store
    assert (now.recovered, store.cursor("alpha")) == (None, T0 + 60)
    assert store.settled_until("alpha") == (None if version < 3 else T0 - 840)
    over = [2, 3, 6]
    assert known(store, "alpha", over) == {
        key(n): RunPhase.STOPPED if n in over else RunPhase.STARTED for n in range(1, 7)
    }
    assert store.counts("rest").states == {"ready": 3, "parked": 1, "dead": 1}
    assert [(entry.start, entry.stop) for entry in starts(store, T0)] == [(running(key(1)), None)]
    (two,) = stops(store, T0 + 200)
    assert (two.stop, two.start_acknowledged_at) == (ended(key(2)), T0 + 1)
    (dead,) = store.list_deliveries()
    assert (dead.key, dead.reason, dead.history) == (
        key(5),
        "http_400",
        ((T0 + 1, "start", "http_400", "bad"),),
    )
    store.retry([dead.id], T0)
    tell_all(store, T0 + 9999)
    settle(store, stops(store, T0 + 9999), Delivered(T0, T0, "ok"), T0)
    assert store.counts("rest").states == {"idle": 3}
    store.close()


def test_d11_a_migration_that_is_interrupted_is_made_again_whole(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a migration is none: the old schema stays until all of the new one is there."""
    store = opened(directory)
    store.record(plan(started(key(1)), cursor=5), T0)
    store.close()
    good = ("ALTER TABLE run ADD COLUMN colour TEXT", "CREATE TABLE later (id INTEGER PRIMARY KEY)")

    def migrate_by(*statements: str) -> None:
        for module in (opening, soundness):
            monkeypatch.setattr(module, "VERSION", len(MIGRATIONS) + 1)
            monkeypatch.setattr(module, "MIGRATIONS", (*MIGRATIONS, statements))

    migrate_by(*good, "SELECT abs(-9223372036854775808) FROM run")  # fails where there is a run
    with pytest.raises(StoreError, match="integer overflow"):
        opened(directory)
    migrate_by(*good)
    for _ in range(2):
        store = opened(directory)
        assert store._db.rows("SELECT colour FROM run") == [(None,)]
        assert store._db.rows("PRAGMA user_version") == [(len(MIGRATIONS) + 1,)]
        assert store.cursor("alpha") == 5
        store.close()
