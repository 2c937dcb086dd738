"""docs/getting-started.md on fresh Debian with a real Slurm: who copies its commands sees green at each step."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import pytest

from tests.paths import ROOT
from tests.system.guide import cluster
from tests.system.systemd.machine import boot, why_not
from tests.tools.lab.releases import BOOKWORM, TRIXIE

if TYPE_CHECKING:
    from tests.system.systemd.machine import Machine
    from tests.tools.lab import Release

GUIDE = ROOT / "docs" / "getting-started.md"
MARK = "### "
#: A step that says itself when it is needed: here it is not.
OPTIONAL = "Permission to see all jobs"


def commands(*, leave_out: str = "") -> list[str]:
    """Return what the guide has its reader type, in order; without one section."""
    sections = re.split(r"^## ", GUIDE.read_text(), flags=re.MULTILINE)
    kept = "".join(each for each in sections if not leave_out or leave_out not in each.partition("\n")[0])
    blocks = re.findall(r"^```console\n(.*?)^```$", kept, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert all(line.startswith("# ") for line in lines), "a prompt is missing"
    return [line.removeprefix("# ") for line in lines]


def follow(machine: Machine, typed: list[str]) -> list[tuple[str, str]]:
    """Type the commands into one shell that ends at the first failure; return each with what it printed."""
    shown = (f"printf '%s\\n' {shlex.quote(MARK + command)}\n{command}\n" for command in typed)
    machine.write("/root/typed", "set -e\nexec 2>&1\n" + "".join(shown))
    printed = machine.run("bash", "/root/typed", timeout_s=300).stdout
    parts = (part.partition("\n") for part in f"\n{printed}".split(f"\n{MARK}")[1:])
    return [(command, output) for command, _, output in parts]


@pytest.mark.parametrize(
    ("release", "left_out"), [(BOOKWORM, ""), (TRIXIE, OPTIONAL)], ids=lambda it: getattr(it, "suite", "")
)
def test_who_copies_the_commands_sees_green_at_each_step(release: Release, left_out: str) -> None:
    """Each command exits with 0, and `check` and `status` find nothing wrong, before and after each step."""
    if reason := why_not():
        pytest.skip(f"NOT RUN: {reason}")
    with boot(release.suite, masked=()) as machine:
        cluster.start(machine, release)
        typed = commands(leave_out=left_out)
        followed = follow(machine, typed)
        by_root = machine.run("slurmsyncd", "check")
    assert [command for command, _ in followed] == typed
    _see_green(followed)
    assert by_root.stdout.rstrip().endswith("all is well")
    assert "chown" not in by_root.stdout + by_root.stderr


def _see_green(followed: list[tuple[str, str]]) -> None:
    checks = [output for command, output in followed if command.endswith("-- slurmsyncd check")]
    assert len(checks) == 2
    for output in checks:
        assert output.rstrip().endswith("all is well"), output
    for output in (output for command, output in followed if command == "slurmsyncd status"):
        assert "all is well" in output.splitlines()[0], output
    story = next(output for command, output in followed if command == "slurmsyncd job $job")
    assert "by a hint of the hook" in story
    assert "start: taken" in story
    _, metrics = followed[-1]
    assert 'slurmsyncd_sink_up{sink="monitoring"} 1' in metrics
