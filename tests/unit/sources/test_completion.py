"""What a job's record lacks is found elsewhere: the name of its user, and what its nodes are."""

from __future__ import annotations

import pwd
from typing import TYPE_CHECKING

import pytest

from slurmsyncd.errors import SourceUnavailable
from slurmsyncd.model import Gres, Job, JobState, NodeAllocation, NodeFacts, RunKey
from slurmsyncd.slurm.controller_jobs import JobDetails
from slurmsyncd.sources.completion import NodeFactsCache, name_users

if TYPE_CHECKING:
    from collections.abc import Iterable

pytestmark = pytest.mark.anyio

ROOT = pwd.getpwuid(0).pw_name
NOBODYS = 4_000_000_001


def detail(job_id: int, user: str = "", user_id: int | None = None) -> JobDetails:
    job = Job(key=RunKey("c", job_id, 100), state=JobState.RUNNING, user=user)
    return JobDetails(job, batch=True, user_id=user_id, skipped_fields=("kept",))


class Accounting:
    """Answers for the jobs that it knows, or not at all."""

    def __init__(self, users: dict[int, str] | None) -> None:
        self.users = users
        self.asked: list[frozenset[int]] = []

    async def __call__(self, ids: frozenset[int]) -> Iterable[Job]:
        self.asked.append(ids)
        if self.users is None:
            raise SourceUnavailable("slurmdbd is down")
        return [detail(job_id, self.users[job_id]).job for job_id in ids if job_id in self.users]


@pytest.mark.parametrize(
    ("users", "user_id", "name"),
    [
        ({1: "ada"}, 0, "ada"),
        ({}, 0, ROOT),
        (None, 0, ROOT),
        ({1: ""}, NOBODYS, str(NOBODYS)),
        (None, NOBODYS, str(NOBODYS)),
        (None, None, ""),
    ],
)
async def test_a_user_without_a_name_gets_the_best_that_is_known(
    users: dict[int, str] | None, user_id: int | None, name: str
) -> None:
    """Accounting's name comes before this host's, and the number stands for a name that nobody knows."""
    (found,) = await name_users([detail(1, user_id=user_id)], Accounting(users))
    assert (found.job.user, found.batch, found.skipped_fields) == (name, True, ("kept",))


async def test_only_runs_without_a_user_cost_a_question() -> None:
    """One question for all of them, none where each has a name."""
    accounting = Accounting({2: "bob", 3: "eve"})
    found = await name_users([detail(1, "ada"), detail(2), detail(3)], accounting)
    assert [each.job.user for each in found] == ["ada", "bob", "eve"]
    assert accounting.asked == [frozenset({2, 3})]
    await name_users([detail(1, "ada")], accounting)
    assert len(accounting.asked) == 1


def run(*hosts: str) -> Job:
    held = tuple(NodeAllocation(host, gres=(Gres("gpu", "a100", 1, (0,)),)) for host in hosts)
    return Job(key=RunKey("c", 1, 100), state=JobState.RUNNING, nodes=hosts, allocation=held)


class Slurm:
    """Names its nodes, or does not answer."""

    def __init__(self, *hosts: str) -> None:
        self.hosts = hosts
        self.asked = 0
        self.down = False

    async def __call__(self) -> dict[str, NodeFacts]:
        self.asked += 1
        if self.down:
            raise SourceUnavailable("slurmctld is down")
        devices = (Gres("gpu", "a100", 4), Gres("shard", None, 8))
        return {host: NodeFacts((4, 4), devices) for host in self.hosts}


async def test_a_run_has_the_shape_of_its_nodes_and_their_devices_of_its_kinds() -> None:
    """They are asked for once, not with each run."""
    slurm = Slurm("n1", "n2")
    nodes = NodeFactsCache(slurm)
    for _ in range(3):
        found = await nodes.complete(run("n1", "n2"))
        assert found.allocation
        assert [node.sockets for node in found.allocation] == [(4, 4), (4, 4)]
        assert [node.devices for node in found.allocation] == [(Gres("gpu", "a100", 4),)] * 2
    assert slurm.asked == 1


async def test_nodes_that_nobody_names_cost_one_question_at_a_time() -> None:
    """The run is reported without their facts, and the next one does not ask at once."""
    slurm = Slurm("n1")
    nodes = NodeFactsCache(slurm)
    for _ in range(3):
        found = await nodes.complete(run("new"))
        assert found.allocation
        assert found.allocation[0].sockets is None
    assert slurm.asked == 1


async def test_a_controller_that_does_not_say_costs_no_run() -> None:
    """What it holds is known all the same."""
    slurm = Slurm()
    slurm.down = True
    assert await NodeFactsCache(slurm).complete(run("n1")) == run("n1")
    gone = Job(key=RunKey("c", 1, 100), state=JobState.RUNNING)
    assert await NodeFactsCache(slurm).complete(gone) == gone
