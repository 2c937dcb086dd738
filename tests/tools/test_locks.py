"""The locks in requirements/: each holds what pyproject.toml asks for, with hashes, and says not where it is from."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any

import pytest
import tomli
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.paths import ROOT

if TYPE_CHECKING:
    from packaging.markers import Marker

PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
LOCKS = ("run", "develop", "lowest")


def _project() -> dict[str, Any]:
    return tomli.loads((ROOT / "pyproject.toml").read_text())


def _asked_for(lock: str) -> list[Requirement]:
    """What pyproject.toml says that a lock is for."""
    project = _project()
    metadata, groups = project["project"], project["dependency-groups"]
    extras = ["backend"] if lock == "run" else list(metadata["optional-dependencies"])
    lines = [*metadata["dependencies"], *groups["build"]]
    lines += itertools.chain.from_iterable(metadata["optional-dependencies"][extra] for extra in extras)
    if lock != "run":
        lines += [line for line in groups["dev"] if isinstance(line, str)]
    return [Requirement(line) for line in lines]


def _text(lock: str) -> str:
    return (ROOT / "requirements" / f"{lock}.txt").read_text()


def _locked(lock: str, python: str) -> dict[str, Requirement]:
    """Packages that a lock has for a Python, by name."""
    lines = re.findall(r"^([^\s#][^\\\n]*)", _text(lock), re.MULTILINE)
    found = [requirement for line in lines if _applies((requirement := Requirement(line)).marker, python)]
    assert len({canonicalize_name(requirement.name) for requirement in found}) == len(found)
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def _applies(marker: Marker | None, python: str) -> bool:
    here = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    return marker is None or marker.evaluate({**here, "platform_python_implementation": "CPython"})


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_all_that_is_declared(lock: str, python: str) -> None:
    """A lock has one version of each declared package, within the declared range, on each Python."""
    locked = _locked(lock, python)

    for asked in _asked_for(lock):
        if _applies(asked.marker, python):
            (pin,) = locked[canonicalize_name(asked.name)].specifier
            assert pin.operator == "=="
            assert asked.specifier.contains(pin.version, prereleases=True), f"{asked}: {pin}; run make lock"


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_hashes_and_no_host(lock: str) -> None:
    """Each locked package has hashes, and no lock says from which index or address it is."""
    entries = re.split(r"^(?=[^\s#])", _text(lock), flags=re.MULTILINE)[1:]

    assert entries
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    assert "://" not in _text(lock)
    assert "--index" not in _text(lock)


@pytest.mark.parametrize("python", PYTHONS)
def test_what_runs_is_what_is_tested(python: str) -> None:
    """The versions that the demo installs are those that the tests run with."""
    tested = _locked("develop", python)

    for name, requirement in _locked("run", python).items():
        assert requirement.specifier == tested[name].specifier


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lowest_lock_is_at_the_declared_bounds(python: str) -> None:
    """What is tested as lowest is exactly what pyproject.toml allows as lowest."""
    locked = _locked("lowest", python)

    for asked in _asked_for("lowest"):
        if _applies(asked.marker, python):
            (bound,), (pin,) = asked.specifier, locked[canonicalize_name(asked.name)].specifier
            assert bound.operator == ">="
            assert Version(pin.version) == Version(bound.version), f"{asked}: {pin}; run make lock"


def test_the_build_tool_is_locked() -> None:
    """What builds the package is locked with the rest, as pip would otherwise fetch the newest."""
    project = _project()

    assert project["dependency-groups"]["build"] == project["build-system"]["requires"]
