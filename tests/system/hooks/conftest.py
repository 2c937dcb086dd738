"""Places for sockets and secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.triggers.bell import make_run_dir, write_secret

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """Return a directory as /run/slurmsyncd is."""
    return make_run_dir(tmp_path)


@pytest.fixture
def secret_file(tmp_path: Path) -> str:
    """Return a file with the shared secret."""
    return write_secret(tmp_path)
