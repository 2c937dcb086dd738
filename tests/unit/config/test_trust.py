"""A configuration that somebody else can write is none."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from slurmsyncd.config import Config, read_config
from slurmsyncd.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

NOBODY = 65534

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="NOT RUN: needs root to give files to somebody else")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A sound configuration with a file beside it."""
    directory = tmp_path / "etc"
    for path in (directory, directory / "config.d"):
        path.mkdir()
        path.chmod(0o755)
    for file in (directory / "config.toml", directory / "config.d" / "more.toml"):
        file.write_text("")
        file.chmod(0o644)
    return directory / "config.toml"


def places(config: Path) -> tuple[Path, ...]:
    return config, config.parent, config.parent / "config.d", config.parent / "config.d" / "more.toml"


@pytest.mark.parametrize("place", range(4))
def test_x10_what_others_can_write_is_refused_with_the_mode_wanted(place: int, config: Path) -> None:
    """The file, its directory, and what lies in config.d: each could have us run another's program."""
    assert read_config(config, {}) == Config()
    path = places(config)[place]
    path.chmod(path.stat().st_mode | 0o002)
    wanted = f"{path}: has mode {path.stat().st_mode & 0o777:o}, so others can write it; mode "
    with pytest.raises(ConfigError) as caught:
        read_config(config, {})
    (problem,) = caught.value.problems
    assert problem.startswith(wanted)


@as_root
@pytest.mark.parametrize("place", range(4))
def test_x10_what_belongs_to_another_user_is_refused(place: int, config: Path) -> None:
    """He can write it whatever its mode; so can a group that is neither root's nor ours."""
    path = places(config)[place]
    os.chown(path, NOBODY, -1)
    with pytest.raises(ConfigError, match=f"{path}: belongs to uid {NOBODY}; uid 0 is wanted"):
        read_config(config, {})
    os.chown(path, 0, NOBODY)
    path.chmod(path.stat().st_mode | 0o020)
    with pytest.raises(ConfigError, match="so others can write it"):
        read_config(config, {})


def test_x10_our_own_group_may_write(config: Path) -> None:
    """A umask of 002 is usual where each user has a group of his own."""
    for path in places(config):
        os.chown(path, -1, os.getegid())
        path.chmod(path.stat().st_mode | 0o020)
    assert read_config(config, {}) == Config()
