"""The job set: every kind of job, submitted and disturbed once for each release."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.tools.lab import LabError, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.tools.lab import Lab

HARD_NAME = "new\nline\t|pipe \"dq\" 'sq' \x1f \x1b[31m %A ünï \\bs"
HARD_ACCOUNT = "od|d acc\tünt"
HARD_COMMENT = 'JobId=9 JobName=none\n9|9|RUNNING|\x1f{"jobs": []}\r\n'
#: Not UTF-8: as the operating system gives such bytes to Python.
BROKEN_NAME = "caf\udce9 \udcff\udcfe\udcc3("
#: No name or comment may be longer.
LONGEST = 1023
LONG = 100_000

#: The first run has to be ended; the second is short.
ONCE = '[ -n "$SLURM_RESTART_COUNT" ] && exec sleep 5\nsleep 300'

DOCUMENTS = (
    "squeue --json -a -t all",
    "sinfo --json",
    "sacct -a -X -D --json -S uts1000000000",
)
#: 22.05 does not have these.
MODERN = ("scontrol show job --json", "scontrol show nodes --json")


@dataclass(slots=True)
class JobSet:
    """
    What was submitted.

    Attributes:
        is_told: Tells whether all who look on know of a start of a job.
        ids: Kind → job id (of an array: the array's).
        refused: Kind → what this release said to it.
        documents: Command → the JSON that it printed while jobs of all kinds were there, and after their ends.
    """

    lab: Lab
    is_told: Callable[[int], bool]
    ids: dict[str, int] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    documents: dict[str, list[Any]] = field(default_factory=dict)

    def add(self, kind: str, *args: str, script: str = "sleep 7", **how: Any) -> None:
        """Submit a batch job under the name of its kind."""
        self.ids[kind] = self.lab.sbatch("-J", kind, "-t5", *args, script=script, **how)

    def may(self, kind: str, act: Callable[[], object]) -> None:
        """Do what some release may refuse, and keep its words."""
        try:
            act()
        except LabError as error:
            self.refused[kind] = str(error).rpartition(": ")[2]

    def photograph(self) -> None:
        """
        Keep what Slurm's JSON looks like now.

        22.05's `sacct --json` prints no jobs, but exit code 0, where SLURM_TIME_FORMAT is %s.
        """
        modern = self.lab.release.version != "22.05"
        for command in (*DOCUMENTS, *(MODERN if modern else ())):
            printed = self.lab.json("env", "-u", "SLURM_TIME_FORMAT", *command.split())
            self.documents.setdefault(command, []).append(printed)

    def wait(self, state: str, *kinds: str) -> None:
        """Wait until jobs of these kinds are in a state."""
        for kind in kinds:
            self.lab.wait(self.ids[kind], state)


def run(lab: Lab, is_told: Callable[[int], bool]) -> JobSet:
    """Submit everything, disturb it, and wait until accounting knows all ends."""
    jobs = JobSet(lab, is_told)
    _prepare(lab)
    jobs.add("timeout", "-t1", script="sleep 300")
    interactive = [threading.Thread(target=start, args=(jobs,)) for start in (_srun, _salloc)]
    for thread in interactive:
        thread.start()
    _to_be_disturbed(jobs)
    _sizes(jobs)
    _devices(jobs)
    _groups(jobs)
    _texts(jobs)
    _short(jobs)
    jobs.photograph()
    _disturb(jobs)
    jobs.photograph()
    _without_accounting(jobs)
    for thread in interactive:
        thread.join()
    _end(jobs)
    jobs.photograph()
    return jobs


def _prepare(lab: Lab) -> None:
    (lab.root / "work" / HARD_NAME.replace("/", "_")).mkdir(mode=0o777)
    lab.sacctmgr("add", "account", HARD_ACCOUNT, "set", "qos=normal,high")
    lab.sacctmgr("add", "user", "games", f"account={HARD_ACCOUNT}")
    window = ("starttime=now", "duration=60", "flags=ignore_jobs")
    lab.scontrol("create", "reservation", "reservationname=booked", *window, "nodes=booked1", "users=games")


def _srun(jobs: JobSet) -> None:
    jobs.lab.srun("-J", "srun", "-n2", "sleep", "4")


def _salloc(jobs: JobSet) -> None:
    jobs.lab.run("salloc", "-J", "salloc", "-n2", "sleep", "4", user="games")


def _sizes(jobs: JobSet) -> None:
    jobs.add("one", "-n4")
    jobs.add("odd", "-n3", "--mem-per-cpu=700")
    jobs.add("uneven", "-N3", "-n19")
    jobs.add("unlike-nodes", "-pmixed", "-N2", "-n9")
    jobs.add("exclusive", "-pmixed", "-N2", "--exclusive")
    jobs.add("exclusive-user", "-pzoo", "-wuser1", "--exclusive=user")
    jobs.add("exclusive-partition", "-pwhole", "-N1")
    jobs.add("exclusive-user-partition", "-pprivate", "-n1")
    jobs.add("oversubscribe", "-pover", "--oversubscribe", "-n2")
    jobs.add("one-thread", "-n4", "--threads-per-core=1")
    jobs.add("two-threads", "-n4", "--threads-per-core=2")
    jobs.add("no-multithread", "-n3", "--hint=nomultithread")
    jobs.add("one-task-a-core", "-n3", "--ntasks-per-core=1")
    jobs.add("licences", "-Lmatlab:2")
    jobs.add("steps", "-n2", script="srun sleep 2; srun -n1 sleep 3")


def _devices(jobs: JobSet) -> None:
    jobs.add("gpu-typed", "--gres=gpu:a100:2")
    jobs.add("gpu-untyped", "--gres=gpu:1")
    jobs.add("gpu-uneven", "-N2", "-n2", "--gpus=3")
    jobs.add("gpu-per-task", "-n3", "--gpus-per-task=1")
    jobs.add("gpu-types", "-pzoo", "-wtypes1", "--gres=gpu:a100:1,gpu:v100:2")
    jobs.add("gpu-mig", "-pzoo", "-wtypes1", "--gres=gpu:1g.5gb:2,gpu:a100-3g.20gb:1")
    jobs.add("shard", "-pzoo", "-wshard1", "--gres=shard:3")
    for kind, count, seconds in (("gpu-first", 3, 6), ("gpu-middle", 7, 300), ("gpu-last", 6, 6)):
        jobs.add(kind, "-pzoo", "-wmany1", f"--gres=gpu:{count}", script=f"sleep {seconds}")
        jobs.wait("RUNNING", kind)
    # Held jobs may wait beyond their deadline in 22.05; one that wants what is not free may not.
    jobs.add("deadline", "-pzoo", "-wmany1", "--gres=gpu:16", "-t1", "--deadline=now+62seconds")


def _groups(jobs: JobSet) -> None:
    jobs.add("array", "--array=0-2")
    jobs.add("array-one-by-one", "--array=3,5,9%1", script="sleep 1")
    jobs.add("array-requeued", "--array=0-1", "--requeue", script=ONCE)
    jobs.ids["het"] = jobs.lab.sbatch("-Jhet", "-n2", ":", "-Jhet", "-N2", "--gres=gpu:1", script="sleep 7")


def _texts(jobs: JobSet) -> None:
    where = f"--chdir={jobs.lab.root}/work/{HARD_NAME.replace('/', '_')}"
    jobs.add("hard", where, f"-A{HARD_ACCOUNT}", f"-J{HARD_NAME}", f"--comment={HARD_COMMENT}", "--wckey=w|k")
    jobs.add("broken", f"-J{BROKEN_NAME}", f"--comment={BROKEN_NAME}", "--wckey=" + BROKEN_NAME)
    jobs.add("long", "-J" + "n" * LONGEST, "--comment=" + "ü" * (LONGEST // 2))
    jobs.may("long-comment", lambda: jobs.add("long-comment", "--comment=" + "x" * LONG))
    argv = ("sbatch", "--parsable", "-Jlong-line", f"--chdir={jobs.lab.root}/work", "--output=%j.out")
    jobs.ids["long-line"] = int(jobs.lab.run(*argv, f"--wrap=sleep 7 #{'x' * LONG}", user="games"))
    jobs.add("reserved", "-pzoo", "--reservation=booked")
    jobs.add("qos", "--qos=high", "--wckey=wk1")
    jobs.add("unlimited", "-pzoo", "-wuser1", "-tUNLIMITED", user="news")


def _short(jobs: JobSet) -> None:
    for kind in ("short1", "short2", "short3"):
        jobs.add(kind, script="exit 0")
    jobs.add("failed", script="sleep 2; exit 3")
    jobs.add("killed", script="sleep 2; kill -9 $$")


def _to_be_disturbed(jobs: JobSet) -> None:
    jobs.add("requeued", "-n2", "--gres=gpu:1", "--requeue", script=ONCE)
    jobs.add("cancelled", script="sleep 300")
    jobs.add("held", "--hold")
    jobs.add("later", "--begin=now+1hour")
    jobs.add("dependent", f"--dependency=afterok:{jobs.ids['cancelled']}", "--kill-on-invalid-dep=no")
    jobs.add("suspended", script="sleep 30")
    jobs.add("node-down", "-pfrail", "-wfrail1", "--requeue", script=ONCE)
    jobs.add("node-fail", "-pfrail", "-wfrail2", "--no-requeue", script="sleep 300")
    jobs.add("preempted-requeued", "-plow", "-n2", "--requeue", script=ONCE)
    jobs.add("preempted", "-plowest", "-n2", script="sleep 300")
    jobs.add("prolog-requeued", "--requeue", script=ONCE)
    jobs.add("prolog-cancelled", "--no-requeue", script="sleep 300")
    jobs.add("resized", "-N3", "-n3", "--gres=gpu:1", script="sleep 40")


def _disturb(jobs: JobSet) -> None:
    lab, ids = jobs.lab, jobs.ids
    disturbed = ("requeued", "cancelled", "suspended", "node-down", "node-fail", "preempted", "resized")
    jobs.wait("RUNNING", *disturbed, "preempted-requeued", "array-requeued")
    jobs.add("urgent", "-purgent", "-n4", script="sleep 3")
    lab.scontrol("suspend", str(ids["suspended"]))
    lab.requeue(ids["requeued"])
    lab.run("scontrol", "requeue", f"{ids['array-requeued']}_1")
    for node in ("frail1", "frail2"):
        lab.scontrol("update", f"nodename={node}", "state=down", "reason=test")
    lab.scancel(*(ids[kind] for kind in ("cancelled", "held", "later", "dependent")))
    # Who only looks now and then would else see its second size alone.
    until(lambda: jobs.is_told(ids["resized"]), "the first size to be seen by all", timeout_s=60)
    lab.scontrol("update", f"jobid={ids['resized']}", "NumNodes=2")
    jobs.wait("COMPLETED", "gpu-first", "gpu-last")
    jobs.add("gpu-gaps", "-pzoo", "-wmany1", "--gres=gpu:4")
    jobs.wait("COMPLETED", "urgent")
    lab.scontrol("resume", str(ids["suspended"]))
    lab.scontrol("update", f"jobid={ids['resized']}", "NumNodes=1")
    lab.scancel(f"{ids['array-requeued']}_0")


def _without_accounting(jobs: JobSet) -> None:
    with jobs.lab.slurmdbd.stopped():
        jobs.add("unaccounted", "--gres=gpu:1", script="sleep 4")
        jobs.add("unaccounted-short", script="exit 0")
        jobs.wait("COMPLETED", "unaccounted", "unaccounted-short")


def _end(jobs: JobSet) -> None:
    lab = jobs.lab
    endless = {"gpu-middle"}
    waiting = {str(job_id) for kind, job_id in jobs.ids.items() if kind in endless}

    def busy() -> set[str]:
        return set(lab.run("squeue", "-h", "-o", "%A").split()) - waiting

    until(lambda: not busy(), "end of all jobs", timeout_s=150, every_s=0.5)
    lab.scancel(*waiting)
    ends = ("sacct", "-a", "-X", "-D", "-n", "-P", "-S", "uts1000000000", "-o", "End,State")
    until(lambda: "Unknown" not in lab.run(*ends), "all ends in accounting", timeout_s=60, every_s=0.5)
