"""What a real systemd makes of the units and of what the daemon reports to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.system.systemd.site import CONFIG, PATIENCE_S, UNIT
from tests.tools.lab.waiting import until

if TYPE_CHECKING:
    from tests.system.systemd.site import Site

RUNNING = ("active", "running")
HOOK = "/usr/lib/slurmsyncd/slurmctld-hook"
MISTAKE = CONFIG + "surprise = 1\n"


def test_p11_the_daemon_is_active_without_slurm_and_without_a_backend(site: Site) -> None:
    """`systemctl start` returns once the daemon is ready, and `systemctl status` shows what it says of itself."""
    site.start()
    assert site.state == RUNNING
    until(lambda: site.shown("StatusText"), "text of the daemon's", timeout_s=PATIENCE_S)


def test_p2_p8_a_reload_keeps_the_daemon(site: Site) -> None:
    """After `systemctl reload` the same process is active, with the new settings, and no stop is pending."""
    pid = site.start()
    site.configure(CONFIG.replace("127.0.0.1:9", "127.0.0.1:10"))
    site.machine.run("systemctl", "reload", UNIT)
    site.wait_said('"ready"', 2)
    site.wait_state(*RUNNING)
    assert (site.pid, site.shown("NRestarts")) == (pid, "0")
    assert "127.0.0.1:10" in site.machine.run("slurmsyncd", "status", check=False).stdout


def test_p8_a_reload_with_a_mistake_fails_and_changes_nothing(site: Site) -> None:
    """`systemctl reload` fails, the journal has the mistake as an error, and the daemon goes on as it was."""
    pid = site.start()
    site.configure(MISTAKE)
    assert site.machine.run("systemctl", "reload", UNIT, check=False).returncode != 0
    assert site.state == RUNNING
    assert [entry["PRIORITY"] for entry in site.said("surprise")] == ["3"]
    assert (site.pid, site.said('"reloading"')) == (pid, [])


def test_p8_a_signal_with_a_mistake_changes_nothing(site: Site) -> None:
    """A SIGHUP past systemd is refused by the daemon itself, which stays active."""
    pid = site.start()
    site.configure(MISTAKE)
    site.machine.run("kill", "-HUP", str(pid))
    (refused,) = site.wait_said('"reload_refused"')
    assert (refused["PRIORITY"], "surprise" in refused["MESSAGE"]) == ("3", True)
    site.wait_state(*RUNNING)
    assert site.pid == pid


def test_p1_a_stop_is_clean_and_holds(site: Site) -> None:
    """`systemctl stop` ends the daemon with status 0, and a hint that comes afterwards does not start it."""
    site.machine.run("systemctl", "start", "slurmsyncd.socket")
    site.start()
    site.machine.run("systemctl", "stop", UNIT)
    assert (site.state, site.shown("Result")) == (("inactive", "dead"), "success")
    assert site.shown("ExecMainStatus") == "0"
    hint(site)
    until(lambda: unit_is_active(site, "slurmsyncd-hold.service"), "hold", timeout_s=PATIENCE_S)
    assert site.state == ("inactive", "dead")


def test_k9_a_hint_for_a_daemon_that_is_down_arrives(site: Site) -> None:
    """The socket unit keeps what Slurm's user sends, and the daemon reads it at its start, sender included."""
    site.machine.run("systemctl", "start", "slurmsyncd.socket")
    hint(site)
    site.start()
    accepted = '"accepted": 1'
    status = ("slurmsyncd", "status", "--json")
    until(lambda: accepted in site.machine.run(*status, check=False).stdout, accepted, timeout_s=PATIENCE_S)


def test_p3_p6_a_stalled_daemon_is_killed_and_started_again(site: Site) -> None:
    """A daemon that gives no sign of life for WatchdogSec is ended by systemd, and a new one takes its place."""
    site.drop_in("[Service]\nWatchdogSec=2s\nRestartSec=100ms\n")
    pid = site.start()
    site.machine.run("kill", "-STOP", str(pid))
    until(lambda: site.pid not in {0, pid}, "new daemon", timeout_s=PATIENCE_S)
    site.wait_state(*RUNNING)
    assert site.shown("NRestarts") == "1"
    ended = site.machine.journal(f"--unit={UNIT}")
    assert any("Watchdog timeout" in entry["MESSAGE"] for entry in ended)


def test_p5_p8_a_killed_daemon_is_started_again(site: Site) -> None:
    """After SIGKILL systemd starts a new one, on the same state."""
    site.drop_in("[Service]\nRestartSec=100ms\n")
    pid = site.start()
    site.machine.run("kill", "-KILL", str(pid))
    until(lambda: site.pid not in {0, pid}, "new daemon", timeout_s=PATIENCE_S)
    site.wait_state(*RUNNING)
    assert site.shown("NRestarts") == "1"


def test_p8_a_wrong_configuration_is_not_tried_again(site: Site) -> None:
    """Exit status 78 is final: the unit has failed, and no restart is pending."""
    site.configure(MISTAKE)
    assert site.machine.run("systemctl", "start", UNIT, check=False).returncode != 0
    assert (site.state, site.shown("ExecMainStatus")) == (("failed", "failed"), "78")
    assert site.shown("NRestarts") == "0"
    assert [entry["PRIORITY"] for entry in site.said("surprise")] == ["3"]


def test_p4_p8_beside_another_daemon_it_is_not_tried_again(site: Site) -> None:
    """Exit status 75 is final: the daemon that runs already keeps the state to itself."""
    site.machine.run("systemctl", "start", "slurmsyncd.socket")
    site.machine.run("install", "-d", "-o", "slurmsyncd", "-m", "700", "/var/lib/slurmsyncd")
    other = ("systemd-run", "--unit=other", "--uid=slurmsyncd", "--service-type=notify")
    site.machine.run(*other, "/opt/slurmsyncd/bin/slurmsyncd", "run", "--set", "hook.socket=")
    try:
        assert site.machine.run("systemctl", "start", UNIT, check=False).returncode != 0
        assert (site.state, site.shown("ExecMainStatus")) == (("failed", "failed"), "75")
        assert site.shown("NRestarts") == "0"
    finally:
        site.machine.run("systemctl", "stop", "other")


def hint(site: Site) -> None:
    """Have Slurm's user run the hook as slurmctld does at the end of a job."""
    job = {"SLURM_JOB_ID": "27", "SLURM_CLUSTER_NAME": "alpha", "SLURM_SCRIPT_CONTEXT": "epilog_slurmctld"}
    sent = site.machine.run("runuser", "-u", "slurm", "--", HOOK, "--verbose", env=job)
    assert "sent to" in sent.stdout + sent.stderr


def unit_is_active(site: Site, unit: str) -> bool:
    return site.machine.run("systemctl", "is-active", unit, check=False).returncode == 0
