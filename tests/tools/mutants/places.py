"""Where a mutant goes: by the name of what holds its text, so that modules can move."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.tools.mutants.table import Mutant


class Place(NamedTuple):
    """One occurrence of a text within a symbol."""

    path: Path
    offset: int

    def replaced(self, old: str, new: str) -> str:
        """Return the module with the text replaced at this place alone."""
        whole = self.path.read_text()
        return whole[: self.offset] + new + whole[self.offset + len(old) :]


def places(package: Path, mutant: Mutant) -> list[Place]:
    """Return every place of the package that fits a mutant; a sound table has one for each."""
    last = mutant.symbol.rpartition(".")[2]
    found = []
    for path in sorted(package.rglob("*.py")):
        whole = path.read_text()
        if last not in whole or mutant.old not in whole:
            continue
        for begin, end in _spans(whole, mutant.symbol):
            found += [Place(path, offset) for offset in _occurrences(whole, mutant.old, begin, end)]
    return found


def _spans(whole: str, symbol: str) -> Iterator[tuple[int, int]]:
    """Return where the definitions of a symbol begin and end, as offsets."""
    lines = whole.splitlines(keepends=True)
    for name, node in _symbols(ast.parse(whole).body):
        if name == symbol:
            yield len("".join(lines[: node.lineno - 1])), len("".join(lines[: node.end_lineno]))


def _symbols(body: Sequence[ast.stmt], prefix: str = "") -> Iterator[tuple[str, ast.stmt]]:
    for node in body:
        match node:
            case ast.ClassDef(name=name):
                yield prefix + name, node
                yield from _symbols(node.body, f"{prefix}{name}.")
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield prefix + name, node
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                yield prefix + name, node


def _occurrences(whole: str, text: str, begin: int, end: int) -> Iterator[int]:
    offset = whole.find(text, begin, end)
    while offset >= 0:
        yield offset
        offset = whole.find(text, offset + 1, end)
