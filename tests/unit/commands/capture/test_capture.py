from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest

from slurmsyncd.cli import main
from slurmsyncd.sandbox.slurm import SHAPES
from tests.tools.lab.waiting import until
from tests.unit.sandbox.slurm.lab import FULL
from tests.unit.sandbox.slurm.lab import Lab as Simulated
from tests.unit.sandbox.slurm.test_shapes import zoo
from tests.unit.slurm import recorded
from tests.unit.slurm.captures import shown_jobs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.tools.lab import Lab


EVER = "uts1000000000"
HARD_NAME = "geheim\n\tprojekt |pipe \"dq\" 'sq' \x1f Übermut ☃ 4711007\nJobId=1 JobState=FAILED"
SIMULATED = r"(?<![a-z])(?:alice|physics|head|matlab|home|sbatch|two|lines|pipe|Brei)(?![a-z])"


@pytest.fixture(params=SHAPES)
def simulated(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Simulated]:
    lab = Simulated(tmp_path / "sim", request.param)
    zoo(lab)
    lab.submit(name="Brei", comment="JobState=alice Brei=7", duration_s=900, nodes=2, gpus=1)
    lab.pass_(3)
    yield lab
    lab.sim.close()


def capture(where: Path, lab: Simulated, *options: str) -> Path:
    assert main(["fixtures", "capture", str(where), "--bin-dir", str(lab.bin), *options]) == 0
    return where / FULL[lab.shape]


def everything(directory: Path) -> str:
    """What was printed by Slurm, but for what is Slurm's alone."""
    own = ("sacct-helpformat.txt", "sacct-format.txt", "index.tsv", "PROVENANCE.txt", "version.txt")
    paths = [path for path in directory.iterdir() if path.name not in own]
    return "\n".join(path.read_bytes().decode("utf-8", "replace") for path in paths)


def test_a_capture_is_a_test_case(
    simulated: Simulated, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is recorded and anonymised passes what holds for every release, with nothing set aside."""
    found = recorded.check(capture(tmp_path / "out", simulated))
    documents = 1 if simulated.shape == "22.05" else 2
    assert found["runs"] == found["accounted"] == 12 * documents
    assert found["shown"] >= 7 * documents
    assert found["listed"] == 18
    assert "recorded 18 jobs" in capsys.readouterr().out


def test_nobody_is_named(simulated: Simulated, tmp_path: Path) -> None:
    """Users, accounts, licences, hosts, paths and comments are gone from every file; raw they are all there."""
    text = everything(capture(tmp_path / "out", simulated))
    assert re.findall(SIMULATED, text) == []
    assert "a100" in text, "hardware says nothing of anybody"
    raw = everything(capture(tmp_path / "raw", simulated, "--raw"))
    assert len(set(re.findall(SIMULATED, raw))) >= 9


def test_provenance_says_what_was_done(
    simulated: Simulated, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Release, day, whether anonymised; a warning where not; each command with its exit code."""
    plain, raw = capture(tmp_path / "out", simulated), capture(tmp_path / "raw", simulated, "--raw")
    release = FULL[simulated.shape]
    said = (plain / "PROVENANCE.txt").read_text()
    assert f"Slurm {release} on 20" in said
    assert "; anonymised" in said
    assert "NOT anonymised" in (raw / "PROVENANCE.txt").read_text()
    assert "--raw" in capsys.readouterr().err
    lines = [line.split("\t") for line in (plain / "index.tsv").read_text().splitlines()]
    codes = {name: code for name, code, *_ in lines}
    assert codes.pop("squeue-json-list.txt") == ("1" if simulated.shape == "22.05" else "0")
    assert set(codes.values()) == {"0"}
    assert all((plain / name).stat().st_size == int(size.split()[0]) for name, _, _, size, _ in lines)
    assert (plain / "squeue-json-list.txt.err").exists()


def test_shifted_captures_agree_with_themselves(simulated: Simulated, tmp_path: Path) -> None:
    """With --shift no time and no job id is the old one, all distances are, and all files still agree."""
    plain, moved = (
        capture(tmp_path / name, simulated, *options) for name, options in (("a", ()), ("b", ("--shift",)))
    )
    assert recorded.check(moved) == recorded.check(plain)
    before, after = (
        sorted((job.key.job_id, job.key.start_at) for jobs in recorded.runs_in(path).values() for job in jobs)
        for path in (plain, moved)
    )
    assert len({(new[0] - old[0], new[1] - old[1]) for old, new in zip(before, after, strict=True)}) == 1
    assert before[0][0] != after[0][0]
    assert (before[0][1] - after[0][1]) % (7 * 86400) == 0 != before[0][1] - after[0][1]


def test_a_capture_is_bounded(simulated: Simulated, tmp_path: Path) -> None:
    """--jobs keeps so many jobs and nodes, the same ones in every file, running ones among them."""
    directory = capture(tmp_path / "out", simulated, "--jobs", "5")
    found = recorded.check(directory)
    assert found["listed"] == 5
    assert 1 <= found["runs"] <= 10
    assert found["shown"] >= 1
    assert len(shown_jobs(directory / "running.scontrol-show-job-d.txt")) <= 5


def test_a_capture_never_overwrites(
    simulated: Simulated, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A release that is there already is left alone, and nothing half-written stays."""
    before = {path: path.stat().st_mtime_ns for path in capture(tmp_path / "out", simulated).iterdir()}
    assert main(["fixtures", "capture", str(tmp_path / "out"), "--bin-dir", str(simulated.bin)]) == 1
    assert "there already" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*/*")} == before
    assert [path.name for path in (tmp_path / "out").iterdir()] == [FULL[simulated.shape]]


def test_a_silent_slurm_gives_no_capture(simulated: Simulated, tmp_path: Path) -> None:
    """If slurmctld is dead there is nothing to record, and no directory."""
    simulated.fault("ctld", "down:0")
    assert main(["fixtures", "capture", str(tmp_path / "out"), "--bin-dir", str(simulated.bin)]) == 75
    assert not (tmp_path / "out").exists()


def _running(lab: Lab, *ids: int) -> bool:
    """Whether accounting has whole records of three runs, which 22.05 is slow to write."""
    rows = lab.sacct("-S", EVER, "-j", ",".join(map(str, ids)), fields="State,Partition")
    return sum(row["State"] == "RUNNING" and bool(row["Partition"]) for row in rows) == 3


def test_of_a_real_slurm(lab: Lab, tmp_path: Path) -> None:
    """Jobs with hard names on real Slurm are recorded, anonymised in kind, and agree in all files."""
    began = int(time.time())  # what other tests left in this Slurm is none of this one's
    long = lab.sbatch(
        "-N2", "-n4", "--gres=gpu:2", "-J", HARD_NAME, "--comment=vertraulich\n7|x", script="sleep 300"
    )
    other = lab.sbatch("--array=0-1", "-J", "geheimprojekt", script="sleep 300", user="news")
    done = lab.sbatch("-J", "games", script="exit 3")
    state = ("squeue", "-h", "-t", "all", "-j", str(long), "-o", "%T")
    until(lambda: "RUNNING" in lab.run(*state), "start", timeout_s=60)
    until(lambda: _running(lab, long, other), "three runs in accounting", timeout_s=60)
    lab.wait_accounted(done)
    since = str(int(time.time()) - began)
    options = ["--bin-dir", str(lab.bin_dir), "--slurm-conf", lab.env["SLURM_CONF"], "--since", since]
    assert main(["fixtures", "capture", str(tmp_path), *options]) == 0
    (directory,) = tmp_path.iterdir()
    found = recorded.check(directory)
    assert found["runs"] >= 3
    assert found["accounted"] >= 3
    assert found["shown"] >= 3
    names = {job.key.job_id: job.name for jobs in recorded.runs_in(directory).values() for job in jobs}
    assert re.fullmatch(
        "\\w{6}\n\t\\w{7} \\|\\w{4} `\\w\\w` '\\w\\w' \x1f [À-ß]\\w{6} \\? \\d{7}\n\\w{5}=\\d \\w{8}=\\w{6}",
        names[long],
    )
    text = everything(directory)
    secret = (
        rf"games|news|geheim|projekt|Übermut|4711007|vertraulich|{lab.cluster}|{lab.root.name}|{lab.host}\b"
    )
    assert re.findall(secret, text) == []
