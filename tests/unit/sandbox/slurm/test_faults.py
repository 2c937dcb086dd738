"""The commands misbehave on demand."""

from __future__ import annotations

import json
import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from slurmsyncd.sandbox.slurm import COMMANDS, SHAPES, faults, install
from slurmsyncd.sandbox.slurm.__main__ import main
from tests.unit.sandbox.slurm.lab import T0, Lab

if TYPE_CHECKING:
    from collections.abc import Callable

ASK = {
    "squeue": ("squeue", "-h", "-o", "%A"),
    "sacct": ("sacct", "-aXnP", "-S", f"uts{T0}"),
    "scontrol": ("scontrol", "show", "job", "1"),
    "sinfo": ("sinfo",),
    "sacctmgr": ("sacctmgr", "-nP", "list", "clusters"),
}


@pytest.fixture
def busy(lab: Lab) -> Lab:
    for _ in range(5):
        lab.submit(duration_s=900)
    lab.pass_(2)
    return lab


@pytest.mark.parametrize("command", COMMANDS)
def test_empty(busy: Lab, command: str) -> None:
    """S8: exit 0 and nothing printed."""
    busy.fault("empty", command=command)
    done = busy.run(*ASK[command])
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_only_one_command(busy: Lab) -> None:
    """A fault can be one command's alone."""
    busy.fault("empty", command="sacct")
    assert busy.text(*ASK["squeue"])


def test_garbage(busy: Lab) -> None:
    """S8: bytes that mean nothing, exit 0."""
    busy.fault("garbage")
    done = busy.run("squeue", "--json")
    assert done.returncode == 0
    with pytest.raises(ValueError, match=r"codec|JSON|Expecting"):
        json.loads(done.stdout)


def test_truncated(busy: Lab) -> None:
    """S7: the output ends in the middle, exit 0."""
    whole = busy.run("squeue", "--json").stdout
    busy.fault("truncated", "1000")
    done = busy.run("squeue", "--json")
    assert (done.returncode, done.stdout) == (0, whole[:1000])


def test_endless(busy: Lab) -> None:
    """S9: output without end, until the reader has enough."""
    busy.fault("endless")
    path = os.fspath(busy.bin / "squeue")
    with subprocess.Popen([path, "-h"], stdout=subprocess.PIPE, env={}) as process:
        assert process.stdout is not None
        assert len(process.stdout.read(20_000_000)) == 20_000_000
        process.stdout.close()
        assert process.wait(30) == 141


def test_slow(busy: Lab) -> None:
    """S6: the answer comes, but late."""
    busy.fault("slow", "0.3")
    began = time.monotonic()
    assert busy.text(*ASK["squeue"])
    assert time.monotonic() - began >= 0.3


def test_grandchild(busy: Lab) -> None:
    """S5: the command is over, but somebody still holds its pipe."""
    busy.fault("grandchild", "30")
    path = os.fspath(busy.bin / "squeue")
    with subprocess.Popen([path, "-h"], stdout=subprocess.PIPE, env={}, start_new_session=True) as process:
        assert process.wait(30) == 0
        os.killpg(process.pid, 0)  # somebody of the group is alive
        os.killpg(process.pid, 9)


def test_warning(busy: Lab) -> None:
    """S11: words on stderr, while the answer is right and the status 0."""
    busy.fault("stderr", "something is odd")
    done = busy.run(*ASK["squeue"])
    assert (done.returncode, done.stderr) == (0, b"squeue: error: something is odd\n")
    assert done.stdout.split() == [b"1", b"2", b"3", b"4", b"5"]


@pytest.mark.parametrize("shape", SHAPES)
def test_poison(shape: str, make_lab: Callable[..., Lab]) -> None:
    """S13 S14 S16: one record is unreadable in a way of its own, all others are as they were."""
    lab = make_lab(shape)
    lab.submit(duration_s=900)
    lab.submit(duration_s=900)
    lab.pass_(2)
    before = json.loads(lab.run("squeue", "--json").stdout)["jobs"]
    lab.fault("poison", "types:1")
    bad, good = json.loads(lab.run("squeue", "--json").stdout)["jobs"]
    assert (bad["start_time"], bad["cpus"], good) == ("soon", [], before[1])
    lab.fault("poison", "utf8:1")
    out = lab.run("squeue", "-h", "-o", "%j")
    assert out.stdout == b"bad\xff\xfename\njob\n"
    assert b'"bad\xff\xfename"' in lab.run("sacct", "-aX", "--json", "-S", f"uts{T0}").stdout
    lab.fault("poison", "state:1")
    assert lab.text("squeue", "-h", "-o", "%T") == "TELEPORTED\nRUNNING\n"
    assert lab.text("sacct", "-aXnP", "-S", f"uts{T0}", "-oState") == "TELEPORTED\nRUNNING\n"


@pytest.mark.parametrize("shape", SHAPES)
def test_controller(shape: str, make_lab: Callable[..., Lab]) -> None:
    """S1: without slurmctld text commands fail in its words; sacct works, and no longer knows the host."""
    lab = make_lab(shape)
    lab.submit(duration_s=900)
    lab.pass_(2)
    lab.fault("ctld", "down:0")
    refused = b"Unable to contact slurm controller (connect failure)\n"
    for argv in (("squeue", "-h"), ("scontrol", "show", "job", "1"), ("scontrol", "show", "config")):
        done = lab.run(*argv)
        assert (done.returncode, done.stdout) == (1, b"")
        assert done.stderr.endswith(refused)
    script = lab.run("scontrol", "write", "batch_script", "1", "-")
    assert (script.returncode, script.stdout) == (0, b"")
    ping = lab.run("scontrol", "ping")
    assert (ping.returncode, ping.stdout.splitlines()[0]) == (1, b"Slurmctld(primary) at head is DOWN")
    assert lab.text(*ASK["sacct"])
    assert lab.text(*ASK["sacctmgr"]).startswith("sim||0|")
    lab.fault("ctld", "frozen:0")
    assert (
        lab.run("squeue", "-h").stderr == b"slurm_load_jobs error: Socket timed out on send/recv operation\n"
    )


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("dbd", "down:0", "Connection refused"),
        ("dbd", "frozen:0", "Resource temporarily unavailable"),
        ("db", "down:0", "Unable to connect to database"),
        ("munge", "down:0", "Protocol authentication error"),
    ],
)
def test_accounting(busy: Lab, name: str, value: str, words: str) -> None:
    """S1: without slurmdbd, its database or munged sacct fails in its words."""
    busy.fault(name, value)
    done = busy.run(*ASK["sacct"])
    assert (done.returncode, done.stdout) == (1, b"")
    assert words in done.stderr.decode().splitlines()[-1]
    assert (busy.run(*ASK["squeue"]).returncode == 0) is (name != "munge")


def test_frozen_hangs_as_long_as_measured(busy: Lab) -> None:
    """S4: without a time of its own, a frozen controller keeps a command waiting for its ten seconds."""
    busy.fault("ctld", "frozen")
    with pytest.raises(subprocess.TimeoutExpired):
        busy.run("squeue", "-h", timeout=1.0)


def test_late_rows(lab: Lab) -> None:
    """Z6: slurmdbd learns of everything only later; slurmctld knows at once."""
    lab.fault("late", "30")
    lab.submit(duration_s=5)
    states = []
    for _ in range(45):
        lab.pass_(1)
        states.append(lab.text("sacct", "-aXnP", "-S", f"uts{T0}", "-oState").strip())
    assert list(dict.fromkeys(states)) == ["", "PENDING", "RUNNING", "COMPLETED"]
    ended = f"uts{T0}", "-E", f"uts{T0 + 10}", "-s", "CD"
    assert lab.text("sacct", "-aXnP", "-oState", "-S", *ended) == "COMPLETED\n"


def test_version_that_prints_nothing(busy: Lab) -> None:
    """S8: a data version is offered, and yet nothing is printed for it."""
    busy.fault("mute", "v0.0.42")
    assert busy.run("squeue", "--json=v0.0.42").stdout == b""
    assert busy.json("squeue", "--json=v0.0.41")["jobs"]


def test_set_and_cleared(busy: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """Faults are put in force, listed and ended from the command line."""
    state = str(busy.state)
    assert main(["fault", state, "empty", "--command", "sacct"]) == 0
    assert main(["fault", state, "ctld", "down:0"]) == 0
    assert faults.list_faults(busy.state) == [("ctld", "", "down:0"), ("empty", "sacct", "")]
    assert main(["fault", state, "ctld", "--clear"]) == 0
    assert main(["fault", state]) == 0
    assert capsys.readouterr().out == "empty  sacct\n"
    assert main(["fault", state, "--clear"]) == 0
    assert faults.list_faults(busy.state) == []
    assert main(["fault", state, "nonsense"]) == 2
    assert main(["fault", state, "ctld", "sideways"]) == 2
    assert "sideways" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("sacct", "-X", "-o", "NoSuchField"), 'sacct: error: Invalid field requested: "NoSuchField"\n'),
        (("sacct", "--nonsense"), "sacct: unrecognized option '--nonsense'\n"),
        (("squeue", "-j", "999999"), "slurm_load_jobs error: Invalid job id specified\n"),
        (("squeue", "--json", "-j", "999999"), "slurm_load_jobs error: Invalid job id specified\n"),
        (("sacct", "-S", "yesterday-ish"), "Invalid time specification (pos=0): yesterday-ish\n"),
        (("sacct", "-s", "XX"), "sacct: fatal: unrecognized job state value: XX\n"),
        (("scontrol", "dance"), "invalid keyword: dance\n"),
        (("squeue", "-M", "nope"), "squeue: error: No cluster 'nope' known by database.\n"),
        (("scontrol", "--clusters=nope", "show", "job"), "scontrol: error: No cluster 'nope' known"),
    ],
)
def test_refusals(busy: Lab, argv: tuple[str, ...], words: str) -> None:
    """What real commands refuse is refused in their words, exit 1 and nothing on stdout."""
    done = busy.run(*argv)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode().startswith(words)


def test_old_release_refuses_json(make_lab: Callable[..., Lab]) -> None:
    """22.05 has no scontrol --json and no --json=VERSION, and its squeue ignores every filter."""
    lab = make_lab("22.05")
    lab.submit(duration_s=2)
    lab.pass_(9)
    done = lab.run("scontrol", "show", "job", "--json")
    assert (done.returncode, done.stderr.splitlines()[0]) == (1, b"scontrol: unrecognized option '--json'")
    assert lab.run("squeue", "--json=v0.0.42").returncode == 1
    assert len(lab.json("squeue", "--json", "-j", "999999", "-t", "R")["jobs"]) == 1


def test_banner(busy: Lab) -> None:
    """S8: a line before the answer."""
    busy.fault("banner", "hello")
    assert busy.text(*ASK["squeue"]).splitlines()[:2] == ["hello", "1"]


def test_vanished_and_doubled(busy: Lab) -> None:
    """S20 S27: a job that nobody knows of any more, and one that is there twice."""
    busy.fault("vanish", "2")
    busy.fault("double", "4")
    for command in ("squeue", "sacct"):
        argv = (*ASK[command], *(("-oJobIDRaw",) if command == "sacct" else ()))
        assert busy.text(*argv).split() == ["1", "3", "4", "4", "5"]


def test_upgrade_while_running(busy: Lab) -> None:
    """S17: the commands can be replaced by those of another release; the jobs stay."""
    install(busy.bin, busy.state, "26.05")
    assert busy.text("squeue", "--version") == "slurm-wlm 26.05.5\n"
    assert len(busy.json("squeue", "--json")["jobs"]) == 5


def test_unknown_node(busy: Lab) -> None:
    """A node that does not exist is not found, exit 1; a known one is shown with what is in use."""
    done = busy.run("scontrol", "show", "node", "nope")
    assert (done.returncode, done.stdout) == (1, b"Node nope not found\n")
    assert "CPUAlloc=10 CPUEfctv=32" in busy.text("scontrol", "show", "node", "n1")
