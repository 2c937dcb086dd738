"""Selecting deliveries: by sink, state, reason, job, age and id, over the socket and out of the store alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from slurmsyncd.control.client import connect
from slurmsyncd.control.delivery_requests import GroupDeliveries, ListDeliveryIds
from slurmsyncd.control.store_requests import ListDeliveries
from slurmsyncd.model import EventKind
from slurmsyncd.store.queries import DeliveryGroup, DeliverySelection
from tests.unit.store.builders import T0

if TYPE_CHECKING:
    from slurmsyncd.config import Config


@pytest.mark.parametrize(
    ("wanted", "jobs"),
    [
        ({}, [1, 2, 3]),
        ({"state": "dead"}, [3]),
        ({"state": "parked"}, [2]),
        ({"sink": "rest"}, [1, 2, 3]),
        ({"sink": "other"}, []),
        ({"reason": "http_400"}, [3]),
        ({"reason": "http_400", "state": "parked"}, []),
        ({"job_id": 2}, [2]),
        ({"since_before": T0 + 0.5}, [1]),  # the others failed at T0 + 1
        ({"since_before": T0 + 2.0}, [1, 2, 3]),
        ({"ids": (1, 3)}, [1, 3]),
        ({"ids": tuple(range(1, 5000))}, [1, 2, 3]),  # more than SQLite has variables
        ({"reason": "' OR 1 --"}, []),
    ],
)
def test_selections_narrow_down(asked: Config, wanted: dict[str, Any], jobs: list[int]) -> None:
    """All that is given has to hold; nothing given means everything that is not told."""
    selection = DeliverySelection(**wanted)
    with connect(asked) as desk:
        found = desk.ask(ListDeliveries(selection))
        assert [letter.key.job_id for letter in found] == jobs
        assert desk.ask(ListDeliveryIds(selection)) == tuple(letter.id for letter in found)
        assert sum(group.count for group in desk.ask(GroupDeliveries(selection))) == len(jobs)


def test_groups_have_an_example(asked: Config) -> None:
    """Whoever sees the group can look at one of it."""
    with connect(asked) as desk:
        (group,) = desk.ask(GroupDeliveries(DeliverySelection(state="dead")))
        (letter,) = desk.ask(ListDeliveries(DeliverySelection(ids=(group.example,))))
    expected = DeliveryGroup(
        sink="rest",
        state="dead",
        step=EventKind.START,
        reason="http_400",
        count=1,
        oldest_at=T0 + 1,
        newest_at=T0 + 1,
        example=letter.id,
    )
    assert group == expected
    assert (letter.key.job_id, letter.reason) == (3, "http_400")
