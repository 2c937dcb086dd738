"""
Reading of the configuration from files, environment and command line. All errors are reported together.

Later sources override earlier ones: defaults < the file < ``config.d/*.toml`` beside it <
``SLURMSYNCD_SECTION__KEY`` in the environment < ``--set section.key=value``.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, get_type_hints

from slurmsyncd.config import rules, toml
from slurmsyncd.config.conversion import convert, format_setting, from_text, named
from slurmsyncd.config.file_trust import trust_error
from slurmsyncd.config.sections import Config
from slurmsyncd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

T = TypeVar("T")
_ENVIRONMENT = "SLURMSYNCD_"


@dataclass(frozen=True, slots=True)
class RawConfig:
    """
    The settings of all sources, before validation.

    Attributes:
        values: The merged TOML tables.
        origins: Path of a key → where it was set last: a file, an environment variable or ``--set``.
        problems: Errors of sources that could not be read.
    """

    values: Mapping[str, Any]
    origins: Mapping[tuple[str, ...], str]
    problems: tuple[str, ...] = ()


def read_config(path: Path | None, environment: Mapping[str, str], settings: Iterable[str] = ()) -> Config:
    """
    Read and validate the configuration from all sources.

    Args:
        path: The main file; ``config.d/*.toml`` beside it is read after it. None for the defaults.
        environment: Environment variables of the process.
        settings: Values ``section.key=value`` of the command line.

    Raises:
        ConfigError: The configuration is invalid; the exception contains all errors.
    """
    tree = read_raw(path, environment, settings)
    return load_config(tree.values, tree.problems)


def read_raw(path: Path | None, environment: Mapping[str, str], settings: Iterable[str] = ()) -> RawConfig:
    """Read the settings of all sources without validation. The arguments are those of ``read_config``."""
    problems: list[str] = []
    tree: dict[str, Any] = {}
    origins: dict[tuple[str, ...], str] = {}
    for file in _files(path, problems):
        problems.extend(trust_error(file))
        _merge(tree, _parse(file, problems), origins, str(file))
    for name, text in sorted(environment.items()):
        if name.startswith(_ENVIRONMENT) and "__" in name:
            keys = name.removeprefix(_ENVIRONMENT).lower().split("__")
            if spelled := _put(tree, keys, text, name, problems):
                origins[spelled] = name
    for setting in settings:
        key, sign, text = setting.partition("=")
        if not sign:
            problems.append("--set: section.key=value is wanted")  # not shown: it may be a secret
            continue
        origin = f"--set {ascii(key.strip())[1:-1]}"
        if spelled := _put(tree, key.strip().split("."), text.strip(), origin, problems):
            origins[spelled] = "--set"
    return RawConfig(tree, origins, tuple(problems))


def load_config(tree: Mapping[str, Any], problems: Iterable[str] = ()) -> Config:
    """
    Build the configuration from TOML tables.

    Raises:
        ConfigError: The tables are invalid; the exception contains all errors, ``problems`` first.
    """
    found = list(problems)
    config = _section(Config, tree, "", found)
    found.extend(rules.check(config))
    if found:
        raise ConfigError(found)
    return config


def _section(kind: type[T], table: Any, path: str, problems: list[str], name: str | None = None) -> T:
    """Build one section. An invalid value is reported and replaced by its default."""
    values: dict[str, Any] = {} if name is None else {"name": name}
    if not isinstance(table, dict):
        problems.append(f"{path}: a table is wanted")
        return kind(**values)
    hints = get_type_hints(kind)
    known = {spec.name for spec in fields(kind)} - values.keys()  # type: ignore[arg-type]
    for key, value in table.items():
        where = named(path, key)
        if key not in known:
            problems.append(f"{where}: unknown{_nearest(key, known)}")
            continue
        try:
            values[key] = _value(hints[key], value, where, problems)
        except ValueError as err:
            problems.append(f"{format_setting(where, value)}: {err}")
    return kind(**values)


def _value(hint: Any, value: Any, where: str, problems: list[str]) -> Any:
    if is_dataclass(hint):
        return _section(hint, value, where, problems)  # type: ignore[arg-type]
    if kind := _named_sections(hint):
        if not isinstance(value, dict):
            raise ValueError(f"tables [{where}.NAME] are wanted")
        return {
            name: _section(kind, table, named(where, name), problems, name) for name, table in value.items()
        }
    return convert(value, hint)


def _named_sections(hint: Any) -> Any:
    """Return the section type of a table of named sections such as ``[sinks.NAME]``; None for other types."""
    args = get_args(hint)
    return args[1] if get_origin(hint) is dict and is_dataclass(args[1]) else None


def _nearest(key: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(key, names, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known here: {', '.join(names)}"


def _files(path: Path | None, problems: list[str]) -> list[Path]:
    if path is None:
        return []
    more = path.parent / "config.d"
    for directory in (path.parent, more):
        problems.extend(trust_error(directory))
    try:
        return [path, *sorted(file for file in more.iterdir() if file.suffix == ".toml")]
    except FileNotFoundError:
        return [path]
    except OSError as err:
        problems.append(_unreadable(more, err))
        return [path]


def _parse(file: Path, problems: list[str]) -> dict[str, Any]:
    try:
        if not file.exists():
            problems.append(
                f"{file}: no such file; write one, or name it with --config "
                "(`slurmsyncd config init FILE` writes an example)"
            )
        elif not file.is_file():
            problems.append(f"{file}: no file; a file is wanted")
        else:
            return toml.parse(file.read_bytes().decode())
    except OSError as err:
        problems.append(_unreadable(file, err))
    except UnicodeDecodeError:
        problems.append(f"{file}: not UTF-8; a text file is wanted")
    except ValueError as err:
        problems.append(f"{file}: no TOML: {err}")
    return {}


def _unreadable(path: Path, err: OSError) -> str:
    return f"{path}: {err.strerror}; the daemon's user must be able to read it"


def _merge(
    tree: dict[str, Any],
    more: Mapping[str, Any],
    origins: dict[tuple[str, ...], str],
    origin: str,
    path: tuple[str, ...] = (),
) -> None:
    for key, value in more.items():
        mine, here = tree.get(key), (*path, key)
        if isinstance(value, dict) and mine is None:
            mine = tree[key] = {}
        if isinstance(mine, dict) and isinstance(value, dict):
            _merge(mine, value, origins, origin, here)
        else:
            tree[key] = value
        origins[here] = origin


def _near_setting(keys: list[str]) -> str:
    """Return the similar settings of that section, or the sections, as a suggestion for an unknown key."""
    section = _kind(keys[:-1])
    if not is_dataclass(section):
        return _nearest(keys[0], (field.name for field in fields(Config)))
    return _nearest(keys[-1], (field.name for field in fields(section)))


def _put(
    tree: dict[str, Any], keys: list[str], text: str, origin: str, problems: list[str]
) -> tuple[str, ...]:
    """Set one value; return its path as spelled in files, or an empty path if the setting does not exist."""
    hint = _hint(keys)
    if hint is None:
        problems.append(f"{origin}: no such setting{_near_setting(keys)}")
        return ()
    path: list[str] = []
    for key in keys[:-1]:
        path.append(_spelled(tree, key))
        tree = tree.setdefault(path[-1], {})
        if not isinstance(tree, dict):
            return ()  # a value in place of a table is reported with its file
    path.append(_spelled(tree, keys[-1]))
    tree[path[-1]] = from_text(text, hint)
    return tuple(path)


def _spelled(tree: Mapping[str, Any], key: str) -> str:
    """Return the key as spelled in files, because environment variables are in capitals."""
    return next((each for each in tree if each.lower() == key), key)


def _hint(keys: list[str]) -> Any:
    """Return the type of the setting at a path; None if the setting does not exist."""
    hint = _kind(keys)
    return None if is_dataclass(hint) else hint


def _kind(keys: list[str]) -> Any:
    """Return the type of the setting or section at a path; None if neither exists."""
    hint: Any = Config
    for key in keys:
        if get_origin(hint) is dict:
            hint = get_args(hint)[1]
        elif is_dataclass(hint):
            hint = get_type_hints(hint).get(key)
        else:
            return None
    return hint
