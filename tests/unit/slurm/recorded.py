"""
Checks that hold for what any Slurm prints, on a directory in which it was recorded.

The directory's files are named as in `tests/data/slurm`; what is missing is not checked.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import anyio

from slurmsyncd.model import Job
from slurmsyncd.slurm.accounting import choose_columns, read_run
from slurmsyncd.slurm.controller_jobs import JobDetails, read_detail
from slurmsyncd.slurm.gres import parse_gres
from slurmsyncd.slurm.json_documents import read_records
from slurmsyncd.slurm.nodes import read_node
from slurmsyncd.slurm.scalars import parse_state, parse_tres
from slurmsyncd.sources.decoding import decode_listing, decode_runs
from slurmsyncd.sources.slurm_cli import OnceLogger
from tests.unit.slurm.captures import Shown, sacct_rows, shown_jobs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from slurmsyncd.model import ListedJob, NodeAllocation

#: A moment: files that were recorded together begin with the same word.
NO_ANSWER = ("ctld-down", "unknown-id")


def job_documents(directory: Path) -> list[Path]:
    """Documents of the controller's jobs."""
    found = {
        path for pattern in ("*squeue*json", "*scontrol-show-job--json") for path in directory.glob(pattern)
    }
    return sorted(path for path in found if not path.name.startswith(NO_ANSWER))


def node_documents(directory: Path) -> list[Path]:
    """Documents with a record for each node: sinfo's up to 22.05, scontrol's after it."""
    found = sorted(directory.glob("*.scontrol-show-nodes--json")) or sorted(directory.glob("*.sinfo--json"))
    return [path for path in found if not path.name.startswith(NO_ANSWER)]


def cluster_of(directory: Path) -> str:
    """Slurm's name of the cluster."""
    found = re.search(r"(?m)^ClusterName *= (\S+)", (directory / "scontrol-show-config.txt").read_text())
    assert found
    return found[1]


def details_at(path: Path) -> dict[int, JobDetails]:
    """A document's runs by job id, as seen when slurmctld wrote it."""
    records, cluster = read_records(path.read_bytes(), "jobs"), cluster_of(path.parent)
    found = [read_detail(record, cluster, now=_written_at(path)) for record in records]
    return {detail.job.key.job_id: detail for detail in found if detail}


def _written_at(path: Path) -> int:
    """When slurmctld wrote; 22.05 does not say, so: after each submission and before all forecasts of ends."""
    document = json.loads(path.read_bytes().decode("utf-8", "replace"))
    if "last_update" in document and (at := document["last_update"]["number"]):
        return int(at)
    submits = [job["submit_time"] for job in document["jobs"]]
    return max((at["number"] if isinstance(at, dict) else at for at in submits), default=0) + 60


def runs_in(directory: Path) -> dict[str, list[Job]]:
    """Runs of each file of accounting; none of its rows may be set aside."""
    token, cluster = directory / "token.txt", cluster_of(directory)
    columns = tuple((directory / "sacct-format.txt").read_text().strip().split(","))
    found = {}
    for path in sorted(directory.glob("*.sacct-*-token")):
        runs = anyio.run(
            decode_runs, path.read_bytes(), token.read_text().strip(), columns, cluster, OnceLogger()
        )
        assert runs.records_skipped == 0, path
        found[path.name] = runs.jobs
    for path in sorted(directory.glob("*.sacct-X-D-p2-epoch")):
        flaws: list[str] = []
        rows = [read_run(row, cluster, flaws) for row in sacct_rows(str(directory.absolute()), path.name)]
        assert not flaws, path
        found[path.name] = [row for row in rows if isinstance(row, Job)]
    return found


def listed_in(directory: Path) -> list[ListedJob]:
    """Jobs of the controller's listing, if it was recorded; none of its rows may be set aside."""
    found: list[ListedJob] = []
    for path in directory.glob("*.squeue-listing"):
        token = (directory / "token.txt").read_text().strip()
        listing = anyio.run(decode_listing, path.read_bytes(), token, 2**31, OnceLogger())
        assert listing.records_skipped == 0
        found += listing.listed
    return found


def check_documents(directory: Path) -> int:
    """Each record is read, whole; gives the number of runs."""
    runs = 0
    for path in job_documents(directory):
        found = details_at(path)
        runs += len(found)
        assert not {
            job_id: detail.skipped_fields for job_id, detail in found.items() if detail.skipped_fields
        }, path
        for detail in found.values():
            _check_numbers(detail.job)
    for path in node_documents(directory):
        for record in read_records(path.read_bytes(), "nodes"):
            assert read_node(record, {}).state != "unknown", path
    return runs


def _check_numbers(job: Job) -> None:
    """What a run holds on its nodes adds up to its AllocTRES."""
    assert len(job.nodes) == job.num_nodes, job.key
    if not (job.state.is_active and job.allocation and job.tres):
        return
    tres = dict(job.tres)
    assert tres["node"] == len(job.allocation), job.key
    gpus = [gres for node in job.allocation for gres in node.gres if gres.name == "gpu"]
    if gpus or not tres.get("gres/gpu"):
        assert sum(gres.count for gres in gpus) == tres.get("gres/gpu", 0), job.key
        assert all(len(gres.indexes) in (0, gres.count) for gres in gpus), job.key
    cpus = [node.cpus for node in job.allocation if node.cpus is not None]
    assert sum(cpus) in (0, tres["cpu"]), job.key
    assert job.num_cpus == tres["cpu"], job.key


def check_accounting(directory: Path) -> int:
    """A run is the same in accounting as in the controller's memory; gives how many were compared."""
    helpformat = (directory / "sacct-helpformat.txt").read_text()
    assert "JobIDRaw" in choose_columns(helpformat)
    files = runs_in(directory)
    accounted = {job.key: job for jobs in files.values() for job in jobs}
    compared = 0
    for path in job_documents(directory):
        for detail in details_at(path).values():
            job, other = detail.job, accounted.get(detail.job.key)
            if other is None or not other.partition:
                continue  # slurmdbd knew of its start and not of all else yet (22.05)
            who = (job.user, job.account, job.partition, job.qos, job.nodes, job.num_nodes)
            assert who == (
                other.user,
                other.account,
                other.partition,
                other.qos,
                other.nodes,
                other.num_nodes,
            )
            assert dict(job.tres) == dict(other.tres), job.key
            assert as_stored(job.name) == as_stored(other.name), job.key
            assert (job.array_job_id, job.het_job_id) == (other.array_job_id, other.het_job_id), job.key
            compared += 1
    return compared


def as_stored(text: str) -> str:
    """Return a text as slurmdbd has it: without double quotes, and with no letter that latin-1 does not have."""
    return text.replace('"', "`").encode("cp1252", "replace").decode("cp1252")


def check_scontrol(directory: Path) -> int:
    """Cores, memory and devices of running jobs are those of ``scontrol show job -d``; gives how many."""
    geometry = _geometry(directory)
    compared = 0
    for text in sorted(directory.glob("*.scontrol-show-job-d.txt")):
        shown, moment = shown_jobs(text), text.name.split(".")[0]
        for path in job_documents(directory):
            if path.name.split(".")[0] == moment:
                compared += sum(
                    _agrees(detail.job, shown.get(job_id), geometry)
                    for job_id, detail in details_at(path).items()
                )
    return compared


def _geometry(directory: Path) -> dict[str, tuple[int, int]]:
    """Host → cores a socket, threads a core."""
    return {node["name"]: (node["cores"], node["threads"]) for node in _nodes(directory)}


def _nodes(directory: Path) -> Iterator[dict[str, Any]]:
    for path in node_documents(directory):
        yield from json.loads(path.read_bytes().decode("utf-8", "replace"))["nodes"]


def _agrees(job: Job, shown: Shown | None, geometry: dict[str, tuple[int, int]]) -> bool:
    if shown is None or parse_state(shown.state) is not job.state or not job.state.is_active:
        return False  # it ended between the two commands
    assert job.allocation, job.key
    assert {node.host for node in job.allocation} == shown.cpus.keys()
    assert dict(parse_tres(shown.tres, [])) == dict(job.tres)
    for node in job.allocation:
        assert node.memory_mib == shown.memory[node.host], job.key
        assert node.gres == parse_gres(shown.gres[node.host]), job.key
        assert set(node.cores) == _cores(node, shown, geometry), job.key
    return True


def _cores(node: NodeAllocation, shown: Shown, geometry: dict[str, tuple[int, int]]) -> set[tuple[int, int]]:
    """Cores of Slurm's abstract CPU ids: thread = threads * core + t, core = cores a socket * socket + index."""
    cores, threads = geometry[node.host]
    return {(cpu // threads // cores, cpu // threads % cores) for cpu in shown.cpus[node.host]}


def check(directory: Path) -> dict[str, int]:
    """Hold everything in a directory together; gives how much there was to compare."""
    listed = {job.job_id for job in listed_in(directory)}
    for path in job_documents(directory):
        assert not listed or details_at(path).keys() <= listed
    return {
        "runs": check_documents(directory),
        "accounted": check_accounting(directory),
        "shown": check_scontrol(directory),
        "listed": len(listed),
    }
