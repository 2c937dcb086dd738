"""
The console script. ``notify`` leaves before anything else is imported: slurmctld pays for it per job.

Decides nothing but which of the two ways is taken.
"""

import sys

#: What httpx and structlog take along wherever it happens to be installed: 6 MB that nothing here uses.
_UNUSED = ("click", "pygments", "rich")


def main() -> int:
    """Run the command line; give the exit status."""
    if sys.argv[1:2] == ["notify"]:
        from slurmsyncd import notify  # noqa: PLC0415 - one command's way in must not load the other's

        notify.main(sys.argv[2:])
    for name in _UNUSED:  # with None in its place, an import fails as if it were not installed
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    from slurmsyncd import cli  # noqa: PLC0415 - see above

    return cli.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
