"""From TOML's values to the fields' types. Pure: a wrong value raises ValueError saying what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args, get_origin


def convert(value: Any, hint: Any) -> Any:
    """
    Give ``value`` as the type ``hint`` wants.

    Raises:
        ValueError: It is none; the message says what is allowed.
    """
    origin, args = get_origin(hint), get_args(hint)
    if origin is dict:
        return {str(key): convert(item, args[1]) for key, item in _expect(value, dict, "a table").items()}
    if origin is tuple:
        items = _expect(value, list, "a list")
        return tuple(convert(item, args[0]) for item in items)
    if hint is float:
        return float(_number(value))
    if hint is int:
        return _expect(value, int, "a whole number")
    if hint is bool:
        return _expect(value, bool, "true or false")
    if hint is Path:
        return Path(_expect(value, str, "a path in quotes"))
    return _expect(value, str, "text in quotes")


def from_text(text: str, hint: Any) -> Any:
    """
    Give what TOML would have given for a value from the environment or the command line.

    Text that is wanted as text needs no quotes there.
    """
    if hint in (str, Path):
        return text
    if hint is bool:
        return {"true": True, "false": False}.get(text, text)
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return [item.strip() for item in text.split(",")] if get_origin(hint) is tuple else text


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("a number is wanted")  # noqa: TRY004 - a wrong value of the operator's, not a wrong call
    return value


def _expect(value: Any, kind: type[Any], wanted: str) -> Any:
    # bool is an int to Python, but "poll_interval = true" is a mistake.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{wanted} is wanted")
    return value
