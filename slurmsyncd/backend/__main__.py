"""``python -m slurmsyncd.backend``: the same as ``slurmsyncd backend``."""

from __future__ import annotations

import argparse
import sys

from slurmsyncd.backend.command import add_arguments, run
from slurmsyncd.errors import SlurmsyncdError


def main() -> int:
    """Parse the command line and run; gives the exit status."""
    parser = argparse.ArgumentParser(prog="slurmsyncd backend")
    add_arguments(parser)
    try:
        return run(parser.parse_args())
    except SlurmsyncdError as err:
        sys.stderr.write(f"slurmsyncd backend: {err}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
