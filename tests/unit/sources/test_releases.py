"""Which questions each release is asked, on commands that print what real ones printed; 23.02 and 24.05 are varied from these."""

from __future__ import annotations

import json
import stat
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from slurmsyncd.config import SlurmConfig
from slurmsyncd.model import JobQuestions
from slurmsyncd.sources.command_source import CommandSource
from tests.unit.slurm.captures import CAPTURES

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

NO_ARGUMENT = "squeue: option '--json' doesn't allow an argument\n"

#: Answers one command from a directory of recorded answers, and notes what it was asked.
COMMAND = """#!{python}
import json, sys
from pathlib import Path

here, name, args = Path({here!r}), Path(sys.argv[0]).name, sys.argv[1:]
facts = json.loads((here / "facts.json").read_text())
with (here / "calls").open("a") as calls:
    calls.write(" ".join([name, *args]) + "\\n")
asked = next((word for word in args if word.startswith("--json")), "")
if args == ["--version"]:
    print("slurm", facts["version"])
elif asked == "--json=list":
    sys.stdout.write(facts["list_stdout"])
    sys.stderr.write(facts["list_stderr"])
    sys.exit(facts["list_exit"])
elif "-o" in args:
    pass  # an empty queue
elif name == "scontrol" and "config" in args:
    print((here / "config").read_text())
elif asked not in ("--json", *(f"--json={{each}}" for each in facts["prints"])):
    sys.exit(facts["other_exit"])
elif name in ("scontrol", "sinfo"):
    print((here / "nodes").read_text())
else:
    document = json.loads((here / "jobs").read_text())
    if facts["filters"] and "-j" in args:
        ids = set(map(int, args[args.index("-j") + 1].split(",")))
        document["jobs"] = [job for job in document["jobs"] if job["job_id"] in ids]
    print(json.dumps(document))
"""


@dataclass(frozen=True)
class Shape:
    """How a release's commands behave; `recorded` is where their answers come from."""

    version: str
    recorded: str
    listed: str = ""
    listed_on_stderr: str = ""
    list_exit: int = 0
    prints: tuple[str, ...] = ()
    other_exit: int = 0
    filters: bool = True


def plugins(*versions: str) -> str:
    return "".join(f"data_parser/{version}\n" for version in versions)


SHAPES = (
    Shape("22.05.8", "22.05.8", listed_on_stderr=NO_ARGUMENT, list_exit=1, other_exit=1, filters=False),
    Shape("23.02.7", "22.05.8", listed_on_stderr=NO_ARGUMENT, list_exit=1, other_exit=1),
    Shape("23.11.11", "23.11.11", listed_on_stderr=plugins("v0.0.39", "v0.0.40"), prints=("v0.0.40",)),
    Shape("24.05.4", "23.11.11", listed_on_stderr=plugins("v0.0.39", "v0.0.41"), prints=("v0.0.41",)),
    Shape("24.11.5", "24.11.5", listed=plugins("v0.0.40", "v0.0.42"), prints=("v0.0.40", "v0.0.42")),
    Shape("25.11.1", "24.11.5", listed=plugins("v0.0.42", "v0.0.44")),  # claims it, and prints nothing
    Shape("26.05.5", "26.05.5", listed=plugins("v0.0.42", "v0.0.45"), prints=("v0.0.42", "v0.0.45")),
)


class Recorded:
    """Commands that answer as one release does, and the source that asks them."""

    def __init__(self, root: Path, shape: Shape) -> None:
        self.root, self.shape = root, shape
        captures = CAPTURES / shape.recorded
        nodes = "running.sinfo--json" if shape.recorded == "22.05.8" else "running.scontrol-show-nodes--json"
        for name, source in (
            ("jobs", "running.squeue--json"),
            ("nodes", nodes),
            ("config", "scontrol-show-config.txt"),
        ):
            (root / name).write_bytes((captures / source).read_bytes())
        facts = {
            "version": shape.version,
            "list_stdout": shape.listed,
            "list_stderr": shape.listed_on_stderr,
            "list_exit": shape.list_exit,
            "prints": shape.prints,
            "other_exit": shape.other_exit,
            "filters": shape.filters,
        }
        (root / "facts.json").write_text(json.dumps(facts))
        for name in ("squeue", "scontrol", "sinfo"):
            command = root / name
            command.write_text(COMMAND.format(python=sys.executable, here=str(root)))
            command.chmod(command.stat().st_mode | stat.S_IXUSR)
        cluster = next(
            line.split("=")[1].strip()
            for line in (root / "config").read_text().splitlines()
            if line.startswith("ClusterName")
        )
        config = SlurmConfig(bin_dir=str(root), command_timeout=20.0, output_limit=16)
        self.source = CommandSource(cluster, config, directory=root)

    def running(self) -> list[int]:
        """Ids of two recorded jobs that run."""
        jobs = json.loads((self.root / "jobs").read_text())["jobs"]
        return [job["job_id"] for job in jobs if "RUNNING" in job["job_state"]][:2]

    def calls(self) -> list[str]:
        """Questions for jobs or nodes since the last call."""
        log = self.root / "calls"
        lines = [line for line in log.read_text().splitlines() if "--json" in line and "=list" not in line]
        log.write_text("")
        return lines


@pytest.fixture(params=SHAPES, ids=lambda shape: shape.version)
def slurm(request: pytest.FixtureRequest, tmp_path: Path) -> Recorded:
    return Recorded(tmp_path, request.param)


async def test_details_are_asked_for_by_id_wherever_squeue_obeys_that(slurm: Recorded) -> None:
    """From 23.02 on a notification costs the record of its own job, not that of the whole queue."""
    wanted, _ = slurm.running()
    found = (await slurm.source.query_jobs(JobQuestions(details=frozenset({wanted})))).details

    assert [job.key.job_id for job in found or ()] == [wanted]
    (first, *_) = slurm.calls()
    assert (f" -j {wanted} " in first) == slurm.shape.filters
    assert (" -j " in first) == slurm.shape.filters


async def test_a_data_version_that_prints_nothing_is_asked_for_once(slurm: Recorded) -> None:
    """The release's own version answers instead, also for the next question."""
    ids = frozenset(slurm.running())
    await slurm.source.query_jobs(JobQuestions(details=ids))
    slurm.calls()
    found = (await slurm.source.query_jobs(JobQuestions(details=ids))).details

    assert {job.key.job_id for job in found or ()} == ids
    asked = slurm.calls()
    assert len(asked) == 1
    pinned = "v0.0.42" in slurm.shape.prints
    assert ("--json=v0.0.42" in asked[0]) == pinned


async def test_what_a_release_does_not_offer_is_no_failure(slurm: Recorded) -> None:
    """An old squeue refuses to list its data versions, which is how it answers; a failure would be Slurm's."""
    await slurm.source.query_jobs(JobQuestions(details=frozenset(slurm.running())))

    assert slurm.source.tally.commands["squeue"].failures == 0


async def test_nodes_that_are_held_in_part_are_mixed(slurm: Recorded) -> None:
    """Also where the JSON calls them ALLOCATED, as 23.02 does."""
    nodes = slurm.root / "nodes"
    nodes.write_text(nodes.read_text().replace('"MIXED"', '"ALLOCATED"').replace('"mixed"', '"allocated"'))
    states = {node.host: node.state for node in await slurm.source.node_states()}

    assert states["n1"] == "mixed"
    assert states["n4"] == "allocated"
