"""The oracle itself: an even account is even, and each thing that can be wrong is found."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from slurmsyncd.sandbox.slurm.expected_runs import ExpectedRun
from tests.tools.oracle.proxy import Passed
from tests.tools.oracle.storm import slope_per_min
from tests.tools.oracle.verdict import REPEAT, Evidence, Row, longest_sight_s, settle
from tests.tools.oracle.world import cluster_json

if TYPE_CHECKING:
    from collections.abc import Callable

RUN = ExpectedRun(
    cluster="sim",
    job_id=7,
    start_at=1000,
    end_at=1060,
    state="COMPLETED",
    restarts=0,
    user="alice",
    nodes=("n5",),
    cores=(((0, 0), (1, 0)),),
    gpus=((0,),),
)
AGAIN = replace(RUN, start_at=1100, end_at=1110, restarts=1)


def row(**changes: Any) -> Row:
    """Return the record that RUN should have, with changes."""
    held = {"hostname": "n5", "hwthreads": [0, 16, 8, 24], "accelerators": [gpu(0)]}
    right = {
        "cluster": "sim", "job_id": 7, "start_time": 1000, "duration": 60, "job_state": "completed",
        "hpc_user": "alice", "num_nodes": 1, "num_hwthreads": 4, "num_acc": 1,
        "resources": [held], "meta_data": {},
    }  # fmt: skip
    return right | changes


def gpu(index: int) -> str:
    """Return the id of a GPU."""
    return str(cluster_json()["subClusters"][1]["topology"]["accelerators"][index]["id"])


def sent(step: str, began: float, **body: int) -> Passed:
    """Return a start or stop of RUN that reached the backend."""
    return Passed(began, step, {"jobId": 7, "startTime": 1000, **body}, 200)


def evidence(*rows: Row, **changes: Any) -> Evidence:
    """Return evidence of one run that went well, with changes."""
    passed = [sent("start", 1001.0), sent("stop", 1061.0, stopTime=1060)]
    even = Evidence(
        owed=[RUN], rows=rows, refused={}, passed=passed, blind=[], unmapped=[], sight_s=10.0,
        cluster=cluster_json(),
    )  # fmt: skip
    return replace(even, **changes)


BARE = [{"hostname": "n5"}]
MARKED = {"resourcesIncomplete": "accelerators,hwthreads"}
RACED = [sent("start", 1001.0), replace(sent("stop", 1061.0, stopTime=1060), status=422)]
EVEN: dict[str, Evidence] = {
    "as it was": evidence(row()),
    "refused as a repeat": evidence(row(), owed=[RUN, AGAIN], refused={(7, 1100): REPEAT}),
    "gave way to a later run": evidence(
        row(start_time=1100, duration=10),
        owed=[RUN, AGAIN],
        passed=[sent("start", 1101.0, startTime=1100), sent("stop", 1111.0, startTime=1100, stopTime=1110)],
        replaces=True,
    ),
    "closed by the backend's own race": evidence(row(duration=3), passed=RACED, races=True),
    "never seen": evidence(row(resources=BARE, meta_data=MARKED, num_acc=0), blind=[(1000, 1055)]),
}
UNEVEN: dict[str, tuple[str, Callable[[], Evidence]]] = {
    "missing": ("lost", evidence),
    "refused for nothing": ("lost", lambda: evidence(refused={(7, 1000): REPEAT})),
    "refused otherwise": ("lost", lambda: evidence(row(), owed=[RUN, AGAIN], refused={(7, 1100): "no_user"})),
    "gave way, but nothing may": (
        "lost",
        lambda: evidence(row(start_time=1100, duration=10), owed=[RUN, AGAIN], passed=[]),
    ),
    "gave way to an earlier run": ("lost", lambda: evidence(row(), owed=[RUN, AGAIN], replaces=True)),
    "closed by a race, with other threads": (
        "wrong",
        lambda: evidence(row(duration=3, num_hwthreads=5), passed=RACED, races=True),
    ),
    "closed by a race that cannot be": ("wrong", lambda: evidence(row(duration=3), passed=RACED)),
    "closed by no race, though one may be": (
        "wrong",
        lambda: evidence(row(duration=3), races=True),
    ),
    "twice": ("doubled", lambda: evidence(row(), row())),
    "from nowhere": ("invented", lambda: evidence(row(), row(job_id=8))),
    "never stopped": ("wrong", lambda: evidence(row(job_state="running", duration=0))),
    "another end": ("wrong", lambda: evidence(row(duration=61))),
    "another state": ("wrong", lambda: evidence(row(job_state="failed"))),
    "another user": ("wrong", lambda: evidence(row(hpc_user="bob"))),
    "other threads": (
        "wrong",
        lambda: evidence(row(resources=[{"hostname": "n5", "hwthreads": [0, 1], "accelerators": [gpu(0)]}])),
    ),
    "another GPU": (
        "wrong",
        lambda: evidence(
            row(resources=[{"hostname": "n5", "hwthreads": [0, 8, 16, 24], "accelerators": [gpu(1)]}])
        ),
    ),
    "not marked": ("wrong", lambda: evidence(row(resources=BARE), blind=[(1000, 1060)])),
    "could be seen": ("unseen", lambda: evidence(row(resources=BARE, meta_data=MARKED, num_acc=0))),
    "stopped while it ran": (
        "early",
        lambda: evidence(row(), passed=[sent("start", 1001.0), sent("stop", 1059.0, stopTime=1060)]),
    ),
    "stopped before it started": (
        "order",
        lambda: evidence(row(), passed=[sent("stop", 1061.0, stopTime=1060), sent("start", 1062.0)]),
    ),
}


@pytest.mark.parametrize("name", EVEN)
def test_t1_an_even_account_has_no_findings(name: str) -> None:
    """What is as it was, what the backend's rule keeps out, and what nobody could see is no finding."""
    account = settle(EVEN[name])
    assert account.findings == {}
    assert account.delivered + account.refused + account.replaced == account.owed


@pytest.mark.parametrize("name", UNEVEN)
def test_t1_t14_each_thing_that_is_wrong_is_found(name: str) -> None:
    """One thing wrong is one finding, of its kind."""
    kind, made = UNEVEN[name]
    assert list(settle(made()).findings) == [kind]


@pytest.mark.parametrize(
    ("blind", "seen_s"),
    [
        ([], 60.0),
        ([(900.0, 1010.0)], 50.0),
        ([(1020.0, 1030.0)], 30.0),
        ([(1040.0, 2000.0), (1010.0, 1042.0)], 10.0),
        ([(1000.0, 1060.0)], 0.0),
    ],
)
def test_t1_sight_is_the_longest_time_without_a_break(
    blind: list[tuple[float, float]], seen_s: float
) -> None:
    """A run is seen if it can be looked at for long enough at a stretch, not in sum."""
    assert longest_sight_s(RUN, blind) == seen_s


def test_t11_the_slope_is_that_of_the_line_that_fits_best() -> None:
    """Given for a minute; a course that goes up and down in equal parts has none."""
    assert slope_per_min([(0.0, 100.0), (30.0, 110.0), (60.0, 120.0)]) == pytest.approx(20.0)
    assert slope_per_min([(0.0, 100.0), (30.0, 110.0), (60.0, 100.0)]) == pytest.approx(0.0)
    assert slope_per_min([(0.0, 100.0)]) == 0.0
