"""
The console script: starts ``notify`` or the command line.

``notify`` runs before other modules are imported, because slurmctld waits for it at every job.
"""

import sys

#: Modules that httpx and structlog import if they are installed: 6 MB that slurmsyncd does not use.
_UNUSED = ("click", "pygments", "rich")


def main() -> int:
    """Run the command line and return the exit status."""
    if sys.argv[1:2] == ["notify"]:
        from slurmsyncd import notify  # noqa: PLC0415 - one command's way in must not load the other's

        notify.main(sys.argv[2:])
    for name in _UNUSED:  # with None in its place, an import fails as if it were not installed
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    from slurmsyncd import cli  # noqa: PLC0415 - see above

    return cli.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
