"""Two real clusters on one host: with a slurm.conf and a slurmdbd each, and two that share a slurmdbd (-M)."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from slurmsyncd.config import SlurmConfig
from slurmsyncd.errors import SourceUnavailable
from slurmsyncd.model import JobQuestions
from slurmsyncd.sources.command_source import CommandSource
from slurmsyncd.store import checkpoint_file as lastrun
from tests.system.e2e.site import Site
from tests.tools.lab import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.system.e2e.site import Backend, Daemon
    from tests.tools.lab import Lab


@pytest.fixture
def site(lab: Lab) -> Iterator[Site]:
    with Site.open(lab) as site:
        yield site


def add_cluster(daemon: Daemon, name: str, **settings: object) -> None:
    """Put another cluster into the daemon's configuration."""
    extra = daemon.config.parent / "config.d" / f"{name}.toml"
    extra.parent.mkdir(exist_ok=True)
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    extra.write_text("\n".join([f"[clusters.{name}]", *lines]) + "\n")


def states(backend: Backend, job_id: int) -> dict[str, str]:
    """Return cluster → state of a job id in the backend."""
    return {job["cluster"]: job["jobState"] for job in backend.jobs_of(job_id)}


def test_j5_i5_a_slurm_conf_each(lab: Lab, site: Site) -> None:
    """Equal job ids are two runs, under the backend's names; one Slurm hangs and the other's job ends."""
    before = lab.sbatch("--hold")
    lab.scancel(before)
    with lab.neighbour("second", own_slurmdbd=True, FirstJobId=str(before + 1)) as second:
        backend = site.backend("zweit")
        daemon = site.daemon(backend, start=False)
        add_cluster(daemon, "second", slurm_conf=second.env["SLURM_CONF"], backend_name="zweit")
        daemon.start()
        job_id = lab.sbatch("-n3", "--gres=gpu:1", script="sleep 300")
        assert second.sbatch("-N2", "-n6", script="sleep 300") == job_id
        both = {lab.cluster: "running", "zweit": "running"}
        until(lambda: states(backend, job_id) == both, "a run on each cluster", timeout_s=60)
        rows = {job["cluster"]: job for job in backend.jobs_of(job_id)}
        assert (rows[lab.cluster]["numNodes"], rows[lab.cluster]["numAcc"]) == (1, 1)
        assert (rows["zweit"]["numNodes"], rows["zweit"].get("numAcc", 0)) == (2, 0)

        with second.slurmdbd.frozen(), second.slurmctld.frozen():
            lab.scancel(job_id)
            ended = {lab.cluster: "cancelled", "zweit": "running"}
            until(lambda: states(backend, job_id) == ended, "end on one cluster", timeout_s=60)
            daemon.wait_event("look_failed", cluster="second", timeout_s=90)
            assert not [event for event in daemon.events("look_failed") if event["cluster"] == lab.cluster]
        second.scancel(job_id)
        over = {lab.cluster: "cancelled", "zweit": "cancelled"}
        until(lambda: states(backend, job_id) == over, "end on the other cluster", timeout_s=90)
        daemon.stop()

        with daemon.open_store() as store:
            cursors = [store.cursor(name) for name in (lab.cluster, "second")]
            assert store.open_runs() == {}
        assert all(cursors)
        assert lastrun.read(daemon.lastrun) == min(at for at in cursors if at)


def test_hints_find_their_cluster_and_a_removed_one_is_named(lab: Lab, site: Site) -> None:
    """Of two clusters of one slurmdbd; no poll helps. What is open of one that is removed is said."""
    with lab.neighbour("twin", own_slurmdbd=False) as twin:
        backend = site.backend("twin")
        daemon = site.daemon(backend, start=False, daemon__poll_interval=600)
        add_cluster(daemon, "twin", slurm_conf=lab.env["SLURM_CONF"], remote=True)
        daemon.start()
        hook = site.hook(daemon)
        with ExitStack() as hooks:
            for each in (lab, twin):
                hooks.enter_context(each.hooks(prolog=hook, epilog=hook))
            jobs = {
                each.cluster: each.sbatch("-N2", "-n4", "--gres=gpu:2", script="sleep 5")
                for each in (lab, twin)
            }
            over = dict.fromkeys(jobs, "completed")

            def told() -> dict[str, str | None]:
                return {name: states(backend, job_id).get(name) for name, job_id in jobs.items()}

            until(lambda: told() == over, "whole run on each cluster", timeout_s=90)
            left = twin.sbatch(script="sleep 300")
            until(lambda: states(backend, left).get("twin") == "running", "last run", timeout_s=60)
        for cluster, job_id in jobs.items():
            (row,) = (job for job in backend.jobs_of(job_id) if job["cluster"] == cluster)
            assert (row["numNodes"], row["numAcc"]) == (2, 4)
            assert all(len(node["accelerators"]) == 2 for node in row["resources"])
        assert not daemon.events("hint_of_other_cluster")
        daemon.stop()
        (daemon.config.parent / "config.d" / "twin.toml").unlink()
        daemon.start()
        said = daemon.wait_event("cluster_not_configured", cluster="twin")
        assert (said["open_runs"], "[clusters.twin]" in said["remedy"]) == (1, True)


@pytest.mark.anyio
async def test_asking_by_name(lab: Lab, tmp_path: Path) -> None:
    """Each question is answered for the cluster that is named, and no name that is wrong looks like an empty one."""

    def source(cluster: str, *, remote: bool) -> CommandSource:
        config = SlurmConfig(bin_dir=str(lab.bin_dir), job_script=True)
        conf = lab.env["SLURM_CONF"]
        return CommandSource(cluster, config, slurm_conf=conf, remote=remote, directory=tmp_path)

    with lab.neighbour("third", own_slurmdbd=False) as third:
        began = int(lab.run("date", "+%s")) - 60
        running = third.sbatch("-n3", "--gres=gpu:1", script="sleep 300")
        over = third.sbatch("-w", "n2", script="true")
        third.wait(running, "RUNNING")
        third.wait_accounted(over)
        third.scontrol("update", "nodename=n4", "state=drain", "reason=test")
        until_ = int(lab.run("date", "+%s")) + 1

        remote = source("third", remote=True)
        seen = await remote.poll(began, until_)
        assert (seen.errors, seen.records_skipped) == ((), 0)
        assert {job.job_id for job in seen.job_list or () if job.state.is_active} == {running}
        assert {(job.key.cluster, job.key.job_id) for job in seen.ended_runs} == {("third", over)}
        answers = await remote.query_jobs(
            JobQuestions(details=frozenset({running}), accounting=frozenset({over}))
        )
        (job,) = answers.details or ()
        assert job.allocation
        assert (job.key.cluster, len(job.allocation[0].cores), len(job.allocation[0].gres)) == ("third", 2, 1)
        assert "sleep 300" in (job.script or "")
        assert {node.host: node.state for node in await remote.node_states()}["n4"] == "down"

        local = source(lab.cluster, remote=False)
        assert "third" not in {run.key.cluster for run in (await local.poll(began, until_)).ended_runs}
        assert {node.host: node.state for node in await local.node_states()}["n4"] == "idle"

        with pytest.raises(SourceUnavailable, match=rf"it knows: {lab.cluster}, third; name the section"):
            await source("thirds", remote=True).poll(began, until_)
        with pytest.raises(SourceUnavailable, match=f"is that of cluster {lab.cluster}; name the section"):
            await source("third", remote=False).poll(began, until_)

        with third.slurmctld.stopped():
            seen = await source("third", remote=True).poll(began, until_)
            assert (seen.job_list, [job.key.job_id for job in seen.ended_runs]) == (None, [over])
            assert "'third' can't be reached now" in seen.errors[0]
