"""Whether the user that asks sees everybody's jobs: on commands that answer as real ones do, and on a real Slurm."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
import structlog

from slurmsyncd.config import SlurmConfig
from slurmsyncd.errors import SourceUnavailable
from slurmsyncd.sources.command_source import CommandSource
from slurmsyncd.sources.sight import CHECK_S, Visibility
from tests.tools.lab import until
from tests.tools.lab.lab import USERS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.tools.lab import Lab

pytestmark = pytest.mark.anyio

HIDING, OPEN = "PrivateData             = jobs,usage\n", "PrivateData             = none\n"
NOW = 1_800_000_000.0


@dataclass
class Said:
    text: str


@dataclass
class Commands:
    """Answers what the judgement asks for; counts the commands."""

    role: str = "None"
    slurm_conf: str = OPEN
    slurmdbd_conf: str = OPEN
    cpus: str = "0/64/0/64"
    slurmdbd_is_down: bool = False
    calls: list[str] = field(default_factory=list)

    async def run(self, name: str, *arguments: str) -> Said:
        self.calls.append(name)
        if name == "sacctmgr" and self.slurmdbd_is_down:
            raise SourceUnavailable("slurmdbd is down")
        if name == "sinfo":
            return Said(f"{self.cpus}\n")
        if name == "scontrol":
            return Said(f"{self.slurm_conf}SlurmUser               = slurm(64030)\n")
        if "configuration" in arguments:
            return Said(f"{HIDING}SlurmDBD configuration:\n{self.slurmdbd_conf}")
        return Said(f"{self.role}\n")


@dataclass
class Clock:
    at: float = 1000.0

    def __call__(self) -> float:
        return self.at


def sight(commands: Commands, clock: Clock, user: str = "slurmsyncd") -> Visibility:
    return Visibility("c", commands, user, monotonic=clock, now=lambda: NOW + clock.at)  # type: ignore[arg-type]


async def test_a_role_that_is_taken_away_is_noticed_at_the_next_empty_list() -> None:
    """The user and the command to run are named once; given back, the next answers are believed again."""
    commands, clock = Commands(role="Operator", slurm_conf=HIDING, slurmdbd_conf=HIDING), Clock()
    seen = sight(commands, clock)
    assert await seen.check(empty=False) is None
    since = NOW + clock.at
    clock.at += 120
    commands.role, commands.cpus = "None", "12/52/0/64"
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            clock.at += 60
            blind = await seen.check(empty=True)
            assert blind
            assert (blind.listing, blind.accounting) == (True, True)
            assert "slurmsyncd is no operator" in blind.reason
            assert blind.remedy == "sacctmgr -i modify user slurmsyncd set adminlevel=operator"
            assert seen.doubted_from == since
        commands.role = "Operator"
        clock.at += 60
        await seen.check(empty=True)
        clock.at += 60
        assert await seen.check(empty=False) is None
    assert [line["event"] for line in logs if line["event"] != "source_blind"] == ["source_sees_again"]
    assert logs[0]["remedy"].startswith("sacctmgr -i modify user slurmsyncd")


@pytest.mark.parametrize(
    ("slurm_conf", "slurmdbd_conf", "listing", "accounting"),
    [(HIDING, OPEN, True, False), (OPEN, HIDING, False, True), (HIDING, HIDING, True, True)],
)
async def test_each_file_hides_its_own_half(
    slurm_conf: str, slurmdbd_conf: str, listing: bool, accounting: bool
) -> None:
    """slurm.conf's PrivateData hides jobs from squeue, slurmdbd.conf's from sacct; the other half counts."""
    commands = Commands(role="", slurm_conf=slurm_conf, slurmdbd_conf=slurmdbd_conf)
    blind = await sight(commands, Clock()).check(empty=False)
    assert blind
    assert (blind.listing, blind.accounting) == (listing, accounting)
    assert blind.remedy.startswith("sacctmgr -i add user slurmsyncd account=root; ")


@pytest.mark.parametrize(
    ("user", "role"), [("root", ""), ("slurm", ""), ("x", "Administrator"), ("x", "Operator")]
)
async def test_who_sees_everything_is_never_blind(user: str, role: str) -> None:
    """root and SlurmUser see all jobs whatever hides them, and so do operators."""
    commands = Commands(role=role, slurm_conf=HIDING, slurmdbd_conf=HIDING)
    seen = sight(commands, Clock(), user)
    assert await seen.check(empty=False) is None
    assert await seen.check(empty=True) is None


async def test_without_a_known_cause_two_contradictions_in_succession_are_blindness() -> None:
    """One may be a job that started in between: it is not believed and not reported."""
    commands, clock = Commands(), Clock()
    seen = sight(commands, clock)
    await seen.check(empty=False)
    commands.cpus = "1/63/0/64"
    assert await seen.check(empty=True)
    assert seen.blind is None
    assert await seen.check(empty=True)
    assert seen.blind
    assert "1 CPUs are allocated" in seen.blind.reason
    commands.cpus = "0/64/0/64"
    assert await seen.check(empty=True) is None
    assert seen.blind is None


async def test_while_all_is_well_it_costs_one_command_an_hour() -> None:
    """Three at first; with jobs or without, and also while slurmdbd is down for long."""
    commands, clock = Commands(), Clock()
    seen = sight(commands, clock)
    for _ in range(10 * 60):
        await seen.check(empty=False)
        clock.at += CHECK_S / 60
    assert len(commands.calls) <= 3 + 10
    commands.calls.clear()
    for _ in range(10 * 60):
        await seen.check(empty=True)
        clock.at += CHECK_S / 60
    assert commands.calls.count("sinfo") <= 10
    assert len(commands.calls) <= 20
    down = Commands(slurmdbd_is_down=True)
    seen = sight(down, clock)
    for _ in range(60):
        await seen.check(empty=False)
        clock.at += 60
    assert len(down.calls) <= 3 * 13


def as_user(lab: Lab, directory: Path, user: str) -> Path:
    """Have Slurm's commands run as another user, as the daemon's service does."""
    for name in ("squeue", "sacct", "scontrol", "sinfo", "sacctmgr"):
        command = directory / name
        run = " ".join(lab.place.outside(f"/usr/bin/{name}", user=user))
        # The source limits the output of its commands from outside, which it cannot of another user's.
        limited = 'until test "$(ulimit -f)" != unlimited; do :; done'
        command.write_text(f'#!/bin/sh\n{limited}\nPATH="$PATH:/usr/sbin:/sbin"\nexec {run} "$@"\n')
        command.chmod(command.stat().st_mode | stat.S_IXUSR)
    return directory


async def test_s19_on_a_real_slurm_the_role_decides_what_is_believed(lab: Lab, tmp_path: Path) -> None:
    """Hidden jobs are neither listed nor concluded from; once the role is given they are there."""
    user = USERS[1]
    job_id = lab.sbatch(script="sleep 300")
    lab.wait(job_id, "RUNNING")
    source = CommandSource(
        lab.cluster,
        SlurmConfig(bin_dir=str(as_user(lab, tmp_path, user)), command_timeout=20.0),
        slurm_conf=lab.env["SLURM_CONF"],
        user=user,
        directory=tmp_path,
    )

    async def listed() -> set[int] | None:
        seen = await source.poll(int(NOW - 1e8), int(NOW - 1e8) + 1)
        return None if seen.job_list is None else {job.job_id for job in seen.job_list}

    assert job_id in (await listed() or ())
    lab.configure(PrivateData="jobs")
    try:
        until(lambda: not lab.run("squeue", "-h", "-a", user=user), "hidden jobs", timeout_s=30)
        assert await listed() is None
        assert source.blind
        assert f"modify user {user} set adminlevel=operator" in source.blind.remedy
        lab.sacctmgr("modify", "user", user, "set", "adminlevel=operator")
        until(lambda: lab.run("squeue", "-h", "-a", user=user), "jobs shown again", timeout_s=30)
        await source.poll(int(NOW - 1e8), int(NOW - 1e8) + 1)
        assert job_id in (await listed() or ())
        assert source.blind is None
    finally:
        lab.settings.pop("PrivateData")
        lab.configure()
        lab.sacctmgr("modify", "user", user, "set", "adminlevel=none")
