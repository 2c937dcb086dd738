"""
``python -m tests.tools.mutants [NAME…]``: break one invariant at a time, and see that the tests notice.

Each mutant changes one place of a copy of this checkout. Its tests have to pass without it and to fail with
it; exit status 1 if one of them survives, is stale, or fails in another way than by a test.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from tests.paths import ROOT
from tests.tools.mutants.bench import Bench, Verdict
from tests.tools.mutants.table import MUTANTS, Mutant


def main() -> int:
    """Try all mutants, or those named."""
    parser = argparse.ArgumentParser(prog="python -m tests.tools.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="mutants to try; all, unless given")
    parser.add_argument("--jobs", type=int, default=2, help="how many at the same time")
    options = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if mutant.name in options.names or not options.names]
    with tempfile.TemporaryDirectory(prefix="mutants.") as root:
        benches: SimpleQueue[Bench] = SimpleQueue()
        for number in range(options.jobs):
            benches.put(Bench.copied(ROOT, Path(root) / str(number)))

        def tried(mutant: Mutant) -> Verdict:
            bench = benches.get()
            try:
                verdict = bench.tried(mutant)
            finally:
                benches.put(bench)
            say(f"{mutant.name:40} {verdict.word:9} {verdict.seconds:5.0f} s  {verdict.detail}")
            return verdict

        with ThreadPoolExecutor(options.jobs) as pool:
            verdicts = list(pool.map(tried, chosen))
    caught = sum(verdict.word == "caught" for verdict in verdicts)
    say(f"{caught} of {len(verdicts)} mutants caught")
    return caught != len(verdicts)


def say(line: str) -> None:
    """Show progress as it is made."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
