"""The page on architecture agrees with the import contracts, the folders and the files."""

from __future__ import annotations

import re
from typing import Any, Final

from slurmsyncd.config import toml as tomllib
from tests.paths import ROOT

PAGE: Final = (ROOT / "docs" / "architecture.md").read_text()
PACKAGE: Final = ROOT / "slurmsyncd"
CONTRACTS: Final[list[dict[str, Any]]] = tomllib.parse((ROOT / "pyproject.toml").read_text())["tool"][
    "importlinter"
]["contracts"]


def _contract(name: str) -> dict[str, Any]:
    return next(contract for contract in CONTRACTS if contract["name"] == name)


def _block(kind: str) -> list[str]:
    found = re.search(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"no block of {kind}"
    return found[1].splitlines()


def _section(heading: str) -> str:
    return PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def _siblings(layer: str) -> frozenset[str]:
    return frozenset(name.strip() for name in layer.split("|"))


def test_the_picture_has_the_layers_of_the_contract() -> None:
    """The block of layers has the layers of the import contract, in the same order."""
    assert [_siblings(line) for line in _block("layers")] == [
        _siblings(layer) for layer in _contract("the flow")["layers"]
    ]


def test_every_contract_is_explained() -> None:
    """The table of contracts names each import contract of pyproject.toml, and no other."""
    rows = re.findall(r"^\| ([^|]+?) \|", _section("Layers"), re.MULTILINE)
    assert [row for row in rows if row not in {"contract", "---"}] == [each["name"] for each in CONTRACTS]


def test_the_pure_parts_are_those_of_the_contract() -> None:
    """The row of pure modules names each module of the contract that stands alone, and each package with some."""
    (row,) = re.findall(
        r"^\| pure means pure \| (.*?) and the pure modules of (.*?) import", PAGE, re.MULTILINE
    )
    modules = [name.split(".")[1:] for name in _contract("pure means pure")["source_modules"]]
    assert set(re.findall(r"`(\w+)`", row[0])) == {parts[0] for parts in modules if len(parts) == 1}
    assert set(re.findall(r"`(\w+)`", row[1])) == {parts[0] for parts in modules if len(parts) > 1}


def test_the_tree_has_every_folder_and_module() -> None:
    """The tree names each folder and each module directly in the package, and no other."""
    shown = {line.split()[0].rstrip("/") for line in _block("tree")[1:]}
    there = {
        path.name
        for path in PACKAGE.iterdir()
        if (path.suffix == ".py" and path.name != "__init__.py") or (path / "__init__.py").exists()
    }
    assert shown == there


def test_the_parts_of_the_flow_are_layers() -> None:
    """The flow passes triggers, source, planner, store and sinks in this order, and each is a layer."""
    layers = {name for layer in _contract("the flow")["layers"] for name in _siblings(layer)}
    shown = [word for word in re.findall(r"\w+", _block("text")[0]) if {word, f"{word}s"} & layers]
    assert shown == ["triggers", "source", "planner", "store", "sinks"]


def test_every_file_named_exists() -> None:
    """Each answer to "where is it decided" names a file of the repository, and there are at least twenty."""
    rows = re.findall(r"^\| [^|]+\? \| (.+) \|$", _section("Where is it decided?"), re.MULTILINE)
    assert len(rows) >= 20
    for row in rows:
        named = re.findall(r"`([\w./-]+)`", row)
        assert named, row
        assert [name for name in named if not (ROOT / name).is_file()] == []
