"""
``python -m tests.tools.flips --count 4000``: flip bits of stores that were left behind, and settle the accounts.

Prints the seed; with ``--seed`` the same bits flip again, and with ``--only`` one of them alone.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from slurmsyncd.logs import configure_logs
from tests.tools.flips.life import flips

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.tools.flips.life import Aftermath

_MEMORY = Path("/dev/shm")


async def run(numbers: Sequence[int], seed: int, root: Path) -> list[Aftermath]:
    """Flip these bits, and print what is not as it must be."""
    found = []
    async for number, each in flips(numbers, seed, root):
        found.append(each)
        if each.bad or len(numbers) == 1:
            say(f"{number}: {each}\n")
    return found


def table(found: Sequence[Aftermath]) -> str:
    """Return the figures by kind of place."""
    sums: dict[str, Counter[str]] = {}
    for each in found:
        for kind in (each.place.kind, "all"):
            sums.setdefault(kind, Counter()).update(figures(each))
    heads = list(figures(found[0]))
    lines = [f"{'':18}" + "".join(f"{name:>10}" for name in heads)]
    lines += [
        f"{kind:18}" + "".join(f"{row[name]:10,}" for name in heads) for kind, row in sorted(sums.items())
    ]
    return "\n".join(lines) + "\n"


def figures(each: Aftermath) -> dict[str, int]:
    """Return one flip's part of the table."""
    return {
        "flips": 1,
        "set aside": any(each.recovered),
        "restarts": bool(each.ends),
        "loops": each.loops,
        "bugs": any(status != 74 for status, _ in each.ends),
        "lost": len(each.lost),
        "wrong": len(each.wrong),
        "named": len(each.named),
        "repeats": each.repeats,
    }


def say(text: str) -> None:
    """Print it at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


def main() -> int:
    """Flip and print; 0 if nothing is lost and nothing loops."""
    parser = argparse.ArgumentParser(prog="python -m tests.tools.flips", description=__doc__)
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--only", type=int, help="this one alone")
    options = parser.parse_args()
    say(f"seed {options.seed}\n")
    numbers = range(options.count) if options.only is None else [options.only]
    with (
        tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as root,
        Path(os.devnull).open("w", encoding="utf-8") as nowhere,
    ):
        configure_logs("info", "console", nowhere if options.only is None else None)
        found = anyio.run(run, numbers, options.seed, Path(root))
    say(table(found))
    return int(any(each.bad for each in found))


if __name__ == "__main__":
    sys.exit(main())
