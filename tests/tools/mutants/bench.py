"""A copy of the checkout, in which one mutant after the other is put and taken out again."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tests.tools.mutants.places import places

if TYPE_CHECKING:
    from pathlib import Path

    from tests.tools.mutants.table import Mutant

#: More than any selection needs on a slow machine; a mutant that hangs is not caught by a test.
PATIENCE_S = 600
_LEFT_OUT = shutil.ignore_patterns(".git", ".venv*", ".*_cache", ".hypothesis", "__pycache__", ".coverage*")
# A mutant that does not even work proves nothing about the tests.
_BROKEN = re.compile(
    r"^E +(ImportError|ModuleNotFoundError|SyntaxError|NameError|UnboundLocalError)", re.MULTILINE
)


class Verdict(NamedTuple):
    """How a mutant fared: ``caught``, ``survived``, ``stale``, ``red`` (its tests fail without it), ``broken``."""

    word: str
    detail: str
    seconds: float


class Ran(NamedTuple):
    """One run of some tests."""

    status: int
    output: str

    @property
    def failed(self) -> list[str]:
        """Names of the tests that failed."""
        return re.findall(r"^FAILED \S+::(\S+)", self.output, re.MULTILINE)

    @property
    def summary(self) -> str:
        """Pytest's last line."""
        return self.output.rstrip().rpartition("\n")[2]


@dataclass
class Bench:
    """One copy of the checkout."""

    root: Path

    @classmethod
    def copied(cls, checkout: Path, to: Path) -> Bench:
        """Copy a checkout as it stands, also what is not committed."""
        shutil.copytree(checkout, to, ignore=_LEFT_OUT)
        return cls(to)

    def tried(self, mutant: Mutant) -> Verdict:
        """Run a mutant's tests without it and with it."""
        began = time.monotonic()
        word, detail = self._tried(mutant)
        return Verdict(word, detail, time.monotonic() - began)

    def _tried(self, mutant: Mutant) -> tuple[str, str]:
        if problem := stale(self.root, mutant):
            return "stale", problem
        (place,) = places(self.root / "slurmsyncd", mutant)
        whole = place.path.read_text()
        before = self._run(mutant)
        if before.status != 0 or "passed" not in before.summary:
            return "red", before.summary
        place.path.write_text(place.replaced(mutant.old, mutant.new))
        try:
            after = self._run(mutant)
        finally:
            place.path.write_text(whole)
        if after.status == 0:
            return "survived", after.summary
        if after.status != 1 or not after.failed or _BROKEN.search(after.output):
            return "broken", after.summary
        return "caught", ", ".join(dict.fromkeys(name.partition("[")[0] for name in after.failed[:3]))

    def _run(self, mutant: Mutant) -> Ran:
        chosen = [f"tests/{test}" for test in mutant.tests]
        options = ["-q", "-p", "no:cacheprovider", "--color=no", "--maxfail=3", "--tb=short"]
        try:
            done = subprocess.run(
                [sys.executable, "-m", "pytest", *options, *chosen],
                cwd=self.root,
                env={**os.environ, "PYTHONPATH": str(self.root), "SLURMSYNCD_TEST_SEED": "1"},
                capture_output=True,
                text=True,
                check=False,
                timeout=PATIENCE_S,
            )
        except subprocess.TimeoutExpired:
            return Ran(-1, f"no end within {PATIENCE_S} s")
        return Ran(done.returncode, done.stdout)


def stale(root: Path, mutant: Mutant) -> str:
    """Return why a mutant no longer fits the checkout; empty if it does."""
    count = len(places(root / "slurmsyncd", mutant))
    if count != 1:
        return f"its text is in {mutant.symbol} {count} times"
    missing = [test for test in mutant.tests if not _is_test(root, test)]
    return f"there is no test {', '.join(missing)}" if missing else ""


def _is_test(root: Path, test: str) -> bool:
    file, *names = test.split("::")
    path = root / "tests" / file
    return path.is_file() and all(
        re.search(rf"(def|class) {re.escape(name)}\b", path.read_text()) for name in names
    )
