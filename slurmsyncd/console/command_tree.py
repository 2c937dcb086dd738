"""The commands as a tree of argparse's parsers, walked. Pure."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Command:
    """
    One command.

    Attributes:
        path: Its words; empty for slurmsyncd itself.
        about: What the list of commands says of it.
        parser: Its parser.
    """

    path: tuple[str, ...]
    about: str
    parser: argparse.ArgumentParser

    @property
    def options(self) -> tuple[argparse.Action, ...]:
        """All that begins with a dash."""
        return tuple(each for each in self.parser._actions if each.option_strings)  # noqa: SLF001

    @property
    def operands(self) -> tuple[argparse.Action, ...]:
        """All other arguments, without commands below this one."""
        found = (each for each in self.parser._actions if not each.option_strings)  # noqa: SLF001
        return tuple(each for each in found if not isinstance(each, argparse._SubParsersAction))  # noqa: SLF001

    @property
    def below(self) -> tuple[Command, ...]:
        """The commands that may follow."""
        return tuple(_below(self))


def commands(parser: argparse.ArgumentParser) -> Iterator[Command]:
    """Return slurmsyncd itself and all commands, each before those below it."""
    yield from _walk(Command((), parser.description or "", parser))


def help_of(command: Command, action: argparse.Action) -> str:
    """Return what an option does, with its default filled in."""
    return command.parser._get_formatter()._expand_help(action) if action.help else ""  # noqa: SLF001


def takes_value(action: argparse.Action) -> bool:
    """Return whether a word follows the option; one that may be left out counts as none."""
    return action.nargs is None


def takes_file(action: argparse.Action) -> bool:
    """Return whether its value is the name of a file or directory."""
    return action.type is Path or action.metavar in ("FILE", "DIR")


def _walk(command: Command) -> Iterator[Command]:
    yield command
    for each in command.below:
        yield from _walk(each)


def _below(command: Command) -> Iterator[Command]:
    for action in command.parser._actions:  # noqa: SLF001
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            about = {each.dest: each.help or "" for each in action._choices_actions}  # noqa: SLF001
            for name, parser in action.choices.items():
                yield Command((*command.path, name), about.get(name, ""), parser)
