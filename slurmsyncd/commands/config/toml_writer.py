"""Settings as TOML. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import MISSING, fields, is_dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def key_text(*path: str) -> str:
    """Return a dotted key, quoted where TOML wants it."""
    return ".".join(part if _BARE.fullmatch(part) else _quoted(part) for part in path)


def value_text(value: Any) -> str:
    """Return a value as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < 2**53 else repr(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(map(value_text, value)) + "]"
    if isinstance(value, dict):
        inner = ", ".join(f"{key_text(key)} = {value_text(item)}" for key, item in value.items())
        return f"{{{inner}}}"
    return _quoted(str(value))


def defaults_of(kind: type[Any]) -> Mapping[str, Any]:
    """Return a section's settings with their defaults, but for the name that the section's heading gives."""
    return {
        spec.name: {} if spec.default is MISSING else spec.default
        for spec in fields(kind)
        if spec.name != "name"
    }


def settings_of(section: object) -> Iterator[tuple[str, Any]]:
    """Return a section's settings in order."""
    assert is_dataclass(section)
    for spec in fields(section):
        if spec.name != "name":
            yield spec.name, getattr(section, spec.name)


def _quoted(text: str | Path) -> str:
    # A basic string of TOML takes JSON's escapes; only DEL has to be escaped as well, and halves of pairs.
    plain = json.dumps(str(text), ensure_ascii=False).replace("\x7f", "\\u007f")
    return plain.encode("utf-8", "replace").decode()
