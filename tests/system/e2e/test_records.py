"""
Every kind of job, with the hook and without: the backend's record is the one that sacct and scontrol give.

Two daemons watch the same jobs, each with a backend of its own. One is told of jobs by PrologSlurmctld and
EpilogSlurmctld and looks by itself once an hour; the other is told nothing and looks every two seconds.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tests.system.e2e.site import Backend, Daemon, Site
from tests.system.e2e.witness import Run, Witness, comparable, expected, held, nodes, runs
from tests.tools.lab import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.tools.lab import Lab

HOSTILE_NAME = "two\nlines\tand|pipe \"dq\" 'sq' `id` $(id) %A ünï ☃\nJobId=1 JobState=FAILED"
HOSTILE_COMMENT = 'a|b\n"c"\t\\ é OverSubscribe=NO'
#: Kinds of jobs that end, and how they do.
ENDS = {
    "one node": "completed",
    "two nodes with GPUs": "completed",
    "a GPU of a shared node": "completed",
    "another user's GPU of a shared node": "completed",
    "array": "completed",
    "failing": "failed",
    "cancelled": "cancelled",
    "very short": "completed",
    "timed out": "timeout",
    "het": "completed",
    "exclusive": "completed",
    "hostile": "completed",
    "srun": "completed",
}
#: Kinds of jobs that have more than one run.
RUNS = {"array": 3, "het": 2, "requeued": 2}
HOW = ("hook", "poll")


@dataclass(slots=True)
class Watched:
    """
    The jobs, and how they are watched.

    Attributes:
        ids: Kind of job → its ids as Slurm has them.
        names: Job id → its name and comment as submitted.
        ended: Kind of job → its runs, once all have ended.
        node_states: Host → what Slurm and a backend said of it at one moment while jobs ran.
    """

    lab: Lab
    site: Site
    witness: Witness
    daemons: dict[str, Daemon]
    backends: dict[str, Backend]
    ids: dict[str, list[int]] = field(default_factory=dict)
    names: dict[int, dict[str, str]] = field(default_factory=dict)
    ended: dict[str, list[Run]] = field(default_factory=dict)
    node_states: dict[str, Any] = field(default_factory=dict)

    def submit(self, kind: str, *args: str, script: str = "exit 0", comment: str = "", **more: str) -> int:
        """Submit a batch job of a kind; its name is the kind's, or `name`."""
        name = more.pop("name", kind)
        said = (f"--comment={comment}",) if comment else ()
        job_id = self.lab.sbatch("-J", name, *said, *args, script=script, **more)
        self.ids[kind] = [job_id]
        self.names[job_id] = {"name": name, "comment": comment}
        return job_id

    @property
    def noted(self) -> Path:
        """Is made when the node states were noted; jobs wait for it."""
        return self.site.root / "noted"

    def runs(self, kind: str) -> list[Run]:
        """Return the runs of a kind of job that accounting has; once all have ended, they are kept."""
        return self.ended.get(kind) or runs(self.lab, *self.ids[kind])

    def absent(self, how: str) -> tuple[int, int]:
        """Return the run of the requeued job that a backend cannot have beside the other one."""
        first, second = self.runs("requeued")
        return first.key if how == "hook" else second.key

    def expected(self, run: Run) -> dict[str, Any]:
        """Return the record that follows from Slurm's text."""
        return expected(run, self.witness.shown(run), self.lab.cluster, **self.names[run.key[0]])


@pytest.fixture(scope="module")
def watched(running_lab: Lab) -> Iterator[Watched]:
    """Run all kinds of jobs once, to their ends."""
    with Site.open(running_lab) as site:
        backends = {how: site.backend() for how in HOW}
        settings: dict[str, dict[str, Any]] = {
            "hook": {"daemon__poll_interval": 3600},
            "poll": {"sinks__cc__nodestate_interval": 1, "sinks__cc__requeue": "keep-first"},
        }
        daemons = {how: site.daemon(backends[how], **settings[how]) for how in HOW}
        hook = site.hook(daemons["hook"])
        try:
            with running_lab.hooks(prolog=hook, epilog=hook), Witness.watching(running_lab) as witness:
                watched = Watched(running_lab, site, witness, daemons, backends)
                _submit(watched)
                _disturb(watched)
                _wait_for_ends(watched)
            yield watched
        finally:
            running_lab.clear_jobs()


def _submit(watched: Watched) -> None:
    lab = watched.lab
    watched.submit("timed out", "--time=1", script="sleep 300")
    watched.submit("requeued", "--requeue", script="sleep 300")
    watched.submit("cancelled", script="sleep 300")
    watched.submit("cancelled while it waited", "--hold")
    watched.submit("cancelled before its time", "--begin=now+1hour")
    # The first of the jobs with GPUs has to have them before others ask for the rest.
    # One that starts after that still lasts long enough for its facts to be seen.
    noted = f"until [ -e {watched.noted} ]; do sleep 0.2; done; sleep 5"
    two = watched.submit("two nodes with GPUs", "-N2", "-n8", "-wn[2-3]", "--gres=gpu:2", script=noted)
    lab.wait(two, "RUNNING")
    watched.submit("a GPU of a shared node", "-wn2", "-c4", "--gres=gpu:1", script=noted)
    other = ("-wn3", "-n3", "--gres=gpu:a100:1", "--qos=high")
    watched.submit("another user's GPU of a shared node", *other, user="news", script="sleep 10")
    watched.submit("one node", "-n5", "--time=90", script="sleep 8")
    watched.submit("exclusive", "-wn4", "--exclusive", "-n1", script=noted)
    watched.submit("failing", script="sleep 2; exit 3")
    watched.submit("very short")
    watched.submit("hostile", name=HOSTILE_NAME, comment=HOSTILE_COMMENT, script="sleep 4")
    array = watched.submit("array", "--array=3-5%2", "-n2", script="sleep 3")
    watched.ids["array"] = [array]
    het = watched.submit("het", "-n1", "-wn1", ":", "-n4", "-wn3", "--gres=gpu:1", script="sleep 5")
    watched.names[het + 1] = {"name": "het"}
    watched.ids["het"] = [het, het + 1]


def _disturb(watched: Watched) -> None:
    """Do what makes jobs end otherwise than by themselves, and note node states meanwhile."""
    lab = watched.lab
    for kind in ("exclusive", "timed out", "requeued", "cancelled"):
        lab.wait(watched.ids[kind][0], "RUNNING")
    watched.node_states = until(
        lambda: _agreed(watched), "moment at which the backend has the node states of Slurm", timeout_s=60
    )
    watched.noted.touch()
    # slurmctld ends what is over its time when it looks, every 30 s.
    soon = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 1))
    lab.scontrol("update", f"JobId={watched.ids['timed out'][0]}", f"EndTime={soon}")
    lab.requeue(watched.ids["requeued"][0])
    lab.scancel(*(watched.ids[kind][0] for kind in watched.ids if kind.startswith("cancelled")))
    said = lab.srun("-J", "srun", "-n2", "bash", "-c", "echo $SLURM_JOB_ID; sleep 3", user="news")
    job_id = int(said.split()[0])
    watched.ids["srun"], watched.names[job_id] = [job_id], {"name": "srun"}


def _agreed(watched: Watched) -> dict[str, Any]:
    """Return the states of nodes of which the backend has what Slurm shows before and after, with all jobs on them."""
    before = nodes(watched.lab)
    columns = ("state", "cpus", "memory_mib", "gpus", "jobs")
    stored = watched.backends["poll"].nodes()
    after = nodes(watched.lab)
    rows = {host: tuple(node[column] for column in columns) for host, node in stored.items()}
    found = {host: row for host, row in rows.items() if before[host] == row == after[host]}
    both = {"n2", "n4"} <= found.keys() and found["n4"][0] == "allocated" and found["n2"][-1] > 1
    return found if both else {}


def _wait_for_ends(watched: Watched) -> None:
    kinds = [*ENDS, "requeued"]
    (requeued,) = watched.ids["requeued"]
    until(lambda: _runs_again(watched.lab.job(requeued)), "second run of the requeued job", timeout_s=60)
    watched.lab.scancel(requeued)
    for kind in kinds:
        watched.ended[kind] = until(lambda each=kind: _over(watched, each), f"end of {kind}", timeout_s=90)  # type: ignore[misc]
    watched.names.update({run.key[0]: {"name": "array"} for run in watched.ended["array"]})
    every = {run.key for ended in watched.ended.values() for run in ended}
    for how, backend in watched.backends.items():
        wanted = every - {watched.absent(how)}
        until(lambda each=backend, those=wanted: those <= _stopped(each), f"all jobs of {how}", timeout_s=240)  # type: ignore[misc]


def _runs_again(job: Mapping[str, str]) -> bool:
    return job["JobState"] == "RUNNING" and job["Restarts"] == "1"


def _over(watched: Watched, kind: str) -> list[Run]:
    """Return all runs of a kind once accounting has the ends of all of them."""
    found = watched.runs(kind)
    return found if len(found) == RUNS.get(kind, 1) and all(run.over for run in found) else []


def _stopped(backend: Backend) -> set[tuple[int, int]]:
    return {(job["jobId"], job["startTime"]) for job in backend.jobs() if job["jobState"] != "running"}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("kind", ENDS)
def test_the_record_is_what_slurm_says(watched: Watched, kind: str, how: str) -> None:
    """Each field is the one that follows from sacct and from what scontrol showed while the job ran; one row a run."""
    found = watched.runs(kind)
    rows = [row for run in found for row in watched.backends[how].jobs_of(run.key[0])]

    assert found
    assert {row["jobState"] for row in rows} == {ENDS[kind]}
    for run, row in zip(found, rows, strict=True):
        assert comparable(row) == watched.expected(run)
        assert row["metaData"]["slurmInfo"].startswith(f"JobId={run.key[0]} JobName=")
        assert row["metaData"].get("exitCode", run.row["ExitCode"]) == run.row["ExitCode"]


def test_the_jobs_are_what_their_names_say(watched: Watched) -> None:
    """Or the records would show less than they seem to."""
    parts = {kind: held(watched.witness.shown(run)) for kind in ENDS for run in watched.runs(kind)}
    assert len(parts["two nodes with GPUs"]["n2"][0]) != len(parts["two nodes with GPUs"]["n3"][0])
    assert [len(devices) for _, devices in parts["two nodes with GPUs"].values()] == [2, 2]
    assert parts["a GPU of a shared node"]["n2"][1] == [2]
    assert len(parts["another user's GPU of a shared node"]["n3"][1]) == 1
    assert len(parts["exclusive"]["n4"][0]) == 16
    (array,) = watched.ids["array"]
    last = [run.row for run in watched.runs("array") if run.key[0] == array]
    assert [row["JobID"] for row in last] == [f"{array}_5"], "the last task has the array's id"
    assert [run.row["JobID"].partition("+")[2] for run in watched.runs("het")] == ["0", "1"]
    (short,) = watched.runs("very short")
    assert int(short.row["End"]) - int(short.row["Start"]) <= 1


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("kind", ["cancelled while it waited", "cancelled before its time"])
def test_a_job_that_never_started_leaves_no_record(watched: Watched, kind: str, how: str) -> None:
    """Accounting has its end; the backend has no row of it."""
    (job_id,) = watched.ids[kind]
    assert [row["End"].isdigit() for row in watched.lab.wait_accounted(job_id)] == [True]
    assert watched.backends[how].jobs_of(job_id) == []


def test_j1_j2_a_requeued_job_is_closed_and_its_second_run_is_left_out_and_noted(watched: Watched) -> None:
    """With keep-first: the first run ends when it was requeued, and says that the job ran again."""
    first, second = watched.runs("requeued")

    (row,) = watched.backends["poll"].jobs_of(first.key[0])

    assert first.state == "REQUEUED"
    assert comparable(row) == watched.expected(first)
    assert "Slurm ran this job again from " in row["metaData"]["message"]
    told = watched.daemons["poll"].wait_event("repeat_left_out", job=first.key[0])
    assert (told["start_at"], told["step"]) == (second.key[1], "start")
    assert told["reason"] == "repeat_of_earlier_run"


def test_j1_j2_a_requeued_jobs_second_run_takes_the_place_of_the_first(watched: Watched) -> None:
    """By default: the first one was sent to its end, and is deleted then."""
    first, second = watched.runs("requeued")
    daemon, backend = watched.daemons["hook"], watched.backends["hook"]

    (row,) = backend.jobs_of(first.key[0])

    assert comparable(row) == watched.expected(second)
    told = daemon.wait_event("replaced_by_requeue", job=first.key[0])
    assert (told["start_at"], told["by_start_at"]) == (first.key[1], second.key[1])
    assert any(f'"startTime":{first.key[1]}' in each["body"] for each in backend.told("stop", first.key[0]))


@pytest.mark.parametrize("how", HOW)
def test_t1_the_backend_has_each_run_of_accounting_once_and_nothing_else(watched: Watched, how: str) -> None:
    """All jobs of the test, whatever they were: no run is missing, none is doubled, none is made up."""
    submitted = {job_id for ids in watched.ids.values() for job_id in ids}
    ours = [run.key for run in runs(watched.lab, *submitted)]
    rows = [(row["jobId"], row["startTime"]) for row in watched.backends[how].jobs()]
    every = {run.key for run in runs(watched.lab)}

    assert len(rows) == len(set(rows))
    assert set(rows) <= every
    assert sorted(row for row in rows if row in ours) == sorted(set(ours) - {watched.absent(how)})


def test_node_states_arrive(watched: Watched) -> None:
    """The backend had, at one moment, just what Slurm showed of a full node and of one that was shared."""
    assert watched.node_states["n4"] == ("allocated", 32, 32000, 4, 1)
    state, *_, gpus, jobs = watched.node_states["n2"]
    assert (state, gpus) == ("mixed", 3)
    assert jobs >= 2
    assert watched.backends["poll"].nodes().keys() == {"n1", "n2", "n3", "n4"}


@pytest.mark.parametrize("how", HOW)
def test_p1_at_the_end_the_daemon_stops_cleanly_and_nothing_waits(watched: Watched, how: str) -> None:
    """Exit status 0; in its store all is settled; who is rung has learnt all by hints."""
    daemon = watched.daemons[how]
    submitted = {job_id for ids in watched.ids.values() for job_id in ids}

    assert daemon.stop() == 0
    assert not daemon.pid_file.exists()
    with daemon.open_store() as store:
        counts = {state: count for state, count in store.counts("cc").states.items() if count}
        dropped = store.list_deliveries(state="dropped")
        stories = [story for job_id in submitted for story in store.run_histories(job_id)]
    left_out = [] if how == "hook" else [(*watched.absent(how), "repeat_of_earlier_run")]
    assert [(each.key.job_id, each.key.start_at, each.reason) for each in dropped] == left_out
    assert sum(counts.values()) == len(left_out)
    assert {story.started_by for story in stories} == {how}
    assert {story.stopped_by for story in stories} == {how}
