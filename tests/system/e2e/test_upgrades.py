"""Slurm, or the package itself, is replaced while the daemon runs."""

from __future__ import annotations

import shutil
import signal
import time
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

import slurmsyncd
from slurmsyncd.sandbox.slurm import install
from tests.system.e2e.traffic import Traffic
from tests.system.soak.test_rude_peers import calm, submit, wait_for
from tests.tools.lab import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.e2e.site import Backend, Daemon, Site
    from tests.system.e2e.witness import Witness
    from tests.tools.lab import Lab

#: Notes each import of a module that is not there yet.
NOTING = """\
import os, sys, time
notes = os.open({notes!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def note(event, arguments):
    if event == "import":
        os.write(notes, f"{{time.time()}} {{arguments[0]}}\\n".encode())
sys.addaudithook(note)
"""


def test_p13_nothing_is_imported_once_the_daemon_is_ready(lab: Lab, site: Site, witness: Witness) -> None:
    """
    Its package is removed as soon as it is ready, and all it ever does still works.

    Starts, ends, hints, node states, audits, an outage of the backend and one of Slurm, a reload and the end;
    nor is any other module imported later, since an upgrade may replace those as well.
    """
    installed, notes = site.root / "installed", site.root / "imports"
    shutil.copytree(slurmsyncd.__path__[0], installed / "slurmsyncd")
    (installed / "sitecustomize.py").write_text(NOTING.format(notes=str(notes)))
    backend = site.backend()
    daemon = site.daemon(
        backend,
        env={"PYTHONPATH": str(installed)},
        sinks__cc__nodestate_interval=1,
        sinks__cc__audit_interval=1,
        sinks__cc__audit_grace=1,
    )
    (ready,) = daemon.events("ready")
    shutil.rmtree(installed)
    hook = site.hook(daemon)
    with lab.hooks(prolog=hook, epilog=hook):
        _do_all(lab, daemon, backend, Traffic(lab, witness))

    assert _seen(notes, "slurmsyncd.cli"), "or it ran from elsewhere"
    assert _imported(notes, after=ready["timestamp"]) == []


@pytest.mark.anyio
async def test_s17_a_daemon_follows_an_upgrade_of_slurm() -> None:
    """Simulated 24.11 becomes 26.05 under it: what ran before ends, what starts later is complete, nobody restarts."""
    async with calm() as world:
        before = submit(world, 3600.0)
        await wait_for(world, before, "running")
        install(world.root / "slurm-bin", world.root / "slurm", "26.05")
        after = submit(world, 6.0)
        await wait_for(world, after, "completed")
        world.slurm.cancel(before, time.time())
        await wait_for(world, before, "cancelled")

        rows = {row["job_id"]: row for row in await world.backend.rows()}
        for run in world.slurm.ledger():
            row = rows.pop(run.job_id)
            assert (row["start_time"], row["duration"]) == (run.start_at, (run.end_at or 0) - run.start_at)
            assert row["num_acc"] == len(run.gpus[0]) == 1
        assert rows == {}
        assert (world.daemon.lives, dict(world.daemon.exits)) == (1, {})


def _do_all(lab: Lab, daemon: Daemon, backend: Backend, traffic: Traffic) -> None:
    job_id = traffic.start("-n2", "--gres=gpu:1")
    until(lambda: backend.jobs_of(job_id) and backend.nodes(), "job and nodes in the backend", timeout_s=30)
    daemon.wait_event("audited")
    with backend.process.stopped():
        traffic.submit("-n1", "--gres=gpu:1", seconds=5)
        daemon.wait_event("sink_unavailable")
    with lab.slurmdbd.stopped():
        daemon.wait_event("look_failed")
    daemon.wait_event("look_works_again")
    daemon.signal(signal.SIGHUP)
    daemon.wait_event("reloading")
    lab.scancel(job_id)
    traffic.check(backend)
    assert daemon.stop() == 0


def _seen(notes: Path, name: str) -> bool:
    return any(line.split()[1] == name for line in notes.read_text().splitlines())


def _imported(notes: Path, *, after: str) -> list[str]:
    """Return the modules that were imported after a moment of the log."""
    since = datetime.fromisoformat(after.replace("Z", "+00:00")).timestamp()
    lines = [line.split() for line in notes.read_text().splitlines()]
    return [name for at, name in lines if float(at) > since]
