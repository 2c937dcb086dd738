"""The tables of docs/reliability.md, and what is wrong with them."""

from __future__ import annotations

import ast
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: How many cases each section has.
SECTIONS: Final = {"S": 27, "Z": 8, "H": 26, "N": 9, "D": 15, "P": 14, "K": 14, "X": 16, "J": 9}
CASES: Final = tuple(f"{letter}{n}" for letter, last in SECTIONS.items() for n in range(1, last + 1))

_HEADING: Final = "## Case by case"  # before it are other tables
_ROW: Final = re.compile(r"^\| *([A-Z]\d+) *\|(.*)\|\s*$")
_TEST: Final = re.compile(r"`(tests/[\w/]+\.py)::([\w:]+)`")
_REASON: Final = "Not tested:"
_EMPTY: Final = ("", "not filled in yet")


@dataclass(frozen=True, slots=True)
class Row:
    """One case: its fault, what happens, and what holds that."""

    case: str
    cells: tuple[str, ...]

    @property
    def held_by(self) -> str:
        """The last column: names of tests, or why there are none."""
        return self.cells[-1]

    @property
    def tests(self) -> list[tuple[str, str]]:
        """The named tests: file, and name within it."""
        return [(path, name) for path, name in _TEST.findall(self.held_by)]

    @property
    def reason(self) -> str | None:
        """Why nothing holds it; None if something does."""
        _, found, reason = self.held_by.partition(_REASON)
        return reason.strip() if found else None


def rows(text: str) -> list[Row]:
    """Return the cases of all tables, in their order."""
    found = (_ROW.match(line) for line in text.rpartition(_HEADING)[2].splitlines())
    return [Row(match[1], tuple(cell.strip() for cell in match[2].split("|"))) for match in found if match]


def problems(text: str, root: Path) -> list[str]:
    """
    Return what is wrong with the tables.

    Args:
        text: The document.
        root: Where the named tests are.
    """
    table = rows(text)
    return [*_cases(table), *(problem for row in table for problem in _row(row, root))]


def _cases(table: list[Row]) -> Iterator[str]:
    count = Counter(row.case for row in table)
    yield from (f"{case} is missing" for case in CASES if not count[case])
    yield from (f"{case} is there {n} times" for case, n in count.items() if n > 1)
    yield from (f"{case} is no case" for case in count if case not in CASES)


def _row(row: Row, root: Path) -> Iterator[str]:
    if len(row.cells) != 3 or not all(row.cells[:2]):
        yield f"{row.case} does not have its columns"
    elif row.reason in _EMPTY:
        yield f"{row.case} is not tested, for no reason"
    elif row.reason is None and not row.tests:
        yield f"{row.case} names neither a test nor a reason"
    elif row.reason is None and (rest := _TEST.sub("", row.held_by).replace("<br>", "").strip()):
        yield f"{row.case} names what is no test: {rest}"
    for path, name in row.tests:
        source = _source(root / path, name)
        if source is None:
            yield f"{row.case} names a test that is not there: {path}::{name}"
        elif not _carries(row.case, name, source):
            yield f"{row.case} names a test that does not carry it: {path}::{name}"


def _carries(case: str, name: str, source: str) -> bool:
    """Return whether a test names a case: in its own name, or as a word anywhere in it."""
    return case.lower() in name.rpartition("::")[2].split("_") or bool(re.search(rf"\b{case}\b", source))


def _source(path: Path, name: str) -> str | None:
    """Return a test's text with its decorators, None if there is no such test."""
    return _tests(path).get(name) if path.is_file() else None


@cache
def _tests(path: Path) -> dict[str, str]:
    text = path.read_text()
    return dict(_within(ast.parse(text), text.splitlines(), ""))


def _within(node: ast.Module | ast.ClassDef, lines: list[str], prefix: str) -> Iterator[tuple[str, str]]:
    """Return name → text of the tests of a module or class; a state machine's test case is an assignment."""
    for child in node.body:
        match child:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if name.startswith("test"):
                first = min([child.lineno, *(decorator.lineno for decorator in child.decorator_list)])
                yield prefix + name, "\n".join(lines[first - 1 : child.end_lineno])
            case ast.ClassDef(name=name) if name.startswith("Test"):
                yield from _within(child, lines, f"{prefix}{name}::")
            case ast.Assign(targets=[ast.Name(id=name)]) if name.startswith("Test"):
                yield prefix + name, "\n".join(lines[child.lineno - 1 : child.end_lineno])
