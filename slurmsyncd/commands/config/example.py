"""A commented example of every setting. Pure but for reading the comments that it is made of."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Final

from slurmsyncd.commands.config.toml_writer import defaults_of, value_text
from slurmsyncd.config.reference import meanings
from slurmsyncd.config.sections import (
    ClusterConfig,
    DaemonConfig,
    HookConfig,
    SinkConfig,
    SlurmConfig,
    WebConfig,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEAD: Final = """\
# slurmsyncd: settings. Each line that is commented out shows its default.
# Check this file with `slurmsyncd config check`, and all that it leads to with `slurmsyncd check`.
"""
_URL: Final = "https://monitoring.example.org"
#: What has to be set, with an example of it.
_WANTED: Final = {"url": _URL, "token_file": "/etc/slurmsyncd/token"}
_SECTIONS: Final[tuple[tuple[str, str, type[Any]], ...]] = (
    ("[sinks.monitoring]", "Who is told of jobs; any number of sections.", SinkConfig),
    ("[daemon]", "The process, its timer and its files.", DaemonConfig),
    ("[slurm]", "How Slurm's commands are run.", SlurmConfig),
    ("[hook]", "Where hints of PrologSlurmctld and EpilogSlurmctld come in.", HookConfig),
    ("[web]", "Metrics, health and the status page.", WebConfig),
    (
        "# [clusters.NAME]",
        "One Slurm cluster, by Slurm's name. Without any, this host's own is taken.",
        ClusterConfig,
    ),
)


def example() -> str:
    """Return the file."""
    return _HEAD + "".join(f"\n{line}" if line.startswith("\n") else line for line in _lines())


def _lines() -> Iterator[str]:
    for heading, about, kind in _SECTIONS:
        yield f"\n# {about}\n{heading}\n"
        said = meanings(kind)
        for key, default in defaults_of(kind).items():
            for line in textwrap.wrap(said[key].replace("`", ""), 96):
                yield f"# {line}\n"
            if key in _WANTED and kind is SinkConfig:
                yield f"{key} = {value_text(_WANTED[key])}\n"
            else:
                yield f"# {key} = {value_text(default)}\n"
