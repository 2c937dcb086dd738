from __future__ import annotations

import json
from typing import Any

import pytest

from slurmsyncd.errors import DecodeError
from slurmsyncd.model import NodeAllocation
from slurmsyncd.slurm.allocation import Allocation, read_allocation


def read(value: Any) -> Allocation | None:
    return read_allocation(json.dumps(value).encode())


def number(value: int) -> dict[str, Any]:
    return {"set": True, "infinite": False, "number": value}


CORE_LIST = [{"index": 0, "status": ["UNALLOCATED"]}, {"index": 3, "status": ["ALLOCATED", "IN_USE"]}]
EXPECTED = (NodeAllocation("n1", ((0, 3), (1, 0)), 4, 2000),)


@pytest.mark.parametrize(
    "value",
    [
        # 22.05
        {
            "nodes": "n1",
            "allocated_nodes": [
                {
                    "nodename": "n1",
                    "sockets": {
                        "1": {"cores": {"0": "allocated"}},
                        "0": {"cores": {"3": "allocated_and_in_use"}},
                    },
                    "cpus_used": 4,
                    "memory_allocated": 2000,
                }
            ],
        },
        # between: the same with nodes by number and numbers as objects
        {
            "nodes": "n1",
            "allocated_nodes": {
                "0": {
                    "nodename": "n1",
                    "sockets": {
                        "0": {"cores": {"3": ["ALLOCATED"]}},
                        "1": {"cores": {"0": "allocated", "1": ""}},
                    },
                    "cpus_used": number(4),
                    "memory_allocated": number(2000),
                }
            },
        },
        # 24.11 and later
        {
            "nodes": {
                "list": "n1",
                "allocation": [
                    {
                        "name": "n1",
                        "cpus": {"count": 4, "used": 0},
                        "memory": {"used": 0, "allocated": 2000},
                        "sockets": [
                            {"index": 0, "cores": CORE_LIST},
                            {"index": 1, "cores": [{"index": 0, "status": "ALLOCATED"}]},
                        ],
                    }
                ],
            },
        },
        {
            "nodes": {
                "allocation": [
                    {
                        "name": "n1",
                        "cpus": {"count": number(4)},
                        "memory": {"allocated": number(2000)},
                        "sockets": {"0": {"cores": CORE_LIST}, "1": {"cores": {"0": ["allocated"]}}},
                    }
                ],
            },
        },
    ],
    ids=["22.05", "objects", "24.11", "mixed"],
)
def test_every_shape_says_the_same(value: Any) -> None:
    """The shape is seen from the record: dictionaries or lists, plain numbers or objects."""
    found = read(value)
    assert found
    assert found.nodes == EXPECTED


@pytest.mark.parametrize(
    "value", [None, {}, {"nodes": ""}, {"nodes": {}}, {"nodes": "n1", "allocated_nodes": []}]
)
def test_a_job_that_holds_nothing_has_no_allocation(value: Any) -> None:
    """Waiting and forgotten jobs."""
    assert read(value) is None


def test_whole_nodes_and_threads() -> None:
    """What 24.11 adds."""
    found = read({"nodes": {"allocation": [{"name": "n1"}], "whole": True}, "threads_per_core": number(1)})
    assert found
    assert (found.whole, found.threads_per_core) == (True, 1)


@pytest.mark.parametrize(
    "node",
    [
        {},
        {"name": "n1", "sockets": {"x": {"cores": {"0": "allocated"}}}},
        {"name": "n1", "sockets": {"0": {"cores": {"y": "allocated"}}}},
        {"name": "n1", "sockets": [{"cores": [{"index": 0, "status": ["ALLOCATED"]}]}]},
        {"name": "n1", "sockets": [{"index": 0, "cores": [{"status": ["ALLOCATED"]}]}]},
        {"name": "n1", "sockets": [{"index": 0, "cores": [{"index": -1, "status": ["ALLOCATED"]}]}]},
        {"name": 7},
        7,
    ],
    ids=str,
)
def test_s14_what_is_not_understood_is_refused(node: Any) -> None:
    """No core is guessed."""
    with pytest.raises(DecodeError):
        read({"nodes": {"allocation": [node]}})
