"""A nats-server of the test's own, and a sink on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from slurmsyncd.store import SqliteStore, open_store
from tests.system.nats.server import NatsServer, running, why_not

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def nats_package() -> None:
    """Have Debian's nats-server installed, where that can be done."""
    if reason := why_not():
        pytest.skip(reason)


@pytest.fixture
def server(nats_package: None, tmp_path: Path) -> Iterator[NatsServer]:
    """Return a server with JetStream and without any login."""
    folder = tmp_path / "nats"
    folder.mkdir()
    with running(folder) as server:
        yield server


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    made = open_store(tmp_path / "state", ("nats",)).store
    yield made
    made.close()
