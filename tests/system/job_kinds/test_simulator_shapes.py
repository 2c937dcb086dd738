"""The simulated commands print what the live ones print: key by key, type by type, for each release."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.system.job_kinds.jobset import DOCUMENTS, MODERN
from tests.unit.sandbox.slurm.lab import Lab as Simulated
from tests.unit.sandbox.slurm.test_shapes import Paths, paths, zoo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.system.job_kinds.scene import Scene

#: Elements of lists that are there, but empty: wckeys are not tracked in the lab, no reservation is simulated.
NOT_PLAYED = {".jobs[].wckey.flags[]", ".nodes[].state_flags[]"}


@pytest.fixture
def simulated(scene: Scene, tmp_path: Path) -> Iterator[Simulated]:
    """Return a simulated cluster of the release, with jobs of all kinds that it knows."""
    lab = Simulated(tmp_path, scene.version)
    zoo(lab)
    yield lab
    lab.sim.close()


@pytest.mark.parametrize("command", [*DOCUMENTS, *MODERN])
def test_shapes(scene: Scene, simulated: Simulated, command: str) -> None:
    """No key is simulated that is not real, none that is real is missing, and each type was seen live."""
    if command not in scene.jobs.documents:
        pytest.skip("22.05 has no such command")
    live: Paths = {}
    for document in scene.jobs.documents[command]:
        paths(document, "", live)
    ours = paths(simulated.json(*command.split()))
    assert ours.keys() - live.keys() - NOT_PLAYED == set(), "keys that Slurm does not have"
    assert live.keys() - ours.keys() - NOT_PLAYED == set(), "keys that are missing"
    known = {
        path: kinds | ({"int", "float"} if kinds & {"int", "float"} else set())
        for path, kinds in live.items()
    }
    odd = {path: kinds - known[path] for path, kinds in ours.items() if path in known and kinds - known[path]}
    assert odd == {}
