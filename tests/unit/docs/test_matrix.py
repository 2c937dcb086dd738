"""docs/reliability.md cannot rot: it has each case, and the tests that it names are there and carry the ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.paths import ROOT
from tests.unit.docs.matrix import CASES, problems

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENT = ROOT / "docs" / "reliability.md"

NAME = "tests/test_some.py::test_s1_held"
HELD = f"| S1 | fault | outcome | `{NAME}` |"
TESTS = '''
import pytest

def test_s1_held(): ...

@pytest.mark.parametrize("how", ["S2 cut", "whole"])
def test_several(how): ...

def test_s33_other():
    """S3: in a sentence."""

def test_s4_s5_two(): ...

class TestClass:
    async def test_s6_method(self): ...

TestMachine = object  # S7
helper_s8 = 1
def helper_s9(): ...
'''


def document(*replaced: str) -> str:
    """Make a document with every case, some rows of which are given."""
    cases = {line.split()[1]: line for line in replaced}
    lines = [cases.get(case, f"| {case} | fault | outcome | Not tested: cannot be |") for case in CASES]
    return "# Title\n\n| case | fault | what happens | held by |\n|---|---|---|---|\n" + "\n".join(lines)


def row(case: str, held_by: str) -> str:
    return f"| {case} | fault | outcome | {held_by} |"


def test_each_case_is_held_by_tests_or_has_a_reason() -> None:
    """All 138 cases, each once; named tests exist and carry the case's id."""
    assert problems(DOCUMENT.read_text(), ROOT) == []


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_some.py").write_text(TESTS)
    return tmp_path


def test_a_sound_document_has_no_problems(root: Path) -> None:
    """An id may stand in the name, in the sentence, or among the parameters."""
    sound = document(
        HELD,
        row("S2", "`tests/test_some.py::test_several`"),
        row("S3", "`tests/test_some.py::test_s33_other`"),
        row("S4", "`tests/test_some.py::test_s4_s5_two`<br>`tests/test_some.py::test_s4_s5_two`"),
        row("S6", "`tests/test_some.py::TestClass::test_s6_method`"),
        row("S7", "`tests/test_some.py::TestMachine`"),
    )
    assert problems(sound, root) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (document().replace("| J9 |", "| - |"), "J9 is missing"),
        (document() + "\n" + HELD, "S1 is there 2 times"),
        (document() + "\n" + row("S28", "Not tested: too many"), "S28 is no case"),
        (document(row("S1", "")), "S1 names neither"),
        (document(row("S1", "by hand")), "S1 names neither"),
        (document(row("S1", "Not tested:")), "S1 is not tested, for no reason"),
        (document(row("S1", "Not tested: ")), "S1 is not tested, for no reason"),
        (document(row("S1", "Not tested: not filled in yet")), "S1 is not tested, for no reason"),
        (document(row("S1", f"`{NAME}` and more")), "S1 names what is no test: and more"),
        (document(row("S1", f"`{NAME}[first]`")), "S1 names neither"),
        (document(row("S1", "`tests/test_some.py::test_gone`")), "S1 names a test that is not there"),
        (document(row("S1", "`tests/test_gone.py::test_s1_held`")), "S1 names a test that is not there"),
        (document(row("S6", "`tests/test_some.py::test_s6_method`")), "S6 names a test that is not there"),
        (document(row("S8", "`tests/test_some.py::helper_s8`")), "S8 names a test that is not there"),
        (document(row("S9", "`tests/test_some.py::helper_s9`")), "S9 names a test that is not there"),
        (document(row("S2", f"`{NAME}`")), "S2 names a test that does not carry it"),
        (
            document(row("H3", "`tests/test_some.py::test_s33_other`")),
            "H3 names a test that does not carry it",
        ),
        (document("| S1 | fault | Not tested: for lack of a column |"), "S1 does not have its columns"),
        (document("| S1 | | outcome | Not tested: cannot be |"), "S1 does not have its columns"),
    ],
)
def test_each_damage_is_found(root: Path, text: str, problem: str) -> None:
    """So that the comparison can fail."""
    (found,) = problems(text, root)
    assert found.startswith(problem)
