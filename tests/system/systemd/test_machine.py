"""The container that the system tests run in is a machine of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.system.systemd.machine import Machine


def test_a_machine_runs_commands_and_keeps_files_and_a_journal(machine: Machine) -> None:
    """A command's output and exit status come back, a file arrives, and the journal can be read."""
    assert machine.run("systemctl", "is-system-running").stdout == "running\n"
    assert machine.run("false", check=False).returncode == 1
    machine.write("/root/new/greeting", "hello")
    assert machine.run("cat", "/root/new/greeting").stdout == "hello"
    machine.run("logger", "--tag=greeter", "hello")
    assert [entry["MESSAGE"] for entry in machine.journal("--identifier=greeter")] == ["hello"]
