"""Completion for bash and zsh, as scripts that need nothing but the shell. Pure."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

from slurmsyncd.console.command_tree import Command, commands, help_of, takes_file, takes_value

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator

#: Both: walk the words before the one at hand, past the values of options; `where` is the command so far.
_KINDS: Final = """\
# What follows an option of a command: sets kind to file, choice (and choices), any, or nothing.
_slurmsyncd_kind() {{
    kind='' choices=''
    case "$1 $2" in
{kinds}
    esac
}}

# Whether a word is a command at this place.
_slurmsyncd_is_command() {{
    case "$1/$2" in
        {places}) return 0 ;;
    esac
    return 1
}}
"""
_BASH: Final = """\
# bash completion of slurmsyncd; made by `slurmsyncd completion bash`.

{kinds}
_slurmsyncd() {{
    local where='' kind choices i before cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}}
    COMPREPLY=()
    if [[ $cur == '=' ]]; then cur=''; elif [[ $prev == '=' ]]; then prev=${{COMP_WORDS[COMP_CWORD-2]}}; fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        before=${{COMP_WORDS[i-1]}}
        _slurmsyncd_kind "$where" "$before"
        if [[ -z $kind ]] && _slurmsyncd_is_command "$where" "${{COMP_WORDS[i]}}"; then
            where=$where/${{COMP_WORDS[i]}}
        fi
    done
    _slurmsyncd_kind "$where" "$prev"
    if [[ -z $kind ]]; then
        kind=choice
        case "$where" in
{offers}
        esac
        if [[ $kind == either ]]; then
            if [[ $cur == -* ]]; then kind=choice; else kind=file; fi
        fi
    fi
    case $kind in
        file) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
        choice) mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$cur") ;;
    esac
}}
complete -F _slurmsyncd slurmsyncd
"""
_ZSH: Final = """\
#compdef slurmsyncd
# zsh completion of slurmsyncd; made by `slurmsyncd completion zsh`.

{kinds}
_slurmsyncd() {{
    local where='' kind choices i
    local -a said flags line
    line=("${{words[@]}}")
    for ((i = 2; i < CURRENT; i++)); do
        _slurmsyncd_kind "$where" "${{line[i-1]}}"
        if [[ -z $kind ]] && _slurmsyncd_is_command "$where" "${{line[i]}}"; then
            where=$where/${{line[i]}}
        fi
    done
    _slurmsyncd_kind "$where" "${{line[CURRENT-1]}}"
    case $kind in
        file) _files; return ;;
        choice) compadd -- ${{=choices}}; return ;;
        any) return ;;
    esac
    case "$where" in
{offers}
    esac
    if [[ ${{line[CURRENT]}} == -* ]]; then
        _describe -o option flags
    else
        (( $#said )) && _describe command said
        [[ $kind == either ]] && _files
    fi
}}
if [[ $funcstack[1] == _slurmsyncd ]]; then _slurmsyncd "$@"; else compdef _slurmsyncd slurmsyncd; fi
"""


def bash_script(parser: argparse.ArgumentParser) -> str:
    """Return the script for bash."""
    return _BASH.format(kinds=_kinds(parser), offers=_offers(parser, _bash_offer))


def zsh_script(parser: argparse.ArgumentParser) -> str:
    """Return the script for zsh."""
    return _ZSH.format(kinds=_kinds(parser), offers=_offers(parser, _zsh_offer))


def _kinds(parser: argparse.ArgumentParser) -> str:
    found = list(commands(parser))
    kinds = "\n".join(line for command in found for line in _kind_lines(command))
    places = " | \\\n        ".join(shlex.quote(_place(command)) for command in found if command.path)
    return _KINDS.format(kinds=kinds, places=places)


def _kind_lines(command: Command) -> Iterator[str]:
    for action in command.options:
        if takes_value(action):
            names = " | ".join(f'"{_place(command)} {name}"' for name in action.option_strings)
            yield f"        {names}) {_kind(action)} ;;"


def _kind(action: argparse.Action) -> str:
    if action.choices is not None:
        return f"kind=choice choices={shlex.quote(' '.join(map(str, action.choices)))}"
    return "kind=file" if takes_file(action) else "kind=any"


def _offers(parser: argparse.ArgumentParser, offer: Callable[[Command], str]) -> str:
    return "\n".join(
        f"        {shlex.quote(_place(command))}) {offer(command)}{_either(command)} ;;"
        for command in commands(parser)
    )


def _either(command: Command) -> str:
    return " kind=either" if any(takes_file(each) for each in command.operands) else ""


def _bash_offer(command: Command) -> str:
    words = (word for word, _ in (*_commands(command), *_flags(command)))
    return f"choices={shlex.quote(' '.join(words))}"


def _zsh_offer(command: Command) -> str:
    return f"said=({_described(_commands(command))}) flags=({_described(_flags(command))})"


def _described(words: Iterable[tuple[str, str]]) -> str:
    return " ".join(shlex.quote(f"{word}:{about}".rstrip(":")) for word, about in words)


def _commands(command: Command) -> Iterator[tuple[str, str]]:
    """Return the words that may stand behind a command, and what each is."""
    for below in command.below:
        yield below.path[-1], below.about
    for action in command.operands:
        for choice in action.choices or ():
            yield str(choice), ""


def _flags(command: Command) -> Iterator[tuple[str, str]]:
    """Return its options, and what each is."""
    for action in command.options:
        for name in action.option_strings:
            yield name, help_of(command, action)


def _place(command: Command) -> str:
    return "".join(f"/{word}" for word in command.path)
