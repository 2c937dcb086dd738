"""
``python -m tests.tools.fuzz --seconds 60``: ever new inputs for each target in turn, until something is found.

Prints the seed; with ``--seed`` the same inputs come again.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.tools.fuzz.targets import TARGETS

ROUND = 300
"""Inputs of a target before the next one's turn."""


def fuzz(name: str, round_seed: int) -> None:
    """Feed one target a round of inputs; what it chokes on is made small and raised."""
    target = TARGETS[name]

    @settings(
        max_examples=ROUND,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @seed(round_seed)
    @given(target.feed)
    def check(fed: Any) -> None:
        target.check(fed)

    check()


def say(text: str) -> None:
    """Say it at once: it is the last word if the interpreter itself crashes."""
    sys.stdout.write(text)
    sys.stdout.flush()


def main() -> int:
    """Go on until the time is up; 0 if nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.tools.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--target", action="append", choices=sorted(TARGETS), help="all, unless given")
    options = parser.parse_args()
    names = options.target or list(TARGETS)
    until = time.monotonic() + options.seconds
    rounds = 0
    while time.monotonic() < until:
        at = options.seed + rounds
        for name in names:
            say(f"\rseed {at} {name:20}")
            fuzz(name, at)
        rounds += 1
    say(
        f"\rseeds {options.seed} to {options.seed + rounds - 1}: {rounds * ROUND} inputs for each of {len(names)} targets\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
