"""Arguments as getopt_long reads them: short ones clustered, long ones with = or abbreviated. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurmsyncd.sandbox.slurm.commands.invocation import CommandError

if TYPE_CHECKING:
    from collections.abc import Mapping


def parse(command: str, argv: list[str], known: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """
    Read arguments.

    Args:
        command: For messages.
        argv: Without the command itself.
        known: Name of an option → its long name and how it takes a value: ``states=`` must have
            one, ``json?`` may (only after =), ``noheader`` has none. Short names are one letter.

    Returns:
        Long name → value (empty without one), and the words that are no options.

    Raises:
        Refused: Unknown option, or a value too many or too few.
    """
    options: dict[str, str] = {}
    words: list[str] = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word == "--":
            words += rest
            break
        if word.startswith("--"):
            _long(command, word[2:], rest, known, options)
        elif word.startswith("-") and len(word) > 1:
            _short(command, word[1:], rest, known, options)
        else:
            words.append(word)
    return options, words


def _long(
    command: str, word: str, rest: list[str], known: Mapping[str, str], options: dict[str, str]
) -> None:
    name, equals, value = word.partition("=")
    found = {spec for key, spec in known.items() if len(key) > 1 and key.startswith(name)}
    exact = known.get(name) if len(name) > 1 else None
    if exact is None and len(found) != 1:
        raise CommandError(_try(command, f"unrecognized option '--{name}'"))
    spec = exact or found.pop()
    key = spec.rstrip("=?")
    if equals and spec[-1] not in "=?":
        raise CommandError(_try(command, f"option '--{name}' doesn't allow an argument"))
    if spec.endswith("=") and not equals:
        if not rest:
            raise CommandError(_try(command, f"option '--{name}' requires an argument"))
        value = rest.pop(0)
    options[key] = value


def _short(
    command: str, letters: str, rest: list[str], known: Mapping[str, str], options: dict[str, str]
) -> None:
    while letters:
        letter, letters = letters[0], letters[1:]
        spec = known.get(letter)
        if spec is None:
            raise CommandError(_try(command, f"invalid option -- '{letter}'"))
        if not spec.endswith("="):
            options[spec.rstrip("?")] = ""
            continue
        if not letters and not rest:
            raise CommandError(_try(command, f"option requires an argument -- '{letter}'"))
        options[spec[:-1]] = letters or rest.pop(0)
        letters = ""


def _try(command: str, what: str) -> str:
    return f'{command}: {what}\nTry "{command} --help" for more information'
