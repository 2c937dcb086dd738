"""The table of the log's events is complete: it names what the source can say, and nothing else."""

from __future__ import annotations

import ast
import importlib
import re
from typing import TYPE_CHECKING

import pytest

from tests.paths import ROOT
from tests.tools.packages import NAMES_EVENTS, is_within, module_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOURCE = ROOT / "slurmsyncd"
PAGE = ROOT / "docs" / "events-log.md"
LEVELS = {"debug", "info", "warning", "error", "critical"}
#: Functions of sources and sinks whose first argument becomes an event's name.
NAMERS = {"once", "note", "Note"}


def _emitted() -> set[str]:
    return {name for path in SOURCE.rglob("*.py") for name in _names(path)}


def _names(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (first := _event(node, path)) is not None:
            yield from _constants(first, tree, path)


def _event(call: ast.Call, path: Path) -> ast.expr | None:
    """Return the argument that names an event, None if the call names none."""
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    logs = isinstance(function, ast.Attribute) and ast.unparse(function.value) in (
        "log",
        "structlog.get_logger()",
    )
    if logs and name in LEVELS:
        return call.args[0]
    if logs and name == "log":
        return call.args[1]
    if name == "level" and isinstance(function, ast.Name):  # level = log.error if … else log.warning
        return call.args[0]
    passes = name in NAMERS and is_within(module_of(path), NAMES_EVENTS)
    return call.args[0] if passes and call.args else None


def _constants(expression: ast.expr, tree: ast.Module, path: Path) -> Iterator[str]:
    """Return what an expression can be, as far as it is a name of an event."""
    for node in ast.walk(expression):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", node.value):
                yield node.value
        elif isinstance(node, ast.Name):
            yield from _assigned(node.id, tree, path)


def _assigned(name: str, tree: ast.Module, path: Path) -> Iterator[str]:
    """Return the constants that a name stands for: of the module, or assigned within it."""
    if name.isupper():
        value = getattr(importlib.import_module(module_of(path)), name, None)
        if isinstance(value, str):
            yield value
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and any(ast.unparse(each) == name for each in node.targets):
            choices = [node.value.body, node.value.orelse] if isinstance(node.value, ast.IfExp) else []
            yield from (
                each.value
                for each in choices
                if isinstance(each, ast.Constant) and isinstance(each.value, str)
            )


def _documented() -> list[str]:
    rows = re.findall(r"^\| (`.+?`)(?: with [^|]*)? \|", PAGE.read_text(), re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`([a-z0-9_]+)`", row)]


def test_every_event_of_the_log_is_described() -> None:
    """Whatever the program can write into the log has its row, which says what it means and what to do."""
    assert _emitted() - set(_documented()) == set()


def test_no_event_is_described_that_there_is_not() -> None:
    """A row whose event is gone is gone, too."""
    assert set(_documented()) - _emitted() == set()


@pytest.mark.parametrize(
    "name", ["look_failed", "parked", "dead_letter", "slurm_warns", "gpus_unknown", "damaged_record"]
)
def test_names_are_found_in_the_source_however_they_get_there(name: str) -> None:
    """As a literal, one of two, a constant, or through what passes it on."""
    assert name in _emitted()


def test_every_row_says_what_to_do() -> None:
    """Four columns, none of them empty."""
    for line in PAGE.read_text().splitlines():
        if line.startswith("| `"):
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            assert len(cells) == 4, line
            assert all(cells), line
