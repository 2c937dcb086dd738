"""
The console script. ``notify`` leaves before anything else is imported: slurmctld pays for it per job.

Decides nothing but which of the two ways is taken.
"""

import sys


def main() -> int:
    """Run the command line; give the exit status."""
    if sys.argv[1:2] == ["notify"]:
        from slurmsyncd import notify  # noqa: PLC0415 - one command's way in must not load the other's

        notify.main(sys.argv[2:])
    from slurmsyncd import cli  # noqa: PLC0415 - see above

    return cli.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
