"""The directory of hints: whatever is found there is taken away, nothing is opened, the owner is the sender."""

from __future__ import annotations

import os
import shutil
import stat
from typing import TYPE_CHECKING

import anyio
import pytest
import structlog

from slurmsyncd.config import HookConfig
from slurmsyncd.errors import ConfigError
from slurmsyncd.model import Notification
from slurmsyncd.triggers import spool as spooling
from slurmsyncd.triggers.notification_filter import NotificationFilter
from slurmsyncd.triggers.spool import BATCH, SpoolReader, spool

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="NOT RUN: needs root to act as another user")
NAME = "context=prolog,cluster=alpha,job={},restarts=0"


class Place:
    """A spool directory, and what came of the files in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.hints: list[Notification] = []
        self.gate = NotificationFilter(self.hints.append, uids=frozenset({os.geteuid()}))
        self.hook = HookConfig(spool=str(path), allow_users=())
        self.sweeper = SpoolReader(self.hook.spool, self.gate)

    async def sweep(self) -> None:
        await self.sweeper.read_spool()


@pytest.fixture
def place(run_dir: Path) -> Place:
    return Place(run_dir / "spool")


async def test_a_name_is_a_hint_and_is_gone(place: Place) -> None:
    """What it says is what a datagram would say."""
    with spool(place.hook):
        (place.path / NAME.format(27)).touch()
        await place.sweep()
        assert place.hints == [Notification(cluster="alpha", job_id=27, context="prolog")]
        assert list(place.path.iterdir()) == []


async def test_a_thousand_are_taken_at_once_and_others_get_their_turn(place: Place) -> None:
    """One sweep takes all, in portions."""
    with spool(place.hook):
        for job_id in range(1, 4 * BATCH + 1):
            (place.path / NAME.format(job_id)).touch()
        turns = 0
        async with anyio.create_task_group() as group:

            async def count() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await anyio.lowlevel.checkpoint()

            group.start_soon(count)
            await place.sweep()
            group.cancel_scope.cancel()
    assert {hint.job_id for hint in place.hints} == set(range(1, 4 * BATCH + 1))
    assert turns >= 4


async def test_k13_what_is_found_is_never_opened_nor_followed(place: Place, tmp_path: Path) -> None:
    """A FIFO would stop us, a link lead elsewhere: names count, and are taken away."""
    target = tmp_path / "precious"
    target.write_text("precious")
    with spool(place.hook):
        os.mkfifo(place.path / NAME.format(1))
        (place.path / NAME.format(2)).symlink_to(target)
        (place.path / NAME.format(3)).mkdir()
        await place.sweep()
        assert {hint.job_id for hint in place.hints} == {1, 2}
        assert list(place.path.iterdir()) == []
    assert target.read_text() == "precious"
    assert place.gate.counts().rejected == {"spool": 1}


async def test_i6_k13_what_cannot_be_removed_is_named_once_and_passed_over(place: Place) -> None:
    """Of thousands of directories with something in them, a sweep touches none again, and hints pass."""
    full = [place.path / NAME.format(n) for n in range(1, 301)]
    with spool(place.hook), structlog.testing.capture_logs() as logs:
        for each in full:
            (each / "x").mkdir(parents=True)
        for n in range(1000, 1003):
            (place.path / NAME.format(n)).touch()
            await place.sweep()
    assert [hint.job_id for hint in place.hints] == [1000, 1001, 1002]
    assert place.gate.counts().rejected == {"spool": 300}
    said = [entry for entry in logs if entry["event"] == "hook_spool_obstructed"]
    assert [entry["entries"] for entry in said] == [300]


async def test_k13_what_is_in_the_way_anew_is_named_anew(place: Place) -> None:
    """An operator who removed it learns that it is back."""
    with spool(place.hook), structlog.testing.capture_logs() as logs:
        for _ in range(2):
            (place.path / "a" / "b").mkdir(parents=True)
            await place.sweep()
            shutil.rmtree(place.path / "a")
            await place.sweep()
    assert [entry["event"] for entry in logs].count("hook_spool_obstructed") == 2


async def test_i6_one_sweep_removes_a_bounded_number(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are made as fast as they are removed keep no sweep for long; the next one goes on."""
    monkeypatch.setattr(spooling, "MOST", 3)
    with spool(place.hook):
        for n in range(1, 8):
            (place.path / NAME.format(n)).touch()
        for left in (4, 1, 0):
            await place.sweep()
            assert len(list(place.path.iterdir())) == left
    assert {hint.job_id for hint in place.hints} == set(range(1, 8))


@pytest.mark.parametrize(
    "name",
    [
        b"x",
        b"\xff\n\x1b[2J",
        b"context=prolog",
        b"context=prolog,cluster=alpha,job=0",
        b"context=prolog,cluster=alpha,job=27,job=28",
        b"context=prolog,cluster=a b,job=27",
        b"a" * 255,
    ],
)
async def test_k6_a_name_that_is_no_hint_is_refused_and_gone(name: bytes, place: Place) -> None:
    """Counted, and its bytes reach no log."""
    with spool(place.hook), structlog.testing.capture_logs() as logs:
        os.close(os.open(os.path.join(os.fsencode(place.path), name), os.O_CREAT | os.O_WRONLY))  # noqa: PTH118
        await place.sweep()
        assert list(place.path.iterdir()) == []
    assert place.hints == []
    assert place.gate.counts().received == 1
    assert all(set(entry) <= {"event", "log_level", "reason", "uid"} for entry in logs)


@as_root
async def test_k14_the_owner_of_the_file_is_the_sender(place: Place) -> None:
    """Another user's file is no hint."""
    with spool(place.hook):
        path = place.path / NAME.format(27)
        path.touch()
        os.chown(path, 65534, 65534)
        await place.sweep()
    assert place.hints == []
    assert place.gate.counts().rejected == {"uid": 1}


@as_root
async def test_slurms_group_may_leave_files_while_the_daemon_runs(place: Place) -> None:
    """And may neither look nor remove those of others; afterwards it is shut, and the next daemon opens it."""
    hook = HookConfig(spool=str(place.path), allow_users=("games",))
    for _ in range(2):
        with spool(hook):
            found = place.path.stat()
            assert stat.S_IMODE(found.st_mode) == 0o1730
            assert place.path.group() == "games"
        assert stat.S_IMODE(place.path.stat().st_mode) == 0o500


async def test_what_a_killed_daemon_left_there_is_taken(place: Place) -> None:
    """Hints survive it."""
    with spool(place.hook):
        (place.path / NAME.format(27)).touch()
    with spool(place.hook):
        await place.sweep()
    assert [hint.job_id for hint in place.hints] == [27]


@pytest.mark.parametrize("kind", ["file", "link", "open to all", "in a place open to all"])
async def test_k14_a_place_that_others_rule_is_refused(kind: str, place: Place, tmp_path: Path) -> None:
    """The message names the setting."""
    if kind == "file":
        place.path.touch()
    elif kind == "link":
        place.path.symlink_to(tmp_path)
    elif kind == "open to all":
        place.path.mkdir()
        place.path.chmod(0o777)
    else:
        place.path.parent.chmod(0o777)
    with pytest.raises(ConfigError, match=r"hook\.spool = "), spool(place.hook):
        pass


async def test_a_directory_that_is_gone_is_said_once_and_found_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon lives on."""
    monkeypatch.setattr("slurmsyncd.triggers.spool.SCAN_S", 0.01)
    with structlog.testing.capture_logs() as logs:
        async with anyio.create_task_group() as group:
            group.start_soon(place.sweeper.poll_spool)
            with anyio.fail_after(20):
                while not logs:  # noqa: ASYNC110 - the daemon has no need of an event here
                    await anyio.sleep(0.01)
                await anyio.sleep(0.1)
                place.path.mkdir()
                (place.path / NAME.format(27)).touch()
                while not place.hints:  # noqa: ASYNC110
                    await anyio.sleep(0.01)
            group.cancel_scope.cancel()
    assert [entry["event"] for entry in logs] == ["hook_spool_unreadable"]
