"""Conversion of TOML values to the types of settings. Pure."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, get_args, get_origin

from slurmsyncd.config import toml

_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
#: Settings that may hold a secret by mistake: their values are not shown.
_GUARDED = re.compile(r"token|secret|password|url", re.IGNORECASE)
_SHOWN = 60


def convert(value: Any, hint: Any) -> Any:
    """
    Convert ``value`` to the type ``hint``.

    Raises:
        ValueError: The value has another type; the message names the allowed values.
    """
    origin, args = get_origin(hint), get_args(hint)
    if origin is dict:
        return {key: convert(item, args[1]) for key, item in _expect(value, dict, "a table").items()}
    if origin is tuple:
        return tuple(convert(item, args[0]) for item in _expect(value, list, "a list"))
    if hint is float:
        return _number(value)
    if hint is int:
        return _whole(value)
    if hint is bool:
        return _expect(value, bool, "true or false")
    if hint is Path:
        return _path(value)
    return _expect(value, str, "text in quotes")


def from_text(text: str, hint: Any) -> Any:
    """
    Parse a value of the environment or the command line as TOML.

    In these sources a string needs no quotes, and a list of strings needs no brackets.
    """
    if hint in (str, Path):
        return text
    if hint == tuple[str, ...] and not text.startswith("["):
        return [item.strip() for item in text.split(",") if item.strip()]
    try:
        return toml.parse(f"value = {text}")["value"]
    except ValueError:
        return text


def named(path: str, key: str) -> str:
    """Return the path of a key, escaped so that it is always one line."""
    name = key if _BARE.fullmatch(key) else ascii(key)
    return f"{path}.{name}" if path else name


def format_setting(where: str, value: Any) -> str:
    """Return ``path = value`` for a message, cut to one line and without a possible secret."""
    if _GUARDED.search(where.rpartition(".")[2]) and value not in ("", None):
        return where
    try:
        text = ascii(value)
    except ValueError:  # Python prints no number of more than 4300 digits
        return where
    return f"{where} = {text if len(text) <= _SHOWN else text[:_SHOWN] + '...'}"


def _number(value: Any) -> float:
    if not isinstance(value, bool) and isinstance(value, int | float):
        try:
            if math.isfinite(number := float(value)):
                return number
        except OverflowError:
            pass
    raise ValueError("a number is wanted")


def _whole(value: Any) -> int:
    number: int = _expect(value, int, "a whole number")
    if not -(2**63) <= number < 2**63:
        raise ValueError("a whole number of at most 64 bits is wanted")
    return number


def _path(value: Any) -> Path:
    text = _expect(value, str, "an absolute path in quotes")
    if not text.startswith("/") or "\0" in text:
        raise ValueError("an absolute path is wanted")
    return Path(text)


def _expect(value: Any, kind: type[Any], wanted: str) -> Any:
    # bool is an int to Python, but "poll_interval = true" is a mistake.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{wanted} is wanted")
    return value
