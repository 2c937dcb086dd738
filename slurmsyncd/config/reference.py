"""The table of docs/configuration.md, built from the comments in sections.py. Pure but for that read."""

from __future__ import annotations

import inspect
import re
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from slurmsyncd.config import sections

if TYPE_CHECKING:
    from collections.abc import Iterator

_DOCUMENTED = re.compile(r"((?:^    #: .*\n)+)    (\w+):", re.MULTILINE)
_TYPES = {bool: "true or false", int: "whole number", float: "number", str: "text", Path: "path"}


def settings_table() -> str:
    """Return a Markdown table of all settings: section, key, type, default, meaning."""
    lines = ["| section | key | type | default | meaning |", "|---|---|---|---|---|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows()]
    return "\n".join(lines) + "\n"


def rows() -> Iterator[tuple[str, ...]]:
    """Yield a table row for each setting: section, key, type, default, meaning."""
    for name, hint in get_type_hints(sections.Config).items():
        kind: Any = hint if is_dataclass(hint) else get_args(hint)[1]
        section = name if kind is hint else f"{name}.NAME"
        meant = meanings(kind)
        hints = get_type_hints(kind)
        for spec in fields(kind):
            if spec.name == "name" and kind is not hint:
                continue  # the section's own
            default = spec.default if spec.default is not MISSING else {}
            cells = (f"`[{section}]`", f"`{spec.name}`", _type(hints[spec.name]), _toml(default))
            yield (*cells, meant[spec.name].replace("|", "\\|"))


def meanings(kind: type[Any]) -> dict[str, str]:
    """Return the comment of each field of a section, as one line."""
    found = _DOCUMENTED.findall(inspect.getsource(kind))
    return {name: " ".join(block.replace("#:", "").replace("``", "`").split()) for block, name in found}


def _type(hint: Any) -> str:
    if get_origin(hint) is tuple:
        return "list"
    return "table" if get_origin(hint) is dict else _TYPES[hint]


def _toml(value: Any) -> str:
    """Write a default as TOML."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float):
        return f"`{value:g}`" if value < 1e6 else f"`{value:.0f}`"
    if isinstance(value, tuple):
        return "`[" + ", ".join(f'"{item}"' for item in value) + "]`"
    return f'`"{value}"`' if isinstance(value, str | Path) else f"`{value}`"
