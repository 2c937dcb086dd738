"""The lab itself: that its Slurm is real and can be disturbed, and that nothing of it stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.paths import ROOT
from tests.tools.lab import NODES, LabError, until
from tests.tools.lab.processes import Keeper

if TYPE_CHECKING:
    from tests.tools.lab import Lab


def test_a_job_ends_in_accounting_and_had_the_gpus_that_slurm_names(lab: Lab) -> None:
    """A batch job on two nodes completes; the GPUs it sees are those that slurmctld says it holds."""
    script = "srun bash -c 'echo $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES'; sleep 2"

    job_id = lab.sbatch("--nodes=2", "--gres=gpu:a100:2", script=script)
    lab.wait(job_id, "RUNNING")
    running = lab.job(job_id)
    (run,) = lab.wait_accounted(job_id)

    assert running["GRES"] == "gpu:a100:2(IDX:0-1)"
    assert running["NodeList"] == "n[1-2]"
    assert run["State"] == "COMPLETED"
    printed = (lab.root / "work" / f"{job_id}.out").read_text()
    assert sorted(printed.splitlines()) == ["n1 0,1", "n2 0,1"]


def test_a_hook_runs_at_each_end_of_a_job(lab: Lab, tmp_path: Path) -> None:
    """PrologSlurmctld and EpilogSlurmctld run as user slurm, with the job's id and without PATH."""
    told = lab.root / "log" / "hooks"
    hook = tmp_path / "hook"
    hook.write_text(f'#!/bin/sh\necho "$SLURM_SCRIPT_CONTEXT $SLURM_JOB_ID $SLURM_JOB_USER" >>{told}\n')

    with lab.hooks(prolog=hook, epilog=hook):
        job_id = lab.sbatch()
        expected = [f"{context} {job_id} games" for context in ("prolog_slurmctld", "epilog_slurmctld")]
        until(
            lambda: told.exists() and told.read_text().splitlines() == expected, "word of hooks", timeout_s=30
        )


def test_a_requeued_job_runs_again(lab: Lab) -> None:
    """A requeued job starts once more within seconds, and accounting has both runs."""
    job_id = lab.sbatch(script="sleep 300")
    lab.wait(job_id, "RUNNING")

    lab.requeue(job_id)
    lab.wait(job_id, "PENDING")
    lab.wait(job_id, "RUNNING")
    lab.scancel(job_id)

    first, second = lab.wait_accounted(job_id)
    assert first["State"] == "REQUEUED"
    assert second["State"].startswith("CANCELLED")
    assert int(second["Start"]) > int(first["Start"])


@pytest.mark.parametrize("name", ["slurmctld", "slurmdbd", "mariadb", "munged"])
def test_a_daemon_can_be_frozen_killed_and_started(lab: Lab, name: str) -> None:
    """Slurm's commands fail while a daemon hangs or is away, and work again afterwards."""
    daemon = getattr(lab, name)
    if daemon is None:
        pytest.skip("this machine's own munged is in use")
    question = ("squeue", "-h") if name == "slurmctld" else ("sacctmgr", "-n", "list", "user")
    lab.run(*question)

    with daemon.frozen(), pytest.raises(LabError):
        lab.run(*question, timeout_s=3)
    lab.run(*question)
    daemon.kill()
    with pytest.raises(LabError):
        lab.run(*question, timeout_s=3)
    daemon.start()
    lab.run(*question)
    with daemon.stopped():
        assert not daemon.running

    lab.clear_jobs()
    assert lab.srun("hostname").strip()


def test_settings_can_change_while_it_runs(lab: Lab) -> None:
    """A setting reaches slurmctld without a restart."""
    before = lab.settings["MinJobAge"]
    try:
        lab.configure(MinJobAge="77")
        assert "MinJobAge               = 77 sec" in lab.scontrol("show", "config")
    finally:
        lab.configure(MinJobAge=before)


ABANDONED = """
import time
from tests.tools.lab import Lab
with Lab.start(claim="abandoned") as lab:
    job_id = lab.sbatch(script="sleep 300 & sleep 300")
    lab.wait(job_id, "RUNNING")
    print(lab.root, flush=True)
    time.sleep(300)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_an_abandoned_lab_goes_away_with_its_jobs(lab: Lab, how: signal.Signals) -> None:
    """Whoever started a lab may be killed or interrupted: no process of it stays, no job's, and no file."""
    accounts = Path("/etc/passwd").read_bytes()
    with subprocess.Popen(
        [sys.executable, "-c", ABANDONED],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as owner:
        assert owner.stdout
        root = Path(owner.stdout.readline().strip())
        assert len(_processes_of(root)) > len(NODES)

        owner.send_signal(how)

    until(lambda: not root.exists(), "end of the lab's directory", timeout_s=60)
    assert _processes_of(root) == []
    assert Path("/etc/passwd").read_bytes() == accounts
    assert lab.srun("hostname").strip(), "the other lab goes on"


def test_the_keeper_ends_what_has_detached_itself(tmp_path: Path) -> None:
    """A process that left its session and parent is still found and killed, and files named for it are removed."""
    pid_file, rubbish = tmp_path / "pid", tmp_path / "rubbish"
    (rubbish / "deep").mkdir(parents=True)
    keeper = Keeper()
    keeper.ask("remove_at_end", str(rubbish))
    detach = f"setsid sh -c 'echo $$ >{pid_file}.new; mv {pid_file}.new {pid_file}; exec sleep 300' & exit 0"
    keeper.ask("spawn", ["sh", "-c", detach], dict(os.environ), str(tmp_path / "out"))
    until(pid_file.exists, "detached process", timeout_s=20)

    keeper.close()

    assert not Path("/proc", pid_file.read_text().strip()).exists()
    assert not rubbish.exists()


def _processes_of(root: Path) -> list[int]:
    """Processes that have the lab's directory in their command line or environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            said = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if bytes(root) in said:
            found.append(int(process.name))
    return found
