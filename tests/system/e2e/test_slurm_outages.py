"""Parts of Slurm are away while jobs run: no run is said to have ended that has not, and everything arrives."""

from __future__ import annotations

import json
import socket
import time
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.system.e2e.commands import Commands
from tests.system.e2e.traffic import KINDS, Traffic
from tests.tools.lab import until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.system.e2e.site import Backend, Daemon, Site
    from tests.system.e2e.witness import Run, Witness
    from tests.tools.lab import Lab

SERVICES = ("slurmctld", "slurmdbd", "mariadb", "munged")
WAYS = ("stopped", "frozen", "killed")
#: Those that differ most; the rest with `--whole-matrix`. What munged is needed for, P11's test shows.
TELLING = (("slurmctld", "killed"), ("slurmdbd", "stopped"))

POLL_S = 2.0
#: Calls of Slurm's commands that an outage lasts after it was noticed: some looks.
LASTS_CALLS = 4
#: Calls for each poll interval at most: squeue, sacct, sinfo, what they offer, and what is asked again.
CALLS_A_POLL = 5
#: Looks until a fresh job is there at most, besides the polls; on an idle machine one or two.
LOOKS = 10


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Take all combinations only if all are wanted."""
    if "way" in metafunc.fixturenames:
        every = [(service, way) for service in SERVICES for way in WAYS]
        whole = metafunc.config.getoption("--whole-matrix")
        metafunc.parametrize(("service", "way"), every if whole else TELLING)


def test_s1_s2_s3_s4_i10_an_outage_of_a_part_of_slurm_bends_no_record(
    lab: Lab, site: Site, witness: Witness, service: str, way: str
) -> None:
    """
    While jobs start, run and end, one of Slurm's daemons is stopped, frozen or killed, and comes back.

    Nothing is lost, doubled or told of before it was so; the log says once that Slurm is away, nobody asks it
    faster than ever, and a job that starts afterwards arrives with the next looks.
    """
    part = getattr(lab, service)
    if part is None:
        pytest.skip("this machine's own munged is not ours to stop")
    backend, commands = site.backend(), Commands(lab, site.root / "bin")
    daemon = site.daemon(
        backend,
        daemon__poll_interval=POLL_S,
        slurm__bin_dir=str(commands.bin_dir),
        slurm__command_timeout=3,
        sinks__cc__nodestate_interval=POLL_S,
        sinks__cc__audit_interval=POLL_S,
        sinks__cc__audit_grace=3,
    )
    traffic = Traffic(lab, witness, name=f"{service}-{way}")
    flag = lab.root / "work" / f"{traffic.name}.end"
    through = traffic.start("-N2", "-n4", "--gres=gpu:1")
    ending = traffic.start("-n1", "--gres=gpu:2", flag=flag)
    traffic.submit("-n2", f"--dependency=afterany:{ending}", seconds=2)

    with ExitStack() as load:
        load.enter_context(traffic.stream(*_kinds(service, way)))
        known = {through, ending}
        until(lambda: known < _ids(traffic.rows(backend)), "first jobs in the backend", timeout_s=60)
        if (service, way) == ("slurmctld", "killed"):
            load.close()
            _have_saved(lab, traffic, through, ending)

        said_before = _warnings(daemon)
        with getattr(part, way)():
            flag.touch()
            until(lambda: _is_away(daemon), "word that Slurm is away", timeout_s=60)
            began, before = time.monotonic(), commands.count()
            until(lambda: commands.count() - before > LASTS_CALLS, "looks in vain", timeout_s=120)
            calls, polls = commands.count() - before, (time.monotonic() - began) / POLL_S
            assert calls <= CALLS_A_POLL * (polls + 1)
            assert through in _ids(backend.jobs("running"))
            said = _warnings(daemon) - said_before
            assert _is_away(daemon)
            assert [line for line, times in said.items() if times > 1] == []
            assert sum('"look_failed"' in line for line in said) <= 1
        until(lambda: not _is_away(daemon), "word that Slurm is back", timeout_s=60)

    fresh = traffic.start("-n3", "--gres=gpu:1")
    began, looks = time.monotonic(), commands.count("squeue")
    until(lambda: backend.jobs_of(fresh), "start of a job after it all", timeout_s=60)
    assert commands.count("squeue") - looks <= LOOKS + (time.monotonic() - began) / POLL_S
    lab.scancel(through, fresh)
    traffic.find()
    traffic.wait_for_ends(timeout_s=120)

    traffic.check(backend)
    _check_order(backend, traffic.runs())
    assert daemon.events("audit_finding") == []
    assert daemon.stop() == 0


def test_s2_without_slurmctld_a_first_start_reports_what_accounting_has(
    lab: Lab, site: Site, witness: Witness
) -> None:
    """slurmdbd confirms the cluster's name, and a run that ended minutes ago does not wait for its cores."""
    backend = site.backend()
    traffic = Traffic(lab, witness)
    job_id = traffic.submit("-n2", seconds=1)  # accounting has those of other tests, too
    traffic.wait_for_ends()
    with lab.slurmctld.stopped():
        daemon = site.daemon(backend, slurm__command_timeout=3)
        until(
            lambda: [job["jobState"] for job in backend.jobs_of(job_id)] == ["completed"],
            "end of the run in the backend",
            timeout_s=90,
        )
        assert _is_away(daemon)
    until(lambda: not _is_away(daemon), "word that slurmctld is back", timeout_s=60)
    assert len(backend.jobs_of(job_id)) == 1
    assert daemon.stop() == 0


def test_p11_a_daemon_that_starts_before_slurm_waits_for_it(lab: Lab, site: Site, witness: Witness) -> None:
    """Neither munge nor slurmdbd nor slurmctld is up: it is ready all the same, says once what is missing, and then works."""
    if lab.munged is None:
        pytest.skip("this machine's own munged is not ours to stop")
    backend, address = site.backend(), str(site.root / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, ExitStack() as outage:
        manager.bind(address)
        manager.settimeout(60)
        for part in (lab.slurmctld, lab.slurmdbd, lab.munged):  # the last to stop is the first to come back
            outage.enter_context(part.stopped())
        daemon = site.daemon(backend, env={"NOTIFY_SOCKET": address})
        assert b"READY=1" in manager.recv(4096)
        daemon.wait_event("look_failed")
        outage.close()
    daemon.wait_event("look_works_again")

    traffic = Traffic(lab, witness)
    traffic.submit("-n2", "--gres=gpu:1", seconds=4)
    traffic.check(backend)
    assert len(daemon.events("look_failed")) == len(daemon.events("look_works_again")) == 1
    assert daemon.stop() == 0


def _kinds(service: str, way: str) -> Sequence[tuple[str, ...]]:
    """
    Return kinds of jobs of which all can be learnt, however short they are.

    Who holds which GPUs is shown by slurmctld alone, while they are held; a command that hangs holds up the look.
    """
    sighted = service in ("slurmdbd", "mariadb") and way != "frozen"
    return KINDS if sighted else [kind for kind in KINDS if not any("gpu" in word for word in kind)]


def _have_saved(lab: Lab, traffic: Traffic, *running: int) -> None:
    """
    Have slurmctld write its state down when nothing but these jobs goes on.

    What it has not saved for some seconds it forgets by SIGKILL: jobs are lost, or come to life again. No daemon
    can tell of what accounting never hears of.
    """
    until(lambda: len(_open(lab, traffic)) <= len(running) + 1, "end of the stream", timeout_s=60)
    now = time.time()
    lab.scontrol("update", f"JobId={running[0]}", "Comment=something to save")
    saved = lab.root / "state" / "job_state"
    until(lambda: saved.stat().st_mtime > now, "saved state", timeout_s=60)


def _ids(jobs: Sequence[Mapping[str, Any]]) -> set[int]:
    return {job["jobId"] for job in jobs}


def _open(lab: Lab, traffic: Traffic) -> Sequence[str]:
    return lab.run("squeue", "-h", "-n", traffic.name, "-o", "%A").split()


def _is_away(daemon: Daemon) -> bool:
    """Whether the log's last word is that Slurm does not answer."""
    return len(daemon.events("look_failed")) > len(daemon.events("look_works_again"))


def _warnings(daemon: Daemon) -> Counter[str]:
    """Count what the daemon has warned of so far, whatever the time."""
    lines = [json.loads(line) for line in daemon.log.read_text().splitlines()[:-1]]
    said = [{**line, "timestamp": ""} for line in lines if line["level"] in ("warning", "error")]
    return Counter(json.dumps(line) for line in said)


def _check_order(backend: Backend, runs: Sequence[Run]) -> None:
    """No stop was sent before the run ended, or with another time; nor one of a run that there never was."""
    ends = {run.key: int(run.row["End"]) for run in runs}
    ids = {job_id for job_id, _ in ends}
    sent: list[dict[str, Any]] = []
    for job_id in ids:
        sent += backend.told("stop", job_id)
    assert sent
    for exchange in sent:
        body = json.loads(exchange["body"])
        end = ends[body["jobId"], body["startTime"]]
        assert body["stopTime"] == end
        assert exchange["began"] >= end
