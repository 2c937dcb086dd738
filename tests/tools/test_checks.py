"""The code itself: formatted, linted, typed, and layered. Among the tests, so that there is one verdict."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT


@pytest.mark.parametrize("check", ["ruff format --check .", "ruff check .", "mypy --strict", "lint-imports"])
def test_the_code_passes(check: str) -> None:
    """Each of the tools finds nothing."""
    tool, *args = check.split()

    done = subprocess.run(
        [Path(sys.executable).with_name(tool), *args],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )

    if done.returncode:
        pytest.fail(f"{check}: exit {done.returncode}\n{done.stdout}", pytrace=False)
