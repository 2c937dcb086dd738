"""`python -m tests.tools.bench`: measures, prints a table and writes docs/performance.md."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from slurmsyncd.logs import configure_logs
from tests.paths import ROOT
from tests.tools.bench.page import page, summary
from tests.tools.bench.rows import GROUPS, Circumstances, Figure, Results

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.tools.bench.rows import Lines

DOCS = ROOT / "docs"
PAGE, STORED = DOCS / "performance.md", DOCS / "performance.json"


def main() -> int:
    """Measure the groups that were asked for; the page is written after each row."""
    args = _parser().parse_args()
    configure_logs("info", "json")  # as the daemon has it: lines that are not written cost little
    for group in args.only or GROUPS:
        for found in _measure(group, quick=args.quick):
            results = load()  # each time anew: another run may be at other groups
            _keep(results, found, quick=args.quick)
            sys.stdout.write(summary(results, [found.key]))
            sys.stdout.flush()
            if not args.dry:
                STORED.write_text(json.dumps(asdict(results), indent=1, ensure_ascii=False) + "\n")
                PAGE.write_text(page(results))
    return 0


def load() -> Results:
    """Read what was measured before; of rows that are no more, nothing is kept."""
    known = {key for keys in GROUPS.values() for key in keys}
    stored = json.loads(STORED.read_text()) if STORED.exists() else {}
    kept = {
        kind: {key: found for key, found in each.items() if key in known} for kind, each in stored.items()
    }
    return Results(**kept)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.tools.bench")
    parser.add_argument(
        "--only", action="append", choices=tuple(GROUPS), metavar="GROUP", help=f"of {', '.join(GROUPS)}"
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller sizes")
    parser.add_argument("--dry", action="store_true", help="print, and leave docs/performance.md as it is")
    return parser


def _measure(group: str, *, quick: bool) -> Iterable[Figure | Lines]:
    sys.stderr.write(f"measuring {group}\n")
    module = importlib.import_module(f"tests.tools.bench.{group}")
    with tempfile.TemporaryDirectory(prefix="bench.", dir="/tmp") as root:
        yield from module.measure(Path(root), quick=quick)


def _keep(results: Results, found: Figure | Lines, *, quick: bool) -> None:
    now = Circumstances(
        at=time.strftime("%Y-%m-%d", time.gmtime()),
        load=os.getloadavg()[0],
        cpus=len(os.sched_getaffinity(0)),
        quick=quick,
    )
    fields = asdict(found) | asdict(now)
    (results.rows if isinstance(found, Figure) else results.tables)[fields.pop("key")] = fields


if __name__ == "__main__":
    sys.exit(main())
