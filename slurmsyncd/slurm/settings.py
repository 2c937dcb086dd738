"""Slurm's settings as ``scontrol show config`` and ``sacctmgr show configuration`` print them. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_SETTING: Final = re.compile(r"(?m)^(\S+) += ?(.*)$", re.ASCII)
_AS_OF: Final = re.compile(r"(?m)^Configuration data as of ([0-9]{9,11})$", re.ASCII)
_INDEX: Final = re.compile(r"\[[0-9]{1,4}\]$", re.ASCII)
#: What precedes slurmdbd's own settings, after those of slurm.conf.
_SLURMDBD: Final = "SlurmDBD configuration:"


@dataclass(frozen=True, slots=True)
class SlurmSettings:
    """
    Settings of slurmctld or of slurmdbd.

    Attributes:
        values: By name, as printed.
        server_time: The clock of the host that answered (epoch seconds), None if it is not said.
    """

    values: Mapping[str, str]
    server_time: int | None

    def get(self, name: str) -> str:
        """Return a setting; empty if it is not set."""
        value = self.values.get(name, "").strip()
        return "" if value == "(null)" else value

    def seconds(self, name: str) -> int | None:
        """Return a setting of the form ``300 sec``, None if it has another one."""
        number = self.get(name).split(" ")[0]
        return int(number) if number.isdecimal() else None

    def listed(self, name: str) -> tuple[str, ...]:
        """Return the values of a setting that may have several, printed as ``NAME[0]``, ``NAME[1]``."""
        keys = [key for key in self.values if _INDEX.sub("", key) == name]
        return tuple(filter(None, map(self.get, keys)))

    @property
    def hides_jobs(self) -> bool:
        """Whether other users' jobs are hidden from a user who is no operator."""
        return "jobs" in self.get("PrivateData").lower().split(",")


def parse_settings(text: str) -> SlurmSettings:
    """Read ``scontrol show config``, printed with SLURM_TIME_FORMAT=%s."""
    found = _AS_OF.search(text)
    return SlurmSettings(dict(_SETTING.findall(text)), int(found[1]) if found else None)


def parse_slurmdbd_settings(text: str) -> SlurmSettings:
    """Read slurmdbd's part of ``sacctmgr show configuration``, which any user may ask for."""
    return parse_settings(text.partition(_SLURMDBD)[2])
