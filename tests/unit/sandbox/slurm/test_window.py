"""Which runs sacct returns, as measured on real Slurm: one row of the table for each test."""

from __future__ import annotations

import time

import pytest

from slurmsyncd.sandbox.slurm.workload import request
from tests.unit.sandbox.slurm.lab import T0, Lab

ENDS = "CD,CA,F,TO,NF,OOM,DL,PR,BF,RQ"


@pytest.fixture
def cast(lab: Lab) -> Lab:
    """E ran and ended, R runs on, P is held, B begins later, W waits, X was cancelled while it waited."""
    lab.submit(name="R", duration_s=900)
    lab.submit(name="E", duration_s=3)
    lab.submit(name="P", held=True)
    lab.submit(name="B", begin_in_s=3600)
    lab.submit(name="X", nodes=8, exclusive="node", cancel_after_s=6)
    lab.submit(name="W", nodes=8, exclusive="node")
    lab.pass_(22)
    return lab


def names(lab: Lab, *argv: str) -> str:
    rows = lab.text("sacct", "-a", "-X", "-n", "-P", "-o", "JobName", *argv).split()
    return "".join(sorted(rows))


def at(offset: int) -> str:
    return f"uts{T0 + offset}"


E_ENDED = 4


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (("-S", at(-100), "-E", at(-50)), ""),
        (("-S", at(-100), "-E", at(-50), "-s", "PD,R,CD"), ""),
        (("-S", at(-5), "-E", at(1)), "ERWX"),
        (("-S", at(-5), "-E", at(22)), "ERWX"),
        (("-S", at(16), "-E", at(22)), "RW"),
        (("-S", at(16), "-E", at(22), "-s", "CD"), ""),
        (("-S", at(16), "-E", at(22), "-s", "R"), "R"),
        (("-S", at(16), "-E", at(22), "-s", "PD"), "W"),
        (("-S", at(16), "-E", at(22), "-s", ENDS), ""),
        (("-S", at(-5), "-E", at(22), "-s", "CD"), "E"),
        (("-S", at(-5), "-E", at(22), "-s", "R"), "ER"),
        (("-S", at(-5), "-E", at(22), "-s", "PD"), "ERWX"),
        (("-S", at(-5), "-E", at(22), "-s", "CA"), "X"),
        (("-S", at(-5), "-E", at(22), "-s", ENDS), "EX"),
        (("-s", "CD"), ""),
        (("-s", "R"), "R"),
        (("-s", "PD"), "W"),
        (("-S", at(-5), "-s", "CD"), ""),
        (("-S", at(-5), "-s", "R"), ""),
        (("-S", at(100), "-E", at(200)), "RW"),
        (("-S", at(16)), "RW"),
        (("-j", "1,2,3,4,5,6"), "BEPRWX"),
        (("-j", "1,2,3,4,5,6", "-S", at(16), "-E", at(22)), "BPRW"),
        (("-j", "2", "-S", at(E_ENDED), "-E", at(30)), "E"),
        (("-j", "2", "-S", at(E_ENDED + 1), "-E", at(30)), ""),
        (("-S", at(E_ENDED), "-E", at(30), "-s", "CD"), "E"),
        (("-S", at(E_ENDED + 1), "-E", at(30), "-s", "CD"), ""),
        (("-S", at(-5), "-E", at(E_ENDED), "-s", "CD"), "E"),
        (("-S", at(-5), "-E", at(E_ENDED - 1), "-s", "CD"), ""),
        (("-j", "999999"), ""),
        (("-S", at(-5), "-M", "nope"), ""),
    ],
)
def test_window(cast: Lab, argv: tuple[str, ...], expected: str) -> None:
    """Window, states and ids choose what they chose on 22.05, 24.11 and 26.05."""
    assert names(cast, *argv) == expected


def test_cancelled_while_held(lab: Lab) -> None:
    """A job that never became eligible is in no window, but among the ends of one."""
    lab.submit(name="P", held=True, cancel_after_s=3)
    lab.pass_(5)
    assert names(lab, "-S", at(-5), "-E", at(10)) == ""
    assert names(lab, "-S", at(-5), "-E", at(10), "-s", "CA") == "P"
    row = lab.text("sacct", "-a", "-X", "-n", "-P", "-j", "1", "-o", "State,Submit,Eligible,Start,End")
    assert row == f"CANCELLED by 0|{T0}|Unknown|None|{T0 + 3}\n"


def test_requeued(lab: Lab) -> None:
    """A requeued run is shown only with RQ and -D; without -D there is only the newest run."""
    lab.submit(name="i", duration_s=20, requeue_after_s=5)
    lab.pass_(10)
    ask = (
        "sacct",
        "-a",
        "-X",
        "-n",
        "-P",
        "-o",
        "State,Submit,Start,End,Restarts",
        "-S",
        at(-5),
        "-E",
        at(9),
    )
    requeued = f"REQUEUED|{T0}|{T0 + 1}|{T0 + 6}|0\n"
    assert lab.text(*ask, "-s", ENDS, "-D") == requeued
    assert lab.text(*ask, "-s", ENDS) == ""
    assert lab.text(*ask, "-D", "-j", "1") == requeued + f"PENDING|{T0 + 6}|Unknown|Unknown|1\n"
    lab.pass_(150)
    assert lab.text("sacct", "-aXnP", "-j1", "-oState,Restarts") == "COMPLETED|1\n"


def test_cut_to_the_window(cast: Lab) -> None:
    """-T cuts start and end to the window."""
    row = cast.text("sacct", "-aXnPT", "-S", at(10), "-E", at(15), "-s", "R", "-o", "Start,End")
    assert row == f"{T0 + 10}|{T0 + 15}\n"


@pytest.mark.parametrize(
    ("text", "works"),
    [
        ("uts1795234183", True),
        ("1795234183", False),
        ("uts999999", False),
        ("@1795234183", False),
        ("now-3600", True),
        ("now-1hours", True),
        ("now-60minutes", True),
        ("2026-11-21T04:09:43", True),
        ("2026-11-21T04:09:43Z", False),
        ("2026-11-21T04:09:43+00:00", False),
        ("2026-11-21 04:09:43", True),
        ("11/21-04:09", True),
        ("uts1795234183.5", False),
    ],
)
def test_time_specifications(lab: Lab, text: str, works: bool) -> None:
    """The forms of time that real sacct takes are taken, the others refused in its words."""
    done = lab.run("sacct", "-a", "-X", "-n", "-P", f"--starttime={text}")
    assert (done.returncode == 0) is works
    position = 19 if text.startswith("2026") else 0
    assert done.stderr.decode() == ("" if works else f"Invalid time specification (pos={position}): {text}\n")


def test_time_formats(lab: Lab) -> None:
    """SLURM_TIME_FORMAT is obeyed by all; 22.05 alone ignores a format of one's own."""
    lab.submit(duration_s=3)
    lab.pass_(2)
    ask = ("sacct", "-aXnP", "-j1", "-oSubmit")
    local = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(T0))
    assert lab.text(*ask) == f"{T0}\n"
    assert lab.text(*ask, SLURM_TIME_FORMAT="standard") == local + "\n"
    assert lab.text(*ask, SLURM_TIME_FORMAT="%FT%T%z") == local + "+0000\n"
    assert lab.text("squeue", "-h", "-o", "%V") == f"{T0}\n"
    assert f"SubmitTime={T0} " in lab.text("scontrol", "show", "job", "1")


def test_a_plain_job_is_one_core() -> None:
    """The helper of these tests makes what it says, and no job it was not asked for."""
    assert request()["cores"] == 1
    with pytest.raises(TypeError, match="no colour"):
        request(colour="blue")
