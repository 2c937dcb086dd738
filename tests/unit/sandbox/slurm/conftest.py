"""Labs that clean up after themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.sandbox.slurm.lab import Lab

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def make_lab(tmp_path: Path) -> Iterator[Callable[..., Lab]]:
    labs: list[Lab] = []

    def make(shape: str = "24.11", **settings: Any) -> Lab:
        labs.append(Lab(tmp_path / str(len(labs)), shape, **settings))
        return labs[-1]

    yield make
    for lab in labs:
        lab.sim.close()


@pytest.fixture
def lab(make_lab: Callable[..., Lab]) -> Lab:
    return make_lab()
