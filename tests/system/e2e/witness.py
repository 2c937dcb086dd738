"""
What Slurm's own text says of runs, noted while they run, and the record that follows from it.

Nothing here uses the product's code: hosts, cores and devices come from `scontrol --details show job`, the rest
from `sacct`, and both are put together as an administrator with paper and pencil would.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.system.e2e.machine import THREADS, accelerator, hwthreads, sub_cluster
from tests.tools.lab import until, witness
from tests.tools.lab.lab import EVER
from tests.tools.lab.witness import devices, had_nodes, hosts, tres

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tests.tools.lab import Lab
    from tests.tools.lab.witness import Key, Shown

FIELDS = "JobIDRaw,JobID,User,Account,Partition,Submit,Start,End,State,NNodes,NCPUS,TimelimitRaw,AllocTRES,QOS,ExitCode,NodeList"
RUNNING = ("RUNNING", "CONFIGURING")
OVER = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT")

_HAS_INDEXES = re.compile(r"\(IDX:\d")

#: Slurm's word → the backend's.
STATES = {
    "COMPLETED": "completed",
    "FAILED": "failed",
    "CANCELLED": "cancelled",
    "TIMEOUT": "timeout",
    "REQUEUED": "cancelled",
    "RUNNING": "running",
}
#: OverSubscribe's word, and from 26.05 on Exclusive's.
SHARED = {"OK": "multi_user", "NO": "none"}
EXCLUSIVE = {"NO": "multi_user", "NODE": "none", "USER": "single_user"}


@dataclass(frozen=True, slots=True)
class Run:
    """One row of accounting."""

    row: Mapping[str, str]

    @property
    def key(self) -> tuple[int, int]:
        """Job id and start."""
        return int(self.row["JobIDRaw"]), int(self.row["Start"])

    @property
    def state(self) -> str:
        """Slurm's word."""
        return self.row["State"].split()[0]

    @property
    def over(self) -> bool:
        """
        Whether accounting has its end, and all else of it.

        22.05 sends a job's start up to five seconds late; the row of one that has ended before lacks most
        of what was submitted until then.
        """
        return self.row["End"].isdigit() and self.row["Partition"] != ""


def runs(lab: Lab, *job_ids: int) -> list[Run]:
    """Return the runs that accounting has of these jobs (all jobs without ids), the first of a job first."""
    which = ("-j", ",".join(map(str, job_ids))) if job_ids else ()
    rows = lab.sacct("-S", EVER, *which, fields=FIELDS)
    return sorted(map(Run, filter(had_nodes, rows)), key=lambda run: run.key)


@dataclass(slots=True)
class Witness:
    """
    Keeps what Slurm said last of each run while that ran.

    What ended before it was seen is kept as it is shown afterwards.
    """

    _seen: dict[Key, Shown] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def watching(cls, lab: Lab) -> Iterator[Witness]:
        """Have one watch."""
        found = cls()
        with witness.watching(lab, found._note):
            yield found

    def shown(self, run: Run) -> Shown:
        """Return what was seen of a run; accounting may know of it before our next look."""
        until(lambda: run.key in self._seen, f"look at the run {run.key}", timeout_s=10)
        return self._seen[run.key]

    def _note(self, shown: Shown) -> None:
        if shown.state not in (*RUNNING, *OVER):
            return
        before = self._seen.get(shown.key)
        if shown.state in RUNNING or before is None or before.state not in RUNNING:
            self._seen[shown.key] = shown


def held(shown: Shown) -> dict[str, tuple[list[int], list[int]]]:
    """Return, by host, the cores and the GPUs that a run holds."""
    found = {}
    for host, part in shown.held.items():
        items = map(devices, filter(_HAS_INDEXES.search, part.gres))  # after the end it says (IDX:)
        gpus = [index for name, *_, indexes in items if name == "gpu" for index in sorted(indexes)]
        found[host] = sorted({cpu // THREADS for cpu in part.cpus}), gpus
    return found


def nodes(lab: Lab) -> dict[str, tuple[str, int, int, int, int]]:
    """Return, by host, the state, CPUs, memory and GPUs in use, and the number of running jobs."""
    busy = [host for text in lab.run("squeue", "-h", "-t", "R", "-o", "%N").split() for host in hosts(text)]
    found = {}
    for text in lab.scontrol("--details", "--oneliner", "show", "node").splitlines():
        pairs = dict(word.split("=", 1) for word in text.split() if "=" in word)
        gpus = sum(int(count) for count in re.findall(r"gpu:a100:(\d+)", pairs["GresUsed"]))
        numbers = (int(pairs["CPUAlloc"]), int(pairs["AllocMem"]), gpus, busy.count(pairs["NodeName"]))
        found[pairs["NodeName"]] = (pairs["State"].lower(), *numbers)
    return found


def expected(run: Run, shown: Shown, cluster: str, **names: str) -> dict[str, Any]:
    """
    Return the record that the backend must have of a run.

    Args:
        run: Of accounting.
        shown: What scontrol showed.
        cluster: Its name.
        names: What was submitted as `name` and `comment`.
    """
    row, parts = run.row, held(shown)
    elements = [_resource(host, cores, gpus) for host, (cores, gpus) in parts.items()]
    record = {
        "jobId": run.key[0],
        "cluster": cluster,
        "subCluster": sub_cluster(next(iter(parts))),
        "user": row["User"],
        "project": row["Account"],
        "partition": row["Partition"],
        "arrayJobId": int(row["JobID"].split("_")[0]) if "_" in row["JobID"] else 0,
        "startTime": run.key[1],
        "jobState": STATES[run.state],
        "numNodes": int(row["NNodes"]),
        "numHwthreads": int(row["NCPUS"]),
        "numAcc": tres(row["AllocTRES"]).get("gres/gpu", 0),
        "shared": EXCLUSIVE.get(shown.words.get("Exclusive", "")) or SHARED[shown.words["OverSubscribe"]],
        "smt": int(THREADS > 1),
        "walltime": _minutes(row["TimelimitRaw"], shown.words["TimeLimit"]) * 60,
        "resources": elements,
        "metaData": _meta(run, shown, **names),
    }
    if run.over:
        record["duration"] = int(row["End"]) - run.key[1]
    return record


def comparable(job: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return the backend's row with what it leaves out when zero, and without what is its own or depends on the moment.

    The summary is free text. A start that was seen only after the end tells the exit code as well, and in
    24.11 the SLUID, which is in accounting alone there.
    """
    optional = ("partition", "arrayJobId", "walltime", "smt", "numAcc", "numHwthreads")
    own = {"id", "tags", "monitoringStatus", "energy", "energyFootprint", "footprint", "statistics"}
    found = {**dict.fromkeys(optional, 0), **job}
    found = {key: value for key, value in found.items() if key not in own | {"concurrentJobs"}}
    if job["jobState"] == "running":
        del found["duration"]
    free = {"slurmInfo", "exitCode", "sluid", "message"}
    found["metaData"] = {key: value for key, value in job["metaData"].items() if key not in free}
    return found


def _meta(run: Run, shown: Shown, *, name: str, comment: str = "") -> dict[str, str]:
    found = {"jobName": name, "comment": comment, "submitTime": run.row["Submit"], "qos": run.row["QOS"]}
    found["restarts"] = shown.words["Restarts"]
    found["arrayTaskId"] = run.row["JobID"].partition("_")[2]
    found["hetJobOffset"] = run.row["JobID"].partition("+")[2]
    found["hetJobId"] = run.row["JobID"].partition("+")[0] if found["hetJobOffset"] else ""
    return {key: value for key, value in found.items() if value}


def _resource(host: str, cores: Iterable[int], gpus: Iterable[int]) -> dict[str, Any]:
    threads = sorted(thread for core in cores for thread in hwthreads(host, core))
    element: dict[str, Any] = {"hostname": host, "hwthreads": threads}
    if ids := [accelerator(host, index) for index in gpus]:
        element["accelerators"] = ids
    return element


def _minutes(accounted: str, shown: str) -> int:
    """Read a time limit; accounting does not always say what a partition's limit came to (22.05)."""
    days, _, clock = shown.rpartition("-")
    hours, minutes, _ = map(int, clock.split(":"))
    limit = int(days or 0) * 1440 + hours * 60 + minutes
    assert accounted in (str(limit), "Partition_Limit")
    return limit
