"""What becomes of jobs as time passes, seen through the commands."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from slurmsyncd.sandbox.slurm import SHAPES
from slurmsyncd.sandbox.slurm.engine import Simulation
from slurmsyncd.sandbox.slurm.workload import Submission, request
from tests.unit.sandbox.slurm.lab import T0, Lab

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def listed(lab: Lab, form: str = "%A|%T|%S", *more: str) -> list[str]:
    return lab.text("squeue", "-h", "-a", "-t", "all", "-o", form, *more).splitlines()


def details(lab: Lab, job_id: int) -> dict[str, Any]:
    jobs = lab.json("squeue", "--json", "-a", "-t", "all", "-j", str(job_id))["jobs"]
    (job,) = [job for job in jobs if job["job_id"] == job_id]
    found: dict[str, Any] = job
    return found


def test_life_of_a_job(lab: Lab) -> None:
    """A job is pending, configuring, running, completing, completed, and at last forgotten."""
    job_id = lab.submit(duration_s=5)
    seen = [listed(lab, "%T")]
    for _ in range(8):
        lab.pass_(1)
        seen.append(listed(lab, "%T"))
    words = [state for (state,) in seen]
    assert list(dict.fromkeys(words)) == ["PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "COMPLETED"]
    assert lab.text("squeue", "-h", "-o", "%T") == "", "without -t all only what is not over"
    lab.pass_(310)
    assert listed(lab) == []
    gone = lab.run("scontrol", "show", "job", str(job_id))
    assert (gone.returncode, gone.stderr) == (1, b"slurm_load_jobs error: Invalid job id specified\n")
    assert (
        lab.text("sacct", "-aXnP", "-j", str(job_id), "-oState,Start,End") == f"COMPLETED|{T0 + 1}|{T0 + 6}\n"
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_perishable_facts(shape: str, make_lab: Callable[..., Lab]) -> None:
    """GPU indexes are there while the job holds them; cores stay until the job is forgotten."""
    lab = make_lab(shape)
    job_id = lab.submit(nodes=2, cores=2, more=1, gpus=2, gpu_type="a100", duration_s=5)
    lab.pass_(1)
    while_configuring = details(lab, job_id)
    assert while_configuring["gres_detail"] == ["gpu:a100:2(IDX:0-1)"] * 2
    lab.pass_(5)
    ended = details(lab, job_id)
    assert ended["gres_detail"] == []
    (run,) = lab.sim.ledger()
    assert cores(ended) == cores(while_configuring) == list(run.cores)
    assert run.gpus == ((0, 1), (0, 1))
    assert run.cores == (((0, 0), (0, 1), (0, 2)), ((0, 0), (0, 1)))
    text = lab.text("scontrol", "show", "job", "-d", str(job_id))
    assert "Nodes=n5 CPU_IDs=0-5 Mem=6000 GRES=\n" in text
    assert "Nodes=n6 CPU_IDs=0-3 Mem=4000 GRES=\n" in text


def cores(job: dict[str, Any]) -> list[tuple[tuple[int, int], ...]]:
    nodes = job["job_resources"]
    if "allocated_nodes" in nodes:
        return [
            tuple((int(s), int(c)) for s, inner in node["sockets"].items() for c in inner["cores"])
            for node in nodes["allocated_nodes"]
        ]
    return [
        tuple(
            (socket["index"], core["index"])
            for socket in node["sockets"]
            for core in socket["cores"]
            if core["status"] == ["ALLOCATED"]
        )
        for node in nodes["nodes"]["allocation"]
    ]


@pytest.mark.parametrize("shape", SHAPES)
def test_completing_job_names_no_nodes(shape: str, make_lab: Callable[..., Lab]) -> None:
    """While an ended job is COMPLETING its node list is empty; afterwards it is back."""
    lab = make_lab(shape)
    job_id = lab.submit(duration_s=2)
    lab.pass_(3)
    assert details(lab, job_id)["nodes"] == ""
    assert "   NodeList=\n" in lab.text("scontrol", "show", "job", str(job_id))
    lab.pass_(1)
    assert details(lab, job_id)["nodes"] == "n1"


def test_array(lab: Lab) -> None:
    """Tasks get ids of their own when they start, the last one the array's; the rest is one record."""
    array = lab.submit(tasks=5, limit=3, duration_s=5)
    lab.pass_(1)
    assert listed(lab, "%i|%F|%K|%A|%T") == [
        "1_[3-4%3]|1|3-4%3|1|PENDING",
        "1_0|1|0|2|CONFIGURING",
        "1_1|1|1|3|CONFIGURING",
        "1_2|1|2|4|CONFIGURING",
    ]
    assert len(listed(lab, "%A", "-j", str(array))) == 4, "the array's id means all of it"
    lab.pass_(20)
    rows = lab.text("sacct", "-aXnP", "-j", str(array), "-oJobIDRaw,JobID,State").splitlines()
    ids = {2: "1_0", 3: "1_1", 4: "1_2", 5: "1_3", 1: "1_4"}
    assert sorted(rows) == sorted(f"{raw}|{shown}|COMPLETED" for raw, shown in ids.items())


def test_heterogeneous_job(lab: Lab) -> None:
    """Components have ids in a row, start together, and name each other."""
    parts = (request(duration_s=9), request(duration_s=9, nodes=2, cores=3))
    assert lab.sim.submit(Submission(parts), lab.now) == [1, 2]
    lab.pass_(2)
    assert listed(lab, "%A|%i|%S|%D") == [f"1|1+0|{T0 + 1}|1", f"2|1+1|{T0 + 1}|2"]
    assert details(lab, 2)["het_job_id_set"] == "1-2"
    assert lab.text("sacct", "-aXnP", "-j1", "-oJobID,JobIDRaw") == "1+0|1\n1+1|2\n"


def test_requeue_shows_a_start_that_is_none(lab: Lab) -> None:
    """As captured: a requeued job is COMPLETING with the moment of the requeue as its start, then waits."""
    job_id = lab.submit(duration_s=30, requeue_after_s=4, gpus=1)
    lab.pass_(5)
    assert listed(lab) == [f"{job_id}|COMPLETING|{T0 + 5}"]
    job = details(lab, job_id)
    assert (job["job_state"], job["restart_cnt"]) == (["PENDING", "COMPLETING"], 1)
    assert (job["nodes"], job["gres_detail"]) == ("n5", [])
    lab.pass_(1)
    assert details(lab, job_id)["job_resources"] is None
    lab.pass_(121)
    assert [(run.state, run.restarts, run.start_at - T0) for run in lab.sim.ledger()] == [
        ("REQUEUED", 0, 1),
        ("RUNNING", 1, 126),
    ]


def test_cancelled_while_pending_shows_a_start_that_is_none(lab: Lab) -> None:
    """As captured: slurmctld gives a job cancelled while it waited its end as start; sacct says None."""
    lab.submit(begin_in_s=3600, cancel_after_s=3)
    lab.pass_(4)
    assert listed(lab) == [f"1|CANCELLED|{T0 + 3}"]
    job = details(lab, 1)
    assert (job["start_time"]["number"], job["nodes"], job["job_resources"]) == (T0 + 3, "", None)
    assert lab.text("sacct", "-aXnP", "-j1", "-oState,Start") == "CANCELLED by 0|None\n"
    assert lab.json("sacct", "-aX", "--json", "-j1")["jobs"][0]["time"]["start"] == 4294967294
    assert list(lab.sim.ledger()) == []


def test_suspension(lab: Lab) -> None:
    """A suspended job keeps its cores, and the pause is not counted as running time."""
    lab.submit(duration_s=10, suspend_after_s=4, suspend_for_s=6)
    lab.pass_(7)
    assert listed(lab) == [f"1|SUSPENDED|{T0 + 1}"]
    lab.pass_(20)
    row = lab.text("sacct", "-aXnP", "-j1", "-oState,ElapsedRaw,Suspended,End")
    assert row == f"COMPLETED|10|00:00:06|{T0 + 17}\n"


@pytest.mark.parametrize(
    ("changes", "row"),
    [
        ({"outcome": "FAILED", "exit_code": 3}, "FAILED|3:0"),
        ({"outcome": "OUT_OF_MEMORY", "signal": 9}, "OUT_OF_MEMORY|0:9"),
        ({"outcome": "CANCELLED", "signal": 15}, "CANCELLED by 3001|0:0"),
        ({"outcome": "TIMEOUT", "limit_min": 1}, "TIMEOUT|0:0"),
        ({"outcome": "NODE_FAIL"}, "NODE_FAIL|0:0"),
        ({"duration_s": 0.0}, "COMPLETED|0:0"),
    ],
)
def test_outcomes(lab: Lab, changes: dict[str, Any], row: str) -> None:
    """Each way to end is shown as sacct shows it."""
    lab.submit(**changes)
    lab.pass_(70)
    assert lab.text("sacct", "-aXnP", "-j1", "-oState,ExitCode") == row + "\n"


def test_delayed_start_and_forecast(lab: Lab) -> None:
    """A job with a later begin has that as a forecast start, and starts then."""
    lab.submit(begin_in_s=15)
    lab.pass_(1)
    assert listed(lab) == [f"1|PENDING|{T0 + 15}"]
    lab.pass_(14)
    assert listed(lab) == [f"1|CONFIGURING|{T0 + 15}"]


def test_index_above_2_to_the_63(make_lab: Callable[..., Lab]) -> None:
    """26.05's DBIndex does not fit a signed 64-bit column, and is the SLUID in other digits."""
    lab = make_lab("26.05")
    lab.submit()
    lab.pass_(2)
    index, sluid = lab.text("sacct", "-aXnP", "-j1", "-oDBIndex,SLUID").strip().split("|")
    assert int(index) > 2**63
    assert lab.json("squeue", "--json")["jobs"][0]["step_id"]["sluid"] == sluid
    assert sluid.startswith("s8SNM7Y7N5P")


def test_names_pass_through_text_raw(lab: Lab) -> None:
    """S15: newline and delimiter stand in text as they are; sacct turns a double quote into a backquote."""
    lab.submit(name='a"b\nc|d\x1fe')
    lab.pass_(2)
    assert lab.text("squeue", "-h", "-o", "<%j>") == '<a"b\nc|d\x1fe>\n'
    assert (
        lab.text("sacct", "-aXnP", "--delimiter=TOKEN", "-j1", "-oJobName,State")
        == "a`b\nc|d\x1feTOKENRUNNING\n"
    )
    assert details(lab, 1)["name"] == 'a"b\nc|d\x1fe'


def test_batch_script(lab: Lab) -> None:
    """The script can be had while slurmctld knows the job; all else is an empty answer with exit 0."""
    lab.submit(script="#!/bin/sh\necho ü\n")
    lab.submit(batch=False)
    assert lab.text("scontrol", "write", "batch_script", "1", "-") == "#!/bin/sh\necho ü\n"
    for job_id in ("2", "999"):
        done = lab.run("scontrol", "write", "batch_script", job_id, "-")
        assert (done.returncode, done.stdout) == (0, b"")
        assert done.stderr == b"job script retrieval failed: Invalid job id specified\n"


def test_hooks(tmp_path: Path, make_lab: Callable[..., Lab]) -> None:
    """Prolog and epilog are called once a run, with slurmctld's environment and nothing else."""
    lab = make_lab("26.05", prolog=("true",), epilog=("true",), requeue_delay_s=5)
    job_id = lab.submit(name="a\nb", duration_s=9, requeue_after_s=3, comment="c")
    calls = []
    for _ in range(30):
        lab.now += 1
        for call in lab.sim.tick(lab.now):
            calls.append(call)
            lab.sim.hook_done(call, lab.now)
    assert [(c.context, c.env["SLURM_JOB_RESTART_COUNT"]) for c in calls] == [
        ("prolog", "0"),
        ("epilog", "1"),  # of the requeued run: the count of the next one, as measured
        ("prolog", "1"),
        ("epilog", "1"),
    ]
    env = dict(calls[-1].env)
    assert env["SLURM_JOB_ID"] == str(job_id)
    assert (env["SLURM_JOB_NAME"], env["SLURM_JOB_COMMENT"]) == ("a\nb", "c")
    assert (env["SLURM_JOB_EXIT_CODE2"], env["SLURM_JOB_NODELIST"]) == ("0:0", "n1")
    assert not env.keys() & {"PATH", "HOME", "SLURM_CONF", "LANG"}
    seen = subprocess.run(
        [sys.executable, "-ISc", "import os; print(len(os.environ))"],
        env=env,
        capture_output=True,
        check=True,
    )
    assert int(seen.stdout) >= len(env)


def test_prolog_holds_the_job(make_lab: Callable[..., Lab]) -> None:
    """A job is CONFIGURING while its prolog runs and does not end before; sacct says RUNNING."""
    lab = make_lab(prolog=("x",))
    lab.submit(duration_s=2)
    lab.now += 1
    (call,) = lab.sim.tick(lab.now)
    lab.pass_(8)
    assert listed(lab) == [f"1|CONFIGURING|{T0 + 1}"]
    assert lab.text("sacct", "-aXnP", "-j1", "-oState") == "RUNNING\n"
    lab.sim.hook_done(call, lab.now)
    lab.pass_(1)
    assert listed(lab, "%T") == ["COMPLETING"]


def test_failed_prolog_requeues(make_lab: Callable[..., Lab]) -> None:
    """A prolog that fails leaves a REQUEUED run whose end is its start."""
    lab = make_lab(prolog=("x",))
    lab.submit(duration_s=2)
    lab.now += 1
    (call,) = lab.sim.tick(lab.now)
    lab.sim.hook_done(call, lab.now, status=1)
    row = lab.text("sacct", "-aXDnP", "-j1", "-oState,Start,End,Restarts")
    assert row == f"REQUEUED|{T0 + 1}|{T0 + 1}|0\nPENDING|Unknown|Unknown|1\n"


def test_epilog_frees_the_nodes_at_once(make_lab: Callable[..., Lab]) -> None:
    """The next job starts on the nodes of one whose epilog still runs."""
    lab = make_lab(epilog=("x",))
    lab.submit(nodes=8, exclusive="node", duration_s=2)
    lab.submit(nodes=8, exclusive="node", duration_s=9)
    lab.pass_(5)
    assert listed(lab, "%A|%T") == ["1|COMPLETING", "2|RUNNING"]


@pytest.mark.anyio
async def test_runs_in_real_time(tmp_path: Path) -> None:
    """Run by itself, the simulation submits, starts and ends jobs and calls real hooks."""
    mark = tmp_path / "calls"
    code = f"import os; open({str(mark)!r}, 'a').write(os.environ['SLURM_SCRIPT_CONTEXT'] + '\\n')"
    hook = (sys.executable, "-ISc", code)
    sim = Simulation(tmp_path / "state", seed=5, mean_s=0.5, prolog=hook, epilog=hook)
    while not mark.exists() or "epilog_slurmctld" not in mark.read_text():
        await sim.run(rate=5.0, until=time.time() + 1.0)
    assert any(run.end_at for run in sim.ledger())
    sim.close()


def test_reopened(make_lab: Callable[..., Lab]) -> None:
    """A simulation goes on where the last one stopped: same jobs, same cores taken, new ids."""
    lab = make_lab()
    lab.submit(nodes=8, exclusive="node", duration_s=50)
    lab.pass_(2)
    lab.sim.close()
    lab.sim = Simulation(lab.state, virtual=True)
    assert lab.submit() == 2
    lab.pass_(5)
    assert listed(lab, "%A|%T") == ["1|RUNNING", "2|PENDING"]
    lab.pass_(50)
    assert listed(lab, "%A|%T")[0] == "1|COMPLETED"


def test_node_failure(lab: Lab) -> None:
    """What runs on a node that fails ends as NODE_FAIL, and nothing starts there until it is up again."""
    lab.submit(duration_s=900)
    lab.pass_(2)
    lab.sim.take_down("n1", lab.now, "broken fan")
    lab.submit(duration_s=900)
    lab.pass_(2)
    assert lab.text("sacct", "-aXnP", "-j1,2", "-oState,NodeList") == "NODE_FAIL|n1\nRUNNING|n2\n"
    node = lab.json("scontrol", "show", "nodes", "n1", "--json")["nodes"][0]
    assert (node["state"], node["reason"], node["alloc_cpus"]) == (["DOWN"], "broken fan", 0)
    lab.sim.take_down("n1", lab.now, "")
    lab.submit()
    lab.pass_(2)
    assert lab.text("squeue", "-h", "-j", "3", "-o", "%N") == "n1\n"
