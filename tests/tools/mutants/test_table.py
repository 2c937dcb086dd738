"""The mutants fit the product as it is; `make mutants` tries them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.paths import ROOT
from tests.tools.mutants.bench import stale
from tests.tools.mutants.places import Place, places
from tests.tools.mutants.table import MUTANTS, Mutant

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_t14_no_mutant_is_stale(mutant: Mutant) -> None:
    """Its text stands in its symbol exactly once, and its tests are there: correct the table with the code."""
    assert not stale(ROOT, mutant)
    (place,) = places(ROOT / "slurmsyncd", mutant)
    changed = place.replaced(mutant.old, mutant.new)
    assert changed != place.path.read_text()
    assert compile(changed, place.path.name, "exec")


def test_t14_names_are_given_once() -> None:
    """A mutant can be asked for by its name."""
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


MUTANT = Mutant("any", "Some.method", "return 1", "return 2", ())
TWICE = "class Some:\n    def method(self):\n        return 1\n    def other(self):\n        return 1\n"


def test_a_place_is_found_by_its_symbol_wherever_the_module_is(tmp_path: Path) -> None:
    """The same text in another symbol, or in one of another name, is no place."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "moved.py").write_text(TWICE)
    (tmp_path / "other.py").write_text("def method():\n    return 1\n")

    assert places(tmp_path, MUTANT) == [Place(tmp_path / "deep" / "moved.py", TWICE.index("return 1"))]


def test_only_the_place_itself_is_changed(tmp_path: Path) -> None:
    """What else has the text keeps it."""
    (tmp_path / "some.py").write_text(TWICE)

    (place,) = places(tmp_path, MUTANT)

    assert place.replaced(MUTANT.old, MUTANT.new) == TWICE.replace("return 1", "return 2", 1)


def test_two_places_are_both_found(tmp_path: Path) -> None:
    """So that an ambiguous entry is stale."""
    for name in ("one.py", "two.py"):
        (tmp_path / name).write_text(TWICE)

    assert len(places(tmp_path, MUTANT)) == 2
