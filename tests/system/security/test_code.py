"""What the program's own text must not hold: evaluation of foreign words, shells, patterns from outside."""

from __future__ import annotations

import ast
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.paths import ROOT
from tests.tools.packages import DECODES, NOT_THE_DAEMON, is_within, module_of

if TYPE_CHECKING:
    from pathlib import Path

PACKAGE = ROOT / "slurmsyncd"
MODULES = sorted(PACKAGE.rglob("*.py"))
#: They run what they are given, or make objects of any kind of what they read.
EVALUATES = {"eval", "exec", "compile", "__import__"}
UNPICKLES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "yaml", "jsonpickle"}
SHELLS = {"system", "popen", "getoutput", "getstatusoutput", "create_subprocess_shell"}
PATTERNS = {"compile", "match", "fullmatch", "search", "sub", "subn", "findall", "finditer", "split"}


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def calls(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]


def imported(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in names}


def called(call: ast.Call) -> tuple[str, str]:
    """Return what is called, as (owner, name)."""
    match call.func:
        case ast.Name(id=name):
            return "", name
        case ast.Attribute(value=ast.Name(id=owner), attr=name):
            return owner, name
        case ast.Attribute(attr=name):
            return "?", name
    return "?", "?"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_x16_k12_nothing_that_is_read_is_ever_run(path: Path) -> None:
    """X16, K12: no pickle, no YAML, no eval, no shell: words of users stay words."""
    assert not imported(path) & UNPICKLES
    for call in calls(path):
        owner, name = called(call)
        assert not (owner == "" and name in EVALUATES), f"line {call.lineno}: {name}()"
        assert name not in SHELLS, f"line {call.lineno}: {name}()"
        for keyword in call.keywords:
            assert keyword.arg != "shell", f"line {call.lineno}: shell="


@pytest.mark.parametrize("path", [path for path in MODULES if module_of(path) != DECODES], ids=name_of)
def test_s13_foreign_json_is_decoded_in_one_place(path: Path) -> None:
    """msgspec's decoders are called by `decode_json` alone, as their exceptions differ between releases."""
    for call in calls(path):
        owner = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
        decodes = called(call)[1] == "decode" and (
            owner.endswith("msgspec.json") or "decoder" in owner.lower()
        )
        assert not decodes, f"line {call.lineno}: {owner}.decode()"


def constant(node: ast.expr) -> bool:
    """Whether a pattern is written in the program itself."""
    match node:
        case ast.Constant():
            return True
        case ast.BinOp(left=left, right=right):
            return constant(left) and constant(right)
    return False


@pytest.mark.parametrize(
    "path", [path for path in MODULES if not is_within(module_of(path), NOT_THE_DAEMON)], ids=name_of
)
def test_x4_every_regular_expression_is_our_own(path: Path) -> None:
    """None comes from the configuration or from Slurm, so none takes exponential time because of somebody."""
    for call in calls(path):
        owner, name = called(call)
        if owner == "re" and name in PATTERNS:
            assert constant(call.args[0]), f"line {call.lineno}"


_HOSTILE = """
from slurmsyncd.config import ClusterConfig
from slurmsyncd.sinks.resources import is_ignored_host
for piece in ("*a", "*?", "[ab]*", "*[!b]"):
    assert not is_ignored_host("a" * 255, ClusterConfig(ignore_hosts=(piece * 60 + "*#",)))
"""


def test_x4_a_glob_of_many_stars_is_answered() -> None:
    """Globs become regular expressions: one that had to try everything would take longer than the universe is old."""
    subprocess.run([sys.executable, "-c", _HOSTILE], check=True, timeout=300, cwd=PACKAGE.parent)
