"""A cluster that is asked for by name (-M), and names that are wrong; on the simulated Slurm of three releases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from slurmsyncd.config import SlurmConfig
from slurmsyncd.errors import SourceUnavailable
from slurmsyncd.model import JobQuestions, RunKey
from slurmsyncd.sandbox.slurm.faults import clear_faults
from slurmsyncd.sources.decoding import decode_runs
from slurmsyncd.sources.discovery import only_cluster
from slurmsyncd.sources.slurm_cli import OnceLogger
from tests.unit.sandbox.slurm.lab import T0, Lab

if TYPE_CHECKING:
    from pathlib import Path

    from slurmsyncd.model import Observation
    from slurmsyncd.sources.command_source import CommandSource
    from tests.system.clusters.conftest import Pair

pytestmark = pytest.mark.anyio


async def look(source: CommandSource, pair: Pair) -> Observation:
    return await source.poll(T0 - 60, int(pair.now))


async def test_j5_each_cluster_has_its_own_runs(pair: Pair) -> None:
    """Job 1 runs on both, job 2 has ended on both; each source tells only of its cluster's, exactly."""
    for lab, cores in ((pair.alpha, 3), (pair.beta, 5)):
        lab.submit(cores=cores, duration_s=900)
        lab.submit(duration_s=2, name=f"of {lab.sim.cluster}")
    pair.pass_(30)
    for name, cores, remote in (("alpha", 3, False), ("alpha", 3, True), ("beta", 5, True)):
        source = pair.source(name, remote=remote)
        seen = await look(source, pair)
        assert (seen.errors, seen.accounting_read_until, seen.records_skipped) == ((), int(pair.now), 0)
        assert [(job.key.cluster, job.key.job_id, job.name) for job in seen.ended_runs] == [
            (name, 2, f"of {name}")
        ]
        assert {job.job_id for job in seen.job_list or () if job.state.is_active} == {1}
        answers = await source.query_jobs(JobQuestions(details=frozenset({1}), accounting=frozenset({1})))
        assert answers.accounting
        assert {run.key.cluster for run in answers.accounting} == {name}
        (job,) = answers.details or ()
        assert job.allocation
        assert (job.key.cluster, len(job.allocation[0].cores)) == (name, cores)


async def test_node_states_are_those_of_the_cluster_that_was_asked_for(pair: Pair) -> None:
    """Both have the same names of nodes."""
    pair.beta.submit(exclusive="node", duration_s=900)
    pair.pass_(5)
    told = {
        name: [node.state for node in await pair.source(name, remote=name == "beta").node_states()]
        for name in ("alpha", "beta")
    }
    assert "allocated" not in told["alpha"]
    assert "allocated" in told["beta"]


async def test_a_name_that_slurmdbd_does_not_know_is_no_empty_cluster(pair: Pair) -> None:
    """sacct gives nothing with exit code 0 for it; the look fails and names the section and the known names."""
    pair.beta.submit(duration_s=2)
    pair.pass_(30)
    assert pair.alpha.text("sacct", "-M", "bets", "-a", "-n", "-S", f"uts{T0}") == ""
    source = pair.source("bets", remote=True)
    for _ in range(2):
        with pytest.raises(
            SourceUnavailable, match=r"clusters\.bets: .* it knows: alpha, beta; name the section"
        ):
            await look(source, pair)
    with pytest.raises(SourceUnavailable, match=r"clusters\.bets"):
        await source.query_jobs(JobQuestions(accounting=frozenset({1})))
    with pytest.raises(SourceUnavailable, match="No cluster 'bets' known by database"):
        await source.node_states()


async def test_a_section_named_otherwise_than_its_cluster_tells_nothing(pair: Pair) -> None:
    """No run is told of under the wrong name, whichever half answers; the remedy is said."""
    pair.alpha.submit(duration_s=900)
    pair.alpha.submit(duration_s=2)
    pair.pass_(30)
    source = pair.source("beta")
    wrong = r"clusters\.beta: its slurm\.conf is that of cluster alpha; name the section clusters\.alpha"
    with pytest.raises(SourceUnavailable, match=wrong):
        await look(source, pair)
    with pytest.raises(SourceUnavailable, match=wrong):
        await source.query_jobs(JobQuestions(details=frozenset({1})))
    with pytest.raises(SourceUnavailable, match=wrong):
        await source.node_states()
    pair.alpha.fault("ctld", "down:0")
    with pytest.raises(SourceUnavailable, match=wrong):
        await look(pair.source("beta"), pair)


@pytest.mark.parametrize("remote", [False, True])
async def test_s1_without_a_controller_slurmdbd_proves_that_nothing_ended(pair: Pair, remote: bool) -> None:
    """An empty answer of sacct counts if slurmdbd knows the cluster, and so does a row of that cluster."""
    name, lab = ("beta", pair.beta) if remote else ("alpha", pair.alpha)
    lab.fault("ctld", "down:0")
    source = pair.source(name, remote=remote)
    assert (await look(source, pair)).accounting_read_until == int(pair.now)
    lab.submit(duration_s=2)
    pair.pass_(30)
    for each in (source, pair.source(name, remote=remote)):
        seen = await look(each, pair)
        assert (seen.job_list, len(seen.ended_runs), seen.accounting_read_until) == (None, 1, int(pair.now))
        quiet = await each.poll(int(pair.now) - 1, int(pair.now))
        assert (quiet.ended_runs, quiet.accounting_read_until) == ((), int(pair.now))


async def test_s1_neither_slurmctld_nor_slurmdbd_proves_anything_of_an_unknown_name(pair: Pair) -> None:
    """Without a row and without a controller, a name that slurmdbd does not know proves nothing."""
    pair.alpha.fault("ctld", "down:0")
    with pytest.raises(SourceUnavailable, match=r"clusters\.gamma: slurmdbd knows no cluster of this name"):
        await look(pair.source("gamma"), pair)


async def test_slurmdbd_s_word_for_a_name_proves_nothing_of_a_listing(pair: Pair) -> None:
    """Under another cluster's slurm.conf accounting is asked for by name, and the listing stays rejected."""
    pair.beta.submit(duration_s=2)
    pair.pass_(30)
    pair.alpha.fault("ctld", "down:0")
    source = pair.source("beta")
    assert [run.key.cluster for run in (await look(source, pair)).ended_runs] == ["beta"]
    clear_faults(pair.alpha.state)
    pair.alpha.submit(duration_s=900)
    pair.pass_(5)
    seen = await look(source, pair)
    assert seen.job_list is None
    assert "its slurm.conf is that of cluster alpha" in seen.errors[0]


@pytest.mark.parametrize(
    ("before", "found"), [((), None), (("beta",), "beta"), (("gamma",), None), (("alpha", "beta"), None)]
)
async def test_s1_of_several_clusters_that_slurmdbd_knows_the_one_read_before_is_this_host_s(
    modern: Pair, before: tuple[str, ...], found: str | None
) -> None:
    """Without slurmctld and without a section for a cluster, slurmdbd names it; never by a guess."""
    modern.alpha.fault("ctld", "down:0")
    assert await only_cluster(SlurmConfig(bin_dir=str(modern.alpha.bin)), before) == found
    modern.alpha.fault("dbd", "down:0")
    assert await only_cluster(SlurmConfig(bin_dir=str(modern.alpha.bin)), before) is None


async def test_s1_the_only_cluster_that_slurmdbd_knows_is_this_host_s(tmp_path: Path) -> None:
    """A first start does not wait for slurmctld."""
    lab = Lab(tmp_path)
    lab.fault("ctld", "down:0")
    assert await only_cluster(SlurmConfig(bin_dir=str(lab.bin)), ()) == lab.sim.cluster
    lab.sim.close()


async def test_another_cluster_under_a_living_daemon_is_not_believed(pair: Pair) -> None:
    """Its slurm.conf is exchanged: from the first row of the other cluster on, no listing counts either."""
    commands = pair.root / "commands"
    commands.symlink_to(pair.alpha.bin)
    pair.alpha.submit(duration_s=2)
    pair.beta.submit(duration_s=900)
    pair.beta.submit(duration_s=2)
    pair.pass_(30)
    source = pair.source("alpha", bin_dir=str(commands))
    assert (await look(source, pair)).job_list is not None
    commands.unlink()
    commands.symlink_to(pair.beta.bin)
    wrong = r"clusters\.alpha: its slurm\.conf is that of cluster beta"
    for _ in range(2):
        with pytest.raises(SourceUnavailable, match=wrong):
            await look(source, pair)
    with pytest.raises(SourceUnavailable, match=wrong):
        await source.query_jobs(JobQuestions(details=frozenset({1})))


async def test_i5_the_other_cluster_s_controller_is_down(pair: Pair) -> None:
    """Its listing fails at once and is not taken for an empty one; accounting and the first cluster go on."""
    for lab in (pair.alpha, pair.beta):
        lab.submit(duration_s=900)
        lab.submit(duration_s=2)
    pair.pass_(30)
    pair.beta.fault("ctld", "down")
    alpha = await look(pair.source("alpha"), pair)
    beta = await look(pair.source("beta", remote=True), pair)
    assert (alpha.errors, len(alpha.ended_runs)) == ((), 1)
    assert (beta.job_list, len(beta.ended_runs)) == (None, 1)
    assert "'beta' can't be reached now" in beta.errors[0]


async def test_i5_without_slurmdbd_only_clusters_asked_for_by_name_are_out(pair: Pair) -> None:
    """It is slurmdbd who knows where their controllers are; slurm.conf's own cluster is listed on."""
    pair.alpha.submit(duration_s=900)
    pair.pass_(5)
    pair.alpha.fault("dbd", "down:0")
    alpha = await look(pair.source("alpha"), pair)
    assert alpha.job_list
    assert alpha.accounting_read_until is None
    with pytest.raises(SourceUnavailable, match="Connection refused"):
        await look(pair.source("beta", remote=True), pair)


async def test_rows_of_other_clusters_are_left_out() -> None:
    """Should sacct show more clusters than it was asked for (as a federation's member may), theirs are no runs."""
    fields = ("JobIDRaw", "JobID", "State", "Start", "End", "NodeList", "Cluster")
    rows = [("1", "1", "COMPLETED", "1800000000", "1800000009", "n1", name) for name in ("alpha", "beta")]
    text = "".join("".join(f"{field}<>" for field in row) + "\n" for row in rows).encode()
    found = await decode_runs(text, "<>", fields, "beta", OnceLogger())
    assert [run.key for run in found.jobs] == [RunKey("beta", 1, 1800000000)]
    assert (found.rows, found.other_clusters, found.records_skipped) == (1, {"alpha"}, 0)
