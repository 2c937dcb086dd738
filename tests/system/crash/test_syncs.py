"""What only a power cut would show: that the disk was waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.system.crash import strace
from tests.system.crash.script import prepare

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(bool(strace.why_not()), reason=strace.why_not() or "-")


def test_d5_i1_a_plan_is_on_the_disk_before_it_is_called_recorded(tmp_path: Path) -> None:
    """The last write of an intake is followed by a sync, before anything else is done."""
    prepare("intake", tmp_path / "state")
    calls = strace.calls("intake", tmp_path / "state")
    before = calls.index("utimensat")
    between = calls[before + 1 : calls.index("utimensat", before + 1)]
    assert "pwrite64" in between
    assert "pwrite64" not in between[between.index("fdatasync") :]
