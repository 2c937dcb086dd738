from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmsyncd.errors import DecodeError
from slurmsyncd.model import NodeState
from slurmsyncd.slurm.json_documents import read_records
from slurmsyncd.slurm.nodes import read_node, reduce_state
from tests.unit.slurm.captures import CAPTURES

WORDS = {"allocated", "reserved", "idle", "down", "mixed", "unknown"}


def nodes(name: str) -> dict[str, NodeState]:
    records = read_records((CAPTURES / name).read_bytes(), "nodes")
    return {node.host: node for node in (read_node(record, {"n1": 7}) for record in records)}


def test_22_05_has_its_nodes_in_sinfo() -> None:
    """State, CPUs, memory and GPUs of each node."""
    found = nodes("22.05.8/running.sinfo--json")
    assert found.keys() == {"n1", "n2", "n3", "n4"}
    assert found["n1"] == NodeState("n1", "mixed", 24, 24000, 2, 7)
    assert found["n2"] == NodeState("n2", "mixed", 12, 14000, 4, 0)


@pytest.mark.parametrize("version", ["24.11.5", "26.05.5"])
def test_later_releases_have_theirs_in_scontrol(version: str) -> None:
    """The same of 24.11 and 26.05."""
    found = nodes(f"{version}/running.scontrol-show-nodes--json")
    assert found.keys() == {"n1", "n2", "n3", "n4"}
    assert found["n4"] == NodeState("n4", "allocated", 32, 32000, 4, 0)
    assert (found["n1"].state, found["n1"].gpus, found["n1"].jobs) == ("mixed", 2, 7)


@pytest.mark.parametrize(
    ("words", "word"),
    [
        (["IDLE"], "idle"),
        (["idle"], "idle"),
        (["IDLE", "DRAIN"], "down"),
        (["IDLE", "NOT_RESPONDING"], "down"),
        (["IDLE", "MAINTENANCE"], "down"),
        (["IDLE", "RESERVED"], "reserved"),
        (["IDLE", "POWERED_DOWN"], "idle"),
        (["IDLE", "PLANNED"], "idle"),
        (["MIXED", "RESERVED"], "mixed"),
        (["MIXED", "DRAIN"], "mixed"),
        (["ALLOCATED", "DRAIN", "COMPLETING"], "allocated"),
        (["DOWN", "DRAIN"], "down"),
        (["DOWN*"], "down"),
        (["ERROR"], "down"),
        (["UNKNOWN"], "unknown"),
        (["FUTURE"], "unknown"),
        ([], "unknown"),
    ],
)
def test_states_are_reduced_to_the_backends_words(words: list[str], word: str) -> None:
    """Exactly one of six words, and a node that takes no work is not idle."""
    assert reduce_state(words) == word


def test_s13_invalid_utf8_costs_only_its_letters() -> None:
    """A node whose name has a broken letter is read, with a replacement character."""
    node = read_node(msgspec.Raw(b'{"name": "caf\xe9", "state": ["IDLE"]}'), {})
    assert (node.host, node.state) == ("caf\ufffd", "idle")


@given(
    st.dictionaries(
        st.sampled_from(["name", "state", "alloc_cpus", "gres_used", "state_flags"]),
        st.none() | st.integers() | st.text(max_size=9) | st.lists(st.text(max_size=5)),
    )
)
def test_s14_nothing_else_can_happen(record: dict[str, Any]) -> None:
    """Any record is a node in one of the six words or refused."""
    try:
        node = read_node(msgspec.Raw(json.dumps(record).encode()), {})
    except DecodeError:
        return
    assert node.state in WORDS
