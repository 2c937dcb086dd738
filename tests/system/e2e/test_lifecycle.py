"""Starting, stopping, starting twice, and one look at a time."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from tests.system.e2e.traffic import Traffic
from tests.tools.lab import until

if TYPE_CHECKING:
    from tests.system.e2e.site import Site
    from tests.system.e2e.witness import Witness
    from tests.tools.lab import Lab


def test_p1_j8_a_stopped_daemon_goes_on_where_it_was(lab: Lab, site: Site, witness: Witness) -> None:
    """SIGTERM: exit 0, no PID file, no socket; what started and ended while it was away is told after the next start."""
    backend = site.backend()
    daemon = site.daemon(backend)
    traffic = Traffic(lab, witness)
    job_id = traffic.start("-n2", "--gres=gpu:1")
    until(lambda: backend.jobs_of(job_id), "job in the backend", timeout_s=30)

    assert daemon.stop() == 0
    assert not daemon.pid_file.exists()
    lab.scancel(job_id)
    traffic.submit("-n1", seconds=0)
    traffic.wait_for_ends()
    daemon.start()

    traffic.check(backend)
    assert len(backend.told("start", job_id)) == 1
    assert daemon.stop() == 0


def test_p1_an_exchange_under_way_is_finished_and_settled(lab: Lab, site: Site, witness: Witness) -> None:
    """SIGTERM while the backend takes its time: exit 0 within 30 s, and the start is not sent again."""
    backend = site.backend()
    # Without a look back: runs of other tests would take their time too.
    daemon = site.daemon(backend, daemon__max_span=5, daemon__overlap=2)
    traffic = Traffic(lab, witness)
    backend.ask("PATCH", "/-/knobs", {"delay_s": 3})
    job_id = traffic.start("-n2", "--gres=gpu:1")
    until(lambda: backend.cached(job_id), "effect of the start", timeout_s=30)
    assert backend.told("start", job_id) == [], "not answered yet"

    daemon.process.stop(timeout_s=30)

    assert daemon.exit_status() == 0
    assert [sent["status"] for sent in backend.told("start", job_id)] == [201]
    backend.ask("PATCH", "/-/knobs", {"delay_s": 0})
    daemon.start()
    lab.scancel(job_id)
    traffic.check(backend)
    assert len(backend.told("start", job_id)) == 1
    assert daemon.stop() == 0


def test_p3_k2_a_frozen_daemon_holds_up_no_job(lab: Lab, site: Site, witness: Witness) -> None:
    """While it hangs, jobs start and end as ever, more of them than its socket holds; then it hears of them all."""
    backend = site.backend()
    daemon = site.daemon(backend)
    hook = site.hook(daemon)
    traffic = Traffic(lab, witness)
    with lab.hooks(prolog=hook, epilog=hook):
        with daemon.process.frozen():
            for _ in range(8):
                traffic.submit("-n1", seconds=3)
            traffic.wait_for_ends()
        traffic.check(backend)
    assert daemon.stop() == 0


def test_a_reload_with_a_mistake_changes_nothing(lab: Lab, site: Site, witness: Witness) -> None:
    """SIGHUP with a wrong file: every mistake in one event, and the daemon goes on as it was; then with a right one."""
    backend = site.backend()
    daemon = site.daemon(backend)
    right = daemon.config.read_text()
    daemon.config.write_text(right.replace("poll_interval = 2", "poll_interval = -2\nfoo = 1"))

    daemon.signal(signal.SIGHUP)
    refused = daemon.wait_event("reload_refused")
    assert all(f"daemon.{key}" in str(refused["problems"]) for key in ("foo", "poll_interval"))
    traffic = Traffic(lab, witness)
    traffic.submit("-n1", "--gres=gpu:1", seconds=5)
    traffic.check(backend)

    daemon.config.write_text(right.replace("poll_interval = 2", "poll_interval = 3"))
    daemon.signal(signal.SIGHUP)
    daemon.wait_event("reloading")
    traffic.submit("-n1", "--gres=gpu:1", seconds=5)
    traffic.check(backend)
    assert daemon.stop() == 0


def test_p4_p5_only_one_daemon_at_a_time(lab: Lab, site: Site) -> None:
    """A second one exits with 75 and names the first; after SIGKILL the stale file is no obstacle."""
    daemon = site.daemon(site.backend())
    held = f"pid {daemon.process.pid} and holds {daemon.pid_file}"

    assert daemon.pid_file.read_text() == f"{daemon.process.pid}\n"
    for second in (daemon.run("run"), daemon.once()):
        assert second.returncode == 75
        assert held in second.stderr
        assert len(second.stderr.splitlines()) == 1
    assert daemon.process.running

    daemon.process.kill()
    assert daemon.pid_file.exists()
    daemon.start()
    assert daemon.pid_file.read_text() == f"{daemon.process.pid}\n"
    assert daemon.stop() == 0


def test_once_looks_sends_and_says_how_it_went(lab: Lab, site: Site, witness: Witness) -> None:
    """0 where all went well; 75 without the backend or without slurmctld, and nothing is lost by it."""
    backend = site.backend()
    daemon = site.daemon(backend, start=False, sinks__cc__stop_hold=0, slurm__command_timeout=3)
    traffic = Traffic(lab, witness)
    job_id = traffic.start("-n2", "--gres=gpu:1")

    assert daemon.once().returncode == 0
    assert [row["jobState"] for row in backend.jobs_of(job_id)] == ["running"]

    with backend.process.stopped():
        traffic.start("-n4", "--gres=gpu:2", seconds=2)
        assert daemon.once().returncode == 75
    with lab.slurmctld.stopped():
        blind = daemon.once()
        assert blind.returncode == 75
        assert "look_failed" in blind.stderr
    assert len(backend.jobs("running")) == 2, "the first run has not ended, and the second's start was sent"
    lab.scancel(job_id)
    traffic.wait_for_ends()
    assert daemon.once().returncode == 0
    traffic.check(backend)
