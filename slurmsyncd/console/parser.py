"""argparse's parser, but one that says what was probably meant. Pure."""

from __future__ import annotations

import argparse
import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Wraps a paragraph that is one line, and leaves one of several lines as it is: a list, or examples."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        wrap = argparse.HelpFormatter(self._prog)
        return "\n\n".join(
            part.rstrip() if "\n" in part.strip() else wrap._fill_text(part, width, indent)  # noqa: SLF001
            for part in re.split(r"\n{2,}", text)
        )


class ArgumentParser(argparse.ArgumentParser):
    """The parser of slurmsyncd and, since sub-parsers are of their parent's class, of each command."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        settings.setdefault("formatter_class", HelpFormatter)
        super().__init__(*args, **settings)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuse what is left over here: the parser of the command alone knows what it may have meant."""
        found, rest = super().parse_known_args(args, namespace)
        if rest:
            options = [option for action in self._actions for option in action.option_strings]
            near = (_near(word.partition("=")[0], options) for word in rest if word.startswith("-"))
            self.error(f"unrecognized arguments: {' '.join(rest)}{''.join(near)}")
        return found, rest

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            choices = [str(each) for each in action.choices]
            known = f"choose from {', '.join(choices)}"
            message = f"invalid choice: {value!r}{_near(str(value), choices)} ({known})"
            raise argparse.ArgumentError(action, message)


def _near(word: str, known: Iterable[str]) -> str:
    found = get_close_matches(word, list(known), n=1)
    return f"; did you mean {found[0]}?" if found else ""
