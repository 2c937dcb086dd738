"""The simulated commands print what the captures show: key by key, type by type, for each release."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from slurmsyncd.sandbox.slurm import SHAPES
from slurmsyncd.sandbox.slurm.workload import Submission, request
from tests.paths import ROOT
from tests.unit.sandbox.slurm.lab import FULL, Lab

if TYPE_CHECKING:
    from collections.abc import Callable

MODERN = ("24.11", "26.05")
HERE = Path(__file__).parent / "data"
COMMON = ROOT / "tests" / "data" / "slurm"

Paths = dict[str, set[str]]


def paths(value: Any, at: str = "", found: Paths | None = None) -> Paths:
    """Return every path in a JSON value → the types found there; numbered keys and list items are one."""
    found = {} if found is None else found
    found.setdefault(at, set()).add(type(value).__name__)
    if isinstance(value, dict):
        for key, inner in value.items():
            paths(inner, f"{at}.{'#' if key.isdecimal() else key}", found)
    if isinstance(value, list):
        for inner in value:
            paths(inner, at + "[]", found)
    return found


def captured(shape: str, *names: str) -> Paths:
    found: Paths = {}
    for name in names:
        for folder in (HERE, COMMON):
            file = folder / FULL[shape] / name
            if file.exists():
                paths(json.loads(file.read_text("utf-8")), "", found)
    assert found, names
    return found


def compare(ours: Paths, theirs: Paths, shape: str) -> None:
    """Equal keys; each type of ours was seen there; what only troubled Slurm prints is left out."""
    known = {path: kinds | ({"int"} if "float" in kinds else set()) for path, kinds in theirs.items()}
    assert ours.keys() - known.keys() == set(), f"{shape}: keys that Slurm does not have"
    assert known.keys() - ours.keys() == set(), f"{shape}: keys that are missing"
    assert {path: kinds - known[path] for path, kinds in ours.items() if kinds - known[path]} == {}


def zoo(lab: Lab) -> None:
    """Fill a lab with a job of every kind, in every state that was captured."""
    lab.submit(nodes=2, cores=2, more=1, gpus=2, gpu_type="a100", duration_s=900, licenses="matlab:2")
    lab.submit(nodes=2, gpus=1, gpu_type="a100", duration_s=3)
    lab.submit(tasks=5, limit=2, duration_s=900)
    lab.sim.submit(Submission((request(duration_s=900), request(duration_s=900, nodes=2))), lab.now)
    lab.submit(outcome="FAILED", exit_code=3, duration_s=3)
    lab.submit(outcome="OUT_OF_MEMORY", signal=9, duration_s=3)
    lab.submit(outcome="NODE_FAIL", duration_s=3)
    lab.submit(duration_s=900, suspend_after_s=2, suspend_for_s=900)
    lab.submit(duration_s=900, requeue_after_s=4)
    lab.submit(held=True)
    lab.submit(begin_in_s=3600)
    lab.submit(begin_in_s=3600, cancel_after_s=3)
    lab.submit(
        exclusive="node", duration_s=900, name="sp ace |pipe ünï \"dq\" 'sq' \\bs", comment="two\nlines"
    )
    lab.pass_(10)
    lab.submit(exclusive="node", nodes=8)
    lab.sim.tick(lab.now)


@pytest.fixture(params=SHAPES)
def full(request: pytest.FixtureRequest, make_lab: Callable[..., Lab]) -> Lab:
    lab = make_lab(request.param)
    zoo(lab)
    return lab


def test_controllers_jobs(full: Lab) -> None:
    """squeue --json prints the keys and types of the release."""
    theirs = captured(full.shape, "running.squeue--json", "ended-in-memory.squeue--t-all--json")
    ours = paths(full.json("squeue", "--json", "-a", "-t", "all"))
    compare(ours, theirs, full.shape)


@pytest.mark.parametrize("shape", MODERN)
def test_scontrols_jobs(shape: str, make_lab: Callable[..., Lab]) -> None:
    """Scontrol show job --json prints the same records as squeue, for a single job too."""
    lab = make_lab(shape)
    zoo(lab)
    theirs = captured(shape, "after-actions.scontrol-show-job--json")
    compare(paths(lab.json("scontrol", "show", "job", "--json")), theirs, shape)
    one = lab.json("scontrol", "show", "job", "1", "--json")
    assert [job["job_id"] for job in one["jobs"]] == [1]
    assert one["last_update"]["number"] == 0, "as captured: it is 0 whenever one id is asked for"


def test_accounting(full: Lab) -> None:
    """Sacct --json prints the keys and types of the release."""
    theirs = captured(full.shape, "running.sacct-X--json", "ended.sacct-duplicates--json")
    ours = paths(full.json("sacct", "-a", "-X", "-D", "--json", "-S", "uts1799990000"))
    compare(ours, theirs, full.shape)


def test_nodes(full: Lab) -> None:
    """Nodes are printed by sinfo in 22.05 and by scontrol later, with the keys and types of the release."""
    if full.shape == "22.05":
        theirs = captured("22.05", "running.sinfo--json")
        ours = paths(full.json("sinfo", "--json"))
        ours.setdefault(".nodes[].state_flags[]", {"str"})  # a reservation is not simulated
    else:
        theirs = captured(full.shape, "running.scontrol-show-nodes--json")
        ours = paths(full.json("scontrol", "show", "nodes", "--json"))
    compare(ours, theirs, full.shape)


@pytest.mark.parametrize("shape", MODERN)
def test_groups_of_nodes(shape: str, make_lab: Callable[..., Lab]) -> None:
    """Sinfo --json groups like nodes from 24.11 on."""
    lab = make_lab(shape)
    zoo(lab)
    compare(paths(lab.json("sinfo", "--json")), captured(shape, "running.sinfo--json"), shape)


def test_dead_controller(full: Lab) -> None:
    """S2: with slurmctld dead, JSON looks as captured: 22.05 fills errors[], scontrol says nothing."""
    full.fault("ctld", "down:0")
    if full.shape == "22.05":
        for command, name in (("squeue", "ctld-down.squeue--json"), ("sinfo", "ctld-down.sinfo--json")):
            compare(paths(full.json(command, "--json")), captured("22.05", name), "22.05")
        return
    done = full.run("squeue", "--json")
    assert (done.returncode, done.stdout) == (1, b"")
    theirs = (COMMON / FULL[full.shape] / "ctld-down.squeue--json.err").read_bytes()
    assert done.stderr == theirs
    empty = full.json("scontrol", "show", "job", "--json")
    assert (empty["jobs"], empty["errors"], empty["last_update"]["number"]) == ([], [], 0)


def test_accounting_text_has_the_captured_columns(full: Lab) -> None:
    """Every column of the captured sacct text can be asked for; finished jobs fill those that real ones fill."""
    folder = COMMON / FULL[full.shape]
    fields = (folder / "sacct-format.txt").read_text().strip().split(",")
    ask = ("sacct", "-a", "-X", "-D", "-P", "-n", "--noconvert", "--delimiter=\x1f", "-S", "uts1799990000")
    ours = full.text(*ask, "-s", "CD", "-E", "now", "-o", ",".join(fields)).splitlines()
    real = (folder / "ended.sacct-X-D-p2-epoch").read_text("utf-8").splitlines()
    whole = [row.split("\x1f") for row in real if row.count("\x1f") == len(fields) - 1 and "COMPLETED" in row]
    always = {field for at, field in enumerate(fields) if all(row[at] for row in whole)}
    row = dict(zip(fields, ours[0].split("\x1f"), strict=True))
    assert {field for field in always if not row[field]} <= {"Planned", "PlannedCPURaw"}


def test_listed_versions(full: Lab) -> None:
    """--json=list and --json=VERSION are offered from 24.11 on; v0.0.42 is printed with 24.11's keys."""
    listed = full.run("squeue", "--json=list")
    folder = COMMON / FULL[full.shape]
    assert listed.stderr == (folder / "squeue-json-list.txt.err").read_bytes()
    if full.shape == "22.05":
        assert listed.returncode == 1
        return
    assert listed.stdout == (folder / "squeue-json-list.txt").read_bytes()
    theirs = captured("24.11", "running.squeue--json", "ended-in-memory.squeue--t-all--json")
    pinned = full.json("squeue", "--json=v0.0.42", "-a", "-t", "all")
    compare(paths(pinned), theirs, full.shape)
    assert pinned["meta"]["slurm"]["release"] == FULL[full.shape]
    assert full.run("squeue", "--json=v0.0.99").returncode == 1
