"""Directories that are safe to keep our files in."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from slurmsyncd.errors import ConfigError
from slurmsyncd.host.directories import ensure_directory

if TYPE_CHECKING:
    from pathlib import Path


def test_creates_what_is_missing(tmp_path: Path) -> None:
    """A missing directory is made with the mode wanted; a good one is left as it is."""
    path = tmp_path / "state"
    ensure_directory(path, key="daemon.state_dir", mode=0o700, refused=0o077)
    assert path.stat().st_mode & 0o777 == 0o700
    ensure_directory(path, key="daemon.state_dir")
    assert path.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("mode", "refused"), [(0o777, 0o022), (0o775, 0o022), (0o757, 0o022), (0o750, 0o077), (0o757, 0o002)]
)
def test_k14_x10_refuses_what_others_can_change_or_read(mode: int, refused: int, tmp_path: Path) -> None:
    """The message names the setting, the path, the mode found and the mode wanted."""
    tmp_path.chmod(mode)
    with pytest.raises(ConfigError) as caught:
        ensure_directory(tmp_path, key="daemon.state_dir", mode=0o700, refused=refused)
    message = str(caught.value)
    assert message.startswith(f"daemon.state_dir = {tmp_path}: has mode {mode:o}; ")
    assert message.endswith("with mode 700")


def test_x10_refuses_links_files_and_missing_parents(tmp_path: Path) -> None:
    """A symbolic link, a file, or a place that does not exist is named, not followed or made up."""
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "file").touch()
    for name, wrong in [("link", "symbolic link"), ("file", "no directory"), ("a/b", "create it")]:
        with pytest.raises(ConfigError, match=wrong):
            ensure_directory(tmp_path / name, key="daemon.state_dir")


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT RUN: needs root to give a directory away")
def test_x10_refuses_what_belongs_to_somebody_else(tmp_path: Path) -> None:
    """A directory of another user than ours or root is refused with his uid."""
    os.chown(tmp_path, 65534, 65534)
    with pytest.raises(ConfigError, match="belongs to uid 65534; wanted: a directory of uid 0"):
        ensure_directory(tmp_path, key="daemon.state_dir")
