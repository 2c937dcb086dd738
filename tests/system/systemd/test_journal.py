"""What the journal has of the daemon, and the commands by which its guides have it read."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING

from tests.paths import ROOT
from tests.system.systemd.site import CONFIG, UNIT

if TYPE_CHECKING:
    from tests.system.systemd.site import Site


def test_each_line_has_its_priority(site: Site) -> None:
    """`journalctl -p warning` shows warnings and errors of the daemon, and no more."""
    site.configure(CONFIG + '[daemon]\nlog_level = "debug"\n')
    pid = site.start()
    site.wait_said('"cluster_unknown"')
    site.configure("[daemon]\nsurprise = 1\n")
    site.machine.run("kill", "-HUP", str(pid))
    site.wait_said('"reload_refused"')
    levels = {"debug": "7", "info": "6", "warning": "4", "error": "3"}
    met = set()
    for entry in site.said('"level": '):
        level = json.loads(entry["MESSAGE"])["level"]
        assert entry["PRIORITY"] == levels[level]
        met.add(level)
    assert met == set(levels)
    shown = site.machine.journal("--priority=warning", f"--unit={UNIT}", f"_PID={pid}")
    assert {json.loads(entry["MESSAGE"])["level"] for entry in shown} == {"warning", "error"}


def test_the_documented_command_gives_our_lines_alone(site: Site) -> None:
    """Lines of systemd's, and of a command beside the daemon, do not reach the reader of JSON."""
    site.start()
    site.machine.run("systemctl", "reload", UNIT)
    site.wait_said('"ready"', 2)
    page = (ROOT / "docs/events-log.md").read_text()
    (documented,) = re.findall(r"^ +(journalctl .*?) \| jq", page, re.MULTILINE)
    argv = [word for word in shlex.split(documented) if word != "-f"]
    lines = site.machine.run(*argv).stdout.splitlines()
    assert {json.loads(line)["event"] for line in lines} >= {"ready", "reloading"}
    everything = site.machine.run("journalctl", "-u", UNIT, "-o", "cat").stdout
    assert "is sound" in everything
    assert "Reloaded" in everything
