"""Priorities of lines in systemd's journal."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from slurmsyncd.host.journal import is_journal, with_priority

if TYPE_CHECKING:
    from pathlib import Path

LOG = """
import structlog
from slurmsyncd.logs import configure_logs
configure_logs("debug", "{form}")
log = structlog.get_logger()
for level in ("debug", "info", "warning", "error"):
    getattr(log, level)("event", value="two\\nlines")
"""


def identity(file: int) -> str:
    """Return what systemd puts into JOURNAL_STREAM for a file."""
    found = os.fstat(file)
    return f"{found.st_dev}:{found.st_ino}"


def test_only_the_stream_that_systemd_named_is_the_journal(tmp_path: Path) -> None:
    """A stream that was redirected, closed, or never was a file is not the journal."""
    with (tmp_path / "journal").open("w") as journal, (tmp_path / "other").open("w") as other:
        environ = {"JOURNAL_STREAM": identity(journal.fileno())}
        assert is_journal(journal, environ)
        assert not is_journal(other, environ)
        assert not is_journal(journal, {})
    assert not is_journal(journal, environ)
    assert not is_journal(io.StringIO(), environ)


def test_each_line_of_a_text_has_the_priority() -> None:
    """The journal makes an entry of each line, so that one without priority would count as information."""
    assert with_priority("one\ntwo", "error") == "<3>one\n<3>two"


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("redirected", [False, True])
def test_events_have_their_priority_in_the_journal_and_nowhere_else(
    tmp_path: Path, form: str, *, redirected: bool
) -> None:
    """A program whose standard error systemd connected to the journal marks each line, whatever its form."""
    with (tmp_path / "out").open("w") as out:
        named = "1:1" if redirected else identity(out.fileno())
        environment = os.environ | {"JOURNAL_STREAM": named}
        argv = [sys.executable, "-c", LOG.format(form=form)]
        subprocess.run(argv, stderr=out, env=environment, check=True, timeout=60)
    starts = [line[:3] for line in (tmp_path / "out").read_text().splitlines()]
    assert len(starts) == 4
    assert ("".join(starts) == "<7><6><4><3>") is not redirected


def test_a_command_that_fails_marks_its_error(tmp_path: Path) -> None:
    """What keeps the daemon from starting is an error in the journal, before any log is configured."""
    with (tmp_path / "out").open("w") as out:
        environment = os.environ | {"JOURNAL_STREAM": identity(out.fileno())}
        argv = [sys.executable, "-m", "slurmsyncd", "run", "--config", "/nonexistent"]
        done = subprocess.run(argv, stderr=out, env=environment, check=False, timeout=60)
    assert done.returncode == 78
    assert (tmp_path / "out").read_text().startswith("<3>slurmsyncd: ")
