"""The command ``slurmsyncd man``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - has no public name
    Whole = Callable[[], argparse.ArgumentParser]


def add_command(commands: Commands, whole: Whole) -> None:
    """Declare it; ``whole`` returns the parser of all commands."""
    page = commands.add_parser("man", help="print a manual page, as roff")
    page.add_argument(
        "section",
        type=int,
        choices=(1, 5),
        nargs="?",
        default=1,
        help="1: slurmsyncd(1), the commands (default); 5: slurmsyncd.toml(5), the settings",
    )
    page.set_defaults(run=lambda args: _print_page(args, whole))


def _print_page(args: argparse.Namespace, whole: Whole) -> int:
    from slurmsyncd.commands.man.pages import command_page, settings_page  # noqa: PLC0415 - the daemon does without

    print(command_page(whole()) if args.section == 1 else settings_page(), end="")
    return 0
