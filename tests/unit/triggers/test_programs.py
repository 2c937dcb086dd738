"""Which programs of slurm.conf notify the daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurmsyncd.triggers.programs import notifies
from tests.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

HOOKS = ROOT / "hooks"


def test_the_hooks_themselves_are_known_by_their_text(tmp_path: Path) -> None:
    """Whatever they are called, and wherever they lie."""
    for name in ("slurmctld-hook", "slurmctld-hook.sh"):
        copy = tmp_path / "prolog"
        copy.write_bytes((HOOKS / name).read_bytes())
        assert notifies(str(copy))


def test_a_script_that_calls_one_is_known_and_any_other_is_not(tmp_path: Path) -> None:
    """A site's own prolog counts if it names ours; one that does not is nobody's silence."""
    script = tmp_path / "prolog"
    script.write_text("#!/bin/sh\n/usr/lib/slurmsyncd/slurmctld-hook || :\n")
    assert notifies(str(script))
    script.write_text("#!/bin/sh\nlogger job $SLURM_JOB_ID\n")
    assert not notifies(str(script))


def test_a_file_of_another_host_is_known_by_its_name_alone() -> None:
    """slurmctld may run elsewhere, and what slurm.conf says may be no path at all."""
    assert notifies("/usr/lib/slurmsyncd/slurmctld-hook")
    assert not notifies("/etc/slurm/prolog.sh")
    assert not notifies("no\x00path")
