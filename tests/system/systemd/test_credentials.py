"""Any configuration without mistakes starts under systemd, however its secrets are named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.system.systemd.site import CONFIG, SINK, UNIT

if TYPE_CHECKING:
    from tests.system.systemd.site import Site

BY_NAME = SINK + 'token_file = "token"\n'
TWO = BY_NAME + SINK.replace("cc", "second") + 'token_file = "second-token"\n'
NATS = '[sinks.events]\ntype = "nats"\nservers = ["nats://127.0.0.1:9"]\n'
LOAD = "LoadCredential=token:/etc/slurmsyncd/token\n"
#: Another file, which has no name in the unit.
SECOND = LOAD + "LoadCredential=second-token:/etc/slurmsyncd/of-the-second\n"
ABSENT = "no such systemd credential"


def as_root_only(site: Site) -> None:
    """Let only root read the tokens."""
    for name in ("token", "of-the-second"):
        site.machine.write(f"/etc/slurmsyncd/{name}", "a.b.c\n", mode=0o600)
        site.machine.run("chown", "root:", f"/etc/slurmsyncd/{name}")


def checked(site: Site) -> str:
    """Return what `check` says to the daemon's user."""
    argv = ("runuser", "-u", "slurmsyncd", "--", "slurmsyncd", "check")
    return site.machine.run(*argv, check=False).stdout


@pytest.mark.parametrize(
    ("config", "drop_in"),
    [(CONFIG, ""), (BY_NAME, LOAD), (TWO, SECOND), (NATS, "")],
    ids=["path", "credential", "two sinks", "NATS alone"],
)
def test_each_sound_configuration_starts(site: Site, config: str, drop_in: str) -> None:
    """The unit needs no file of a certain name; the daemon, and who asks beside it, can read each token."""
    site.configure(config)
    if drop_in:
        as_root_only(site)
        site.drop_in(f"[Service]\n{drop_in}")
    site.start()
    assert site.state == ("active", "running")
    said = checked(site)
    assert ABSENT not in said
    assert "Permission denied" not in said


def test_a_credential_that_nobody_hands_over_is_explained(site: Site) -> None:
    """`config check` and `check` name the setting and the line of the unit that is missing; the daemon runs."""
    site.configure(BY_NAME)
    site.start()
    assert site.state == ("active", "running")
    for said in (site.machine.run("slurmsyncd", "config", "check").stdout, checked(site)):
        (line,) = [line for line in said.splitlines() if ABSENT in line]
        assert "sinks.cc.token_file = token" in line
        assert "LoadCredential=token:/path" in line


def test_the_shipped_drop_in_is_what_the_service_needs(site: Site) -> None:
    """systemd takes the example as it is, also for a reload, whose check runs beside the daemon."""
    as_root_only(site)
    site.configure(BY_NAME)
    site.drop_in(site.machine.run("cat", "systemd/credential.conf").stdout)
    site.start()
    site.machine.run("systemctl", "reload", UNIT)
    site.wait_said('"ready"', 2)
    assert site.said(ABSENT) == []


def test_a_credential_without_its_file_is_not_tried_again(site: Site) -> None:
    """systemd's status 243 is final, too: the journal names the step, and no restart is pending."""
    site.drop_in("[Service]\nLoadCredential=token:/etc/slurmsyncd/missing\n")
    assert site.machine.run("systemctl", "start", UNIT, check=False).returncode != 0
    assert (site.state, site.shown("ExecMainStatus")) == (("failed", "failed"), "243")
    assert site.shown("NRestarts") == "0"
