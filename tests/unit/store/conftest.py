from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.store.builders import opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from slurmsyncd.store import SqliteStore


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def store(directory: Path) -> Iterator[SqliteStore]:
    """A fresh store with one sink, ``rest``."""
    made = opened(directory)
    yield made
    made.close()
