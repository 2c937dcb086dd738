"""`python -m tests.tools.oracle`: the oracle for as long as one likes."""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
from pathlib import Path

import anyio

from tests.tools.oracle.storm import storm


def main() -> int:
    """Run one storm and print what came of it; exit status 1 if anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.tools.oracle")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--release", default="24.11")
    parser.add_argument("--level", default="info")
    parser.add_argument("--one-sink", action="store_true", help="without the second backend, mostly dead")
    args = parser.parse_args()
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # also where a shell had them ignored: leave nothing behind
        signal.signal(number, signal.default_int_handler)
    seed = random.randrange(2**32) if args.seed is None else args.seed
    sys.stdout.write(f"seed {seed}\n")
    sys.stdout.flush()
    with tempfile.TemporaryDirectory(prefix="oracle.", dir="/tmp") as root:

        async def run() -> int:
            outcome = await storm(
                Path(root), seed, args.seconds, release=args.release, level=args.level, far=not args.one_sink
            )
            sys.stdout.write(outcome.report() + "\n")
            return 1 if outcome.problems else 0

        try:
            return anyio.run(run)
        except KeyboardInterrupt:
            return 130


if __name__ == "__main__":
    sys.exit(main())
