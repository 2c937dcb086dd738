"""Every directory below tests/data/slurm is a test case: `slurmsyncd fixtures capture tests/data/slurm` adds one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.slurm import recorded
from tests.unit.slurm.captures import CAPTURES

if TYPE_CHECKING:
    from pathlib import Path

RELEASES = sorted(path for path in CAPTURES.iterdir() if path.is_dir())


@pytest.fixture(params=RELEASES, ids=lambda path: path.name)
def release(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_every_record_is_read_and_adds_up(release: Path) -> None:
    """No record nor part of one is set aside; nodes, CPUs and GPUs of a run add up to its AllocTRES."""
    assert recorded.check_documents(release)


def test_accounting_agrees_with_the_controller(release: Path) -> None:
    """Names, hosts and AllocTRES of a run are those of sacct, of which no row is set aside."""
    assert recorded.check_accounting(release)


def test_allocations_agree_with_scontrol(release: Path) -> None:
    """Host by host, the cores, memory and devices are those of ``scontrol show job -d``."""
    assert recorded.check_scontrol(release)


def test_the_listing_has_each_job(release: Path) -> None:
    """Where the daemon's own listing was recorded, none of its rows is set aside, and no job is missing."""
    recorded.check(release)
