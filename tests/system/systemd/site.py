"""slurmsyncd on a booted machine, installed as systemd/README.md says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.tools.lab.waiting import until

if TYPE_CHECKING:
    from tests.system.systemd.machine import Machine

PATIENCE_S = 30.0
UNIT = "slurmsyncd.service"
#: Nobody listens there: a backend that is down keeps no daemon from starting.
SINK = '[sinks.cc]\nurl = "http://127.0.0.1:9"\n'
CONFIG = SINK + 'token_file = "/etc/slurmsyncd/token"\n'
#: venv alone needs a package of Debian's more, and takes ten times as long.
INSTALL = """
python3 -m venv --without-pip /opt/slurmsyncd
/opt/slurmsyncd/bin/python "$(ls /srv/wheels/pip-*.whl)/pip" install --quiet --root-user-action=ignore .
ln -s /opt/slurmsyncd/bin/slurmsyncd /usr/local/bin/slurmsyncd
install -m 644 systemd/slurmsyncd.sysusers /usr/lib/sysusers.d/slurmsyncd.conf && systemd-sysusers
install -m 644 systemd/*.service systemd/*.socket /etc/systemd/system/
install -D -m 755 hooks/slurmctld-hook /usr/lib/slurmsyncd/slurmctld-hook
install -d -m 755 /etc/slurmsyncd
systemctl daemon-reload
"""


@dataclass(frozen=True, slots=True)
class Site:
    """The machine with the daemon on it."""

    machine: Machine

    def start(self) -> int:
        """Start the daemon, wait until it is ready, and return its pid."""
        self.machine.run("systemctl", "start", UNIT)
        return self.pid

    @property
    def pid(self) -> int:
        """The daemon's pid on the machine, 0 if it does not run."""
        return int(self.shown("MainPID"))

    def shown(self, name: str) -> str:
        """Return one of systemd's properties of the service."""
        return self.machine.run("systemctl", "show", "--value", f"--property={name}", UNIT).stdout.strip()

    @property
    def state(self) -> tuple[str, str]:
        """systemd's two words for the state of the service."""
        return self.shown("ActiveState"), self.shown("SubState")

    def wait_state(self, *state: str) -> None:
        """Wait until the service is in a state."""
        until(lambda: self.state == state, f"service that is {state}", timeout_s=PATIENCE_S)

    def said(self, event: str) -> list[dict[str, Any]]:
        """Return what the journal has of this start of the unit with these words in it."""
        invocation = self.shown("InvocationID")
        entries = self.machine.journal(f"_SYSTEMD_INVOCATION_ID={invocation}")
        return [entry for entry in entries if event in entry["MESSAGE"]]

    def wait_said(self, event: str, times: int = 1) -> list[dict[str, Any]]:
        """Wait until the journal has these words so often."""
        enough = lambda: found if len(found := self.said(event)) >= times else []  # noqa: E731
        return until(enough, f"{event} in the journal", timeout_s=PATIENCE_S)

    def configure(self, text: str = CONFIG) -> None:
        """Write the configuration."""
        self.machine.write("/etc/slurmsyncd/config.toml", text)

    def drop_in(self, text: str) -> None:
        """Do what `systemctl edit` does with the text."""
        self.machine.write(f"/etc/systemd/system/{UNIT}.d/override.conf", text)
        self.machine.run("systemctl", "daemon-reload")

    def reset(self) -> None:
        """Stop the daemon, and leave nothing of what a test did."""
        self.machine.run("systemctl", "stop", UNIT, "slurmsyncd.socket", "slurmsyncd-hold.service")
        self.machine.run("systemctl", "reset-failed")
        self.machine.run(
            "rm", "-rf", f"/etc/systemd/system/{UNIT}.d", "/var/lib/slurmsyncd", "/etc/slurmsyncd"
        )
        self.machine.run("systemctl", "daemon-reload")
        self.machine.write("/etc/slurmsyncd/token", "a.b.c\n", mode=0o600)
        self.machine.run("chown", "slurmsyncd:", "/etc/slurmsyncd/token")
        self.configure()
