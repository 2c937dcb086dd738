"""The mutants fit the product as it is; `make mutants` tries them."""

from __future__ import annotations

import pytest

from tests.mutants.bench import stale
from tests.mutants.table import MUTANTS, Mutant
from tests.paths import ROOT


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_t14_no_mutant_is_stale(mutant: Mutant) -> None:
    """Its text stands in the product exactly once, and its tests are there: correct the table with the code."""
    assert not stale(ROOT, mutant)
    assert compile(
        (ROOT / "slurmsyncd" / mutant.file).read_text().replace(mutant.old, mutant.new), mutant.file, "exec"
    )


def test_t14_names_are_given_once() -> None:
    """A mutant can be asked for by its name."""
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
