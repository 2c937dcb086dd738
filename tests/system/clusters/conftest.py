"""Two simulated clusters that one slurmdbd knows, seen from the first one's host, and a real store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from slurmsyncd.config import SlurmConfig
from slurmsyncd.sources.command_source import CommandSource
from slurmsyncd.store import SqliteStore, open_store
from tests.unit.sandbox.slurm.lab import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHAPES = ("22.05", "24.11", "26.05")


class Pair:
    """
    The clusters alpha and beta; commands run where alpha's slurm.conf is.

    Attributes:
        alpha, beta: Their jobs, faults and time.
    """

    def __init__(self, root: Path, shape: str) -> None:
        self.root = root
        self.alpha = Lab(root / "alpha", shape, cluster="alpha")
        self.beta = Lab(root / "beta", shape, cluster="beta")
        places = {"alpha": self.alpha.state, "beta": self.beta.state}
        self.alpha.sim.meet(places)
        self.beta.sim.meet(places)

    @property
    def now(self) -> float:
        return self.alpha.now

    def pass_(self, seconds: float) -> None:
        """Let time pass on both."""
        self.alpha.pass_(seconds)
        self.beta.pass_(seconds)

    def source(self, cluster: str, *, remote: bool = False, **slurm: Any) -> CommandSource:
        """Return what asks for a cluster on alpha's host."""
        config = SlurmConfig(**{"bin_dir": str(self.alpha.bin), "command_timeout": 20.0, **slurm})
        return CommandSource(cluster, config, remote=remote, directory=self.root, now=lambda: self.now)

    def close(self) -> None:
        self.alpha.sim.close()
        self.beta.sim.close()


@pytest.fixture(params=SHAPES)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    """Two clusters in the shape of each release."""
    made = Pair(tmp_path, request.param)
    yield made
    made.close()


@pytest.fixture
def modern(tmp_path: Path) -> Iterator[Pair]:
    """Two clusters in the shape of 24.11, for what does not depend on the release."""
    made = Pair(tmp_path, "24.11")
    yield made
    made.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    made = open_store(tmp_path / "state", ("rest",)).store
    yield made
    made.close()
