from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from slurmsyncd.errors import StoreError
from slurmsyncd.store import checkpoint_file as lastrun
from tests.unit.store.builders import T0

if TYPE_CHECKING:
    from pathlib import Path


def test_the_checkpoint_is_the_modification_time(tmp_path: Path) -> None:
    """None at first; then what was written, in a file of mode 0640 at most; then what `touch -d` made of it."""
    path = tmp_path / "lastrun"
    assert lastrun.read(path) is None
    lastrun.write(path, T0)
    assert lastrun.read(path) == T0
    assert stat.S_IMODE(path.stat().st_mode) & ~0o640 == 0
    os.utime(path, (T0 - 500.5, T0 - 500.5))
    assert lastrun.read(path) == T0 - 501
    lastrun.write(path, T0 + 60)
    assert lastrun.read(path) == T0 + 60


def test_z4_z8_any_time_is_given_as_it_is(tmp_path: Path) -> None:
    """The epoch itself, past 2038 and the far future: clamping is the caller's, who can report it."""
    path = tmp_path / "lastrun"
    for at in (0, 2**31 + 5, 2**33):
        lastrun.write(path, at)
        assert lastrun.read(path) == at


def test_the_content_is_left_alone(tmp_path: Path) -> None:
    """What an operator wrote into the file stays."""
    path = tmp_path / "lastrun"
    path.write_text("touched by anna\n")
    lastrun.write(path, T0)
    assert path.read_text() == "touched by anna\n"


def test_x11_a_symbolic_link_or_a_pipe_is_refused(tmp_path: Path) -> None:
    """Somebody's trap is neither followed nor waited for, and the message says what to do."""
    victim = tmp_path / "victim"
    victim.write_text("")
    os.utime(victim, (1, 1))
    (tmp_path / "link").symlink_to(victim)
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        with pytest.raises(StoreError, match="lastrun_file"):
            lastrun.write(tmp_path / name, T0)
        with pytest.raises(StoreError, match="lastrun_file"):
            lastrun.read(tmp_path / name)
    assert victim.stat().st_mtime == 1


def test_a_missing_directory_is_an_error_of_ours(tmp_path: Path) -> None:
    """The path is named."""
    with pytest.raises(StoreError, match="nowhere/lastrun"):
        lastrun.write(tmp_path / "nowhere" / "lastrun", T0)
