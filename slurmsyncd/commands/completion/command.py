"""The command ``slurmsyncd completion``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - has no public name
    Whole = Callable[[], argparse.ArgumentParser]


def add_command(commands: Commands, whole: Whole) -> None:
    """Declare it; ``whole`` returns the parser of all commands."""
    script = commands.add_parser("completion", help="print a script that completes words, for a shell")
    script.add_argument("shell", choices=("bash", "zsh"), help="for which shell")
    script.set_defaults(run=lambda args: _print_script(args, whole))


def _print_script(args: argparse.Namespace, whole: Whole) -> int:
    from slurmsyncd.commands.completion.scripts import bash_script, zsh_script  # noqa: PLC0415 - the daemon does without

    print((bash_script if args.shell == "bash" else zsh_script)(whole()), end="")
    return 0
