"""D7, D9: which store was here, and how far accounting had been read: what the files beside it say."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from slurmsyncd.store import checkpoint_file as lastrun
from tests.tools.flips.world import CLUSTERS, LASTRUN, Daemon, World
from tests.unit.store.builders import T0, key, opened, plan, started

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOUR = 3600
WEEK = 7 * 86400


async def looks(directory: Path, at: float = T0) -> list[int]:
    """Start a daemon and have it look once; give since when it reads the accounting of each cluster."""
    world = World(runs=[])
    world.clock.at = at
    daemon = Daemon(directory, world)
    with daemon.closing():
        await daemon.begin()
        await daemon.look()
    return [since for _, since in world.looks]


@pytest.fixture(params=["no store", "no look"])
def touched(directory: Path, request: pytest.FixtureRequest) -> Path:
    """A lastrun file of an hour ago, beside no store, or one that a start left whom Slurm did not answer."""
    directory.mkdir(mode=0o700)
    if request.param == "no look":
        opened(directory).close()
    lastrun.write(directory / LASTRUN, T0 - HOUR)
    return directory


@pytest.mark.anyio
async def test_d9_a_lastrun_file_without_a_store_is_where_the_first_start_begins(touched: Path) -> None:
    """The file of `config import`, or one that was touched, is believed: there was no store to be lost."""
    assert await looks(touched) == [T0 - HOUR - 60] * len(CLUSTERS)
    assert lastrun.read(touched / LASTRUN) == T0


@pytest.mark.anyio
async def test_d7_a_lastrun_file_beside_a_lost_store_is_not_where_the_next_start_begins(
    directory: Path,
) -> None:
    """What had not been sent may be older: the whole look-back is read, until that is done."""
    await looks(directory)
    deleted(directory)
    opened(directory).close()
    store = opened(directory)
    store.acknowledge_data_loss()
    store.close()
    assert await looks(directory, T0 + 100) == [T0 + 100 - WEEK] * len(CLUSTERS)
    assert await looks(directory, T0 + 200) == [T0 + 100 - 60] * len(CLUSTERS)


def deleted(directory: Path) -> None:
    (directory / "store.sqlite").unlink()


def replaced(directory: Path) -> None:
    other = directory.with_name("other")
    opened(other).close()
    shutil.copy(other / "store.sqlite", directory)


def emptied(directory: Path) -> None:
    os.truncate(directory / "store.sqlite", 0)


def damaged(directory: Path) -> None:
    os.truncate(directory / "store.sqlite", 5000)


def older(directory: Path) -> None:
    """Lose the log, which was all there was."""
    (directory / "store.sqlite-wal").unlink()


@pytest.mark.parametrize(
    ("loss", "reason"),
    [
        (deleted, "missing"),
        (replaced, "replaced"),
        (emptied, "emptied"),
        (damaged, "damaged"),
        (older, "older"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_d7_d9_each_loss_is_a_warning_of_the_log_with_what_is_done_about_it(
    directory: Path, loss: Callable[[Path], None], reason: str
) -> None:
    """It is said once at each start, until Slurm was read again."""
    store = opened(directory)
    store.record(plan(started(key(1)), cursor=5), T0)
    killed = directory.with_name("killed")
    shutil.copytree(directory, killed)
    store.close()
    left = killed if loss is older else directory
    loss(left)
    assert [said_at_start(left) for _ in range(2)] == [[("warning", reason)]] * 2
    store = opened(left)
    store.record(plan(cursor=9), T0)
    store.close()
    assert said_at_start(left) == []


def said_at_start(directory: Path) -> list[tuple[str, str]]:
    """Return level and reason of each line about a loss; all of them say what to do."""
    with capture_logs() as logs:
        opened(directory).close()
    lines = [line for line in logs if line["event"] == "store_lost"]
    assert all("slurmsyncd verify" in line["remedy"] for line in lines)
    return [(line["log_level"], line["reason"]) for line in lines]
