"""The parts of the product that tests treat apart, by their full names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

#: Not the daemon: a peer of it, or tools that an operator runs on his own files.
NOT_THE_DAEMON = (
    "slurmsyncd.sandbox.slurm",
    "slurmsyncd.sandbox.backend",
    "slurmsyncd.commands.capture",
    "slurmsyncd.sandbox.demo",
    "slurmsyncd.commands.check",
    "slurmsyncd.commands.config",
)
#: Modules that a running daemon must not have loaded, each with all below it.
NOT_LOADED = (
    *NOT_THE_DAEMON,
    "slurmsyncd.commands.backfill",
    "slurmsyncd.relay",
    "slurmsyncd.commands.verify",
    "slurmsyncd.notify",
)
#: Where reasons of a delivery come from.
NAMES_REASONS = ("slurmsyncd.sinks", "slurmsyncd.pipeline")
#: Where the first argument of a function can become the name of an event of the log.
NAMES_EVENTS = ("slurmsyncd.sinks", "slurmsyncd.sources")
#: Decodes foreign JSON, and nothing else does.
DECODES = "slurmsyncd.foreign"


def module_of(path: Path) -> str:
    """Return the full name of a module of the product."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_within(module: str, packages: tuple[str, ...]) -> bool:
    """Return whether a module is one of some packages, or below one."""
    return any(f"{module}.".startswith(f"{package}.") for package in packages)
