"""The whole configuration as it is in force, and where each value comes from. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slurmsyncd.commands.config.toml_writer import key_text, settings_of, value_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from slurmsyncd.config import Config

_ASIDE = 44


def config_lines(config: Config, origins: Mapping[tuple[str, ...], str] | None) -> Iterator[str]:
    """
    Return the lines of a TOML file that says it all.

    Args:
        config: What is in force.
        origins: Where what was set comes from; None to leave that out.
    """
    for name in ("daemon", "slurm", "hook", "web"):
        yield from _section((name,), getattr(config, name), origins)
    for group in ("clusters", "sinks"):
        for name, section in getattr(config, group).items():
            yield from _section((group, name), section, origins)


def _section(
    path: tuple[str, ...], section: object, origins: Mapping[tuple[str, ...], str] | None
) -> Iterator[str]:
    yield f"[{key_text(*path)}]"
    for key, value in settings_of(section):
        line = f"{key} = {value_text(value)}"
        yield line if origins is None else f"{line:<{_ASIDE}} # {origins.get((*path, key), 'default')}"
    yield ""


def as_document(config: Config, origins: Mapping[tuple[str, ...], str]) -> dict[str, Any]:
    """Return the same for scripts: dotted key → value and origin."""
    found: dict[str, Any] = {}
    sections: list[tuple[tuple[str, ...], object]] = [
        ((name,), getattr(config, name)) for name in ("daemon", "slurm", "hook", "web")
    ]
    for group in ("clusters", "sinks"):
        sections += [((group, name), section) for name, section in getattr(config, group).items()]
    for path, section in sections:
        for key, value in settings_of(section):
            plain = str(value) if not isinstance(value, (bool, int, float, str, dict, tuple)) else value
            origin = origins.get((*path, key), "default")
            found[key_text(*path, key)] = {"value": plain, "origin": origin}
    return found
