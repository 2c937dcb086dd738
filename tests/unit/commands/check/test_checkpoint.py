"""What ``check`` says of accounting that was read up to some time ago."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from slurmsyncd.commands.check.host import check_host
from slurmsyncd.commands.check.result import CheckLevel
from slurmsyncd.config import Config, DaemonConfig, HookConfig
from slurmsyncd.control.status import GetStatus
from slurmsyncd.store import checkpoint_file
from tests.unit.control.conftest import serving
from tests.unit.control.test_verdict import source, status

if TYPE_CHECKING:
    from pathlib import Path

    from slurmsyncd.control.status import Status


@pytest.mark.parametrize(
    ("is_behind", "error", "level"),
    [
        (True, None, CheckLevel.NOTE),
        (False, None, CheckLevel.WARN),
        (True, "slurmdbd is down", CheckLevel.WARN),
    ],
)
def test_old_accounting_is_only_noted_while_the_daemon_catches_up(
    tmp_path: Path, is_behind: bool, error: str | None, level: CheckLevel
) -> None:
    """A daemon that reads old accounting is healthy; one that stands still, or gets no answer, is not."""
    daemon = DaemonConfig(
        state_dir=tmp_path / "state",
        lastrun_file=tmp_path / "state" / "lastrun",
        pid_file=tmp_path / "run" / "slurmsyncd.pid",
    )
    config = Config(daemon=daemon, hook=HookConfig(socket=""))

    async def answer(_: GetStatus) -> Status:
        return status(sources=(source(behind=is_behind, unavailable=error),))

    with serving(config, {GetStatus.__name__: answer}):
        checkpoint_file.write(daemon.lastrun_file, int(time.time()) - 86400)
        found = {result.name: result for result in check_host(config)}
    assert found["checkpoint"].level is level
    assert "1 d ago" in found["checkpoint"].said
