"""What the command line makes of a host that cannot be worked on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from slurmsyncd import cli

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("command", ["verify --since 7d", "run --once"])
def test_z8_a_clock_that_python_cannot_read_is_named(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After 2262-04-11 each command ends with the cause and a status of its own, and not as a bug."""

    def unreadable() -> float:
        raise OverflowError("timestamp too large to convert to C _PyTime_t")

    config = tmp_path / "config.toml"
    config.write_text(
        f'[daemon]\nstate_dir = "{tmp_path}/state"\nlastrun_file = "{tmp_path}/lastrun"\n'
        f'pid_file = "{tmp_path}/pid"\n[hook]\nsocket = ""\n[clusters.alpha]\n'
        f'[sinks.cc]\nurl = "http://127.0.0.1:9"\ntoken_file = "{tmp_path}/token"\n'
    )
    monkeypatch.setattr(time, "time", unreadable)
    assert cli.main([*command.split(), "--config", str(config)]) == cli.EXIT_CLOCK
    said = capsys.readouterr().err
    assert said == "slurmsyncd: the clock of this host is later than 2262-04-11; set it\n"
    assert "Traceback" not in said
