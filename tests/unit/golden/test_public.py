"""What others see of slurmsyncd changes on purpose only: `python -m tests.unit.golden` writes it anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.golden.surfaces import surfaces

GOLDEN = Path(__file__).with_name("public.json")
KEPT = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}


@pytest.fixture(scope="module")
def shown() -> dict[str, Any]:
    """Return the surfaces as the code has them now."""
    return surfaces()


@pytest.mark.parametrize("name", KEPT)
def test_a_surface_stays_as_it_was(name: str, shown: dict[str, Any]) -> None:
    """Names that operators, scripts, dashboards and stores hold."""
    assert shown[name] == KEPT[name]


def test_each_surface_is_kept(shown: dict[str, Any]) -> None:
    """None is left out of the file, and none is empty."""
    assert KEPT.keys() == shown.keys()
    assert all(KEPT.values())
