"""What the backend says of its clusters."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmsyncd.model import Gres
from slurmsyncd.sinks.topology import (
    NotKnown,
    SubCluster,
    Topology,
    accelerator_ids,
    core_numbers,
    find_sub_cluster,
    hwthreads_of,
    parse_term,
    parse_topology,
)
from tests.unit.sinks.parts import CLUSTERS


def parsed(content: Any = CLUSTERS) -> Topology:
    found = parse_topology(json.dumps(content).encode())
    assert isinstance(found, Topology)
    return found


def one_cluster(*subs: Any) -> Any:
    return {"clusters": [{"name": "demo", "subClusters": list(subs)}]}


def place(host: str, topology: Topology, cluster: str = "demo") -> str:
    found = find_sub_cluster(topology.clusters[cluster], host)
    return found.name if isinstance(found, SubCluster) else found.reason


def sub(name: str, host: str) -> SubCluster:
    found = find_sub_cluster(parsed().clusters[name], host)
    assert isinstance(found, SubCluster)
    return found


@pytest.mark.parametrize(
    ("nodes", "host", "inside"),
    [
        ("cn[001-100]", "cn007", True),
        ("cn[001-100]", "cn100", True),
        ("cn[001-100]", "cn7", False),
        ("cn[001-100]", "cn101", False),
        ("cn[001-100]", "cn0007", False),
        ("cn[001-100]", "cn000", False),
        ("cn[001-100]", "cn007.example.org", False),
        ("cn[001-100]", "xcn007", False),
        ("a[1-3,7-9]", "a7", True),
        ("a[1-3,7-9]", "a5", False),
        ("a[1-3,10-12]", "a11", True),
        ("r[01-02]n[1-4]-ib", "r02n3-ib", True),
        ("r[01-02]n[1-4]-ib", "r03n3-ib", False),
        ("r[1-2][1-2]", "r21", True),
        ("r[1-2][1-2]", "r2", False),
        ("a1,b[1-2],c", "c", True),
        ("a1,b[1-2],c", "b2", True),
        ("a1,b[1-2],c", "a1", True),
        ("a1,b[1-2],c", "b", False),
        ("a[1-10]", "a5", False),  # the backend refuses unequal widths
        ("a[5]", "a5", False),  # and single numbers
        ("a[x-y]", "ax", False),
        ("a[1-2", "a1", False),
        ("a[1-3]", "a٢", False),
        ("", "a", False),
    ],
)
def test_node_lists_are_matched_as_the_backend_does(nodes: str, host: str, inside: bool) -> None:
    """Fixed width, whole names, several groups."""
    topology = parsed(one_cluster({"name": "main", "nodes": nodes}))
    assert (place(host, topology) == "main") is inside


def test_a_star_is_taken_only_in_the_first_place_and_only_last() -> None:
    """A listed host belongs to its sub-cluster; others to the first one, if that takes all."""
    everything, gpu = {"name": "all", "nodes": "*"}, {"name": "gpu", "nodes": "gpu[1-2]"}
    assert place("xx1", parsed(one_cluster(everything, gpu))) == "all"
    assert place("gpu1", parsed(one_cluster(everything, gpu))) == "gpu"
    assert "no sub-cluster" in place("xx1", parsed(one_cluster(gpu, everything)))


def test_a_host_in_two_sub_clusters_is_unknown() -> None:
    """The backend takes one at random, so nothing can be said of the host's cores."""
    topology = parsed(one_cluster({"name": "a", "nodes": "n[1-2]"}, {"name": "b", "nodes": "n2"}))
    assert "several" in place("n2", topology)
    assert place("n1", topology) == "a"


def test_cores_become_all_their_hardware_threads() -> None:
    """Socket and index give the core, and the core all its threads in the site's numbering."""
    assert hwthreads_of(sub("demo", "cn001"), [(0, 0), (1, 1)], None) == (0, 3, 4, 7)


@pytest.mark.parametrize("core", [(0, 2), (2, 0), (1, 5)])
def test_a_core_that_the_backend_does_not_know_is_unknown(core: tuple[int, int]) -> None:
    """A topology that contradicts Slurm is not used for a part of the cores."""
    assert isinstance(hwthreads_of(sub("demo", "cn001"), [(0, 0), core], None), NotKnown)


def test_devices_become_ids() -> None:
    """The order is that of the indexes; an index too high is unknown, and so is a host without any."""
    assert accelerator_ids(sub("demo", "gpu01"), (1, 0), None) == ("00000000:13:00.0", "00000000:0E:00.0")
    assert isinstance(accelerator_ids(sub("demo", "gpu01"), (0, 2), None), NotKnown)
    assert isinstance(accelerator_ids(sub("demo", "cn001"), (0,), None), NotKnown)


def test_without_cores_per_socket_only_the_first_socket_can_be_numbered() -> None:
    """Nothing is guessed of the second."""
    assert core_numbers([(0, 3)], None, None) == (3,)
    assert isinstance(core_numbers([(0, 3), (1, 0)], None, None), NotKnown)


NUMA = {
    "name": "numa",
    "nodes": "n[1-2]",
    "coresPerSocket": 8,
    "topology": {"core": [[core, core + 16] for core in range(16)]},
}


@pytest.mark.parametrize(
    ("sockets", "cores", "threads"),
    [
        ((4, 4), [(1, 0), (1, 1), (1, 2), (1, 3)], (4, 5, 6, 7, 20, 21, 22, 23)),
        ((2, 8), [(1, 0)], (8, 24)),
        ((8, 2), [(7, 1)], (15, 31)),
        ((1, 16), [(0, 15)], (15, 31)),
    ],
)
def test_cores_are_numbered_by_slurms_own_sockets(
    sockets: tuple[int, int], cores: list[tuple[int, int]], threads: tuple[int, ...]
) -> None:
    """Slurm's sockets may be NUMA nodes or caches (numa_node_as_socket, l3cache_as_socket)."""
    topology = parsed(one_cluster(NUMA))
    found = hwthreads_of(find_sub_cluster(topology.clusters["demo"], "n1"), cores, sockets)
    assert found == threads


@pytest.mark.parametrize(
    ("sockets", "core"), [((2, 4), (0, 0)), ((4, 8), (0, 0)), ((4, 4), (4, 0)), ((4, 4), (0, 4))]
)
def test_shapes_that_cannot_be_brought_together_give_no_threads(
    sockets: tuple[int, int], core: tuple[int, int]
) -> None:
    """Another number of cores, or a core that Slurm's own shape does not have."""
    topology = parsed(one_cluster(NUMA))
    found = hwthreads_of(find_sub_cluster(topology.clusters["demo"], "n1"), [core], sockets)
    assert isinstance(found, NotKnown)


def test_cores_that_the_backend_lists_in_turn_from_each_socket_are_put_in_slurms_order() -> None:
    """Many machines number cores from socket to socket; a cluster.json may list them by that number."""
    topology = parsed(
        one_cluster(
            {
                "name": "main",
                "nodes": "n1",
                "coresPerSocket": 4,
                "topology": {
                    "core": [[core] for core in range(8)],
                    "socket": [[0, 2, 4, 6], [1, 3, 5, 7]],
                    "memoryDomain": [[0, 4], [2, 6], [1, 5], [3, 7]],
                },
            }
        )
    )
    node = find_sub_cluster(topology.clusters["demo"], "n1")
    assert hwthreads_of(node, [(1, 0), (1, 1)], (2, 4)) == (1, 5)
    assert hwthreads_of(node, [(1, 0), (1, 1)], (4, 2)) == (2, 6)


GPUS = {
    "name": "gpu",
    "nodes": "g1",
    "topology": {
        "accelerators": [
            {"id": "A", "type": "Nvidia GPU", "model": "A100"},
            {"id": "B", "type": "Nvidia GPU", "model": "A100"},
            {"id": "C", "type": "Nvidia GPU", "model": "V100"},
        ]
    },
}


@pytest.mark.parametrize(
    ("devices", "ids"),
    [
        ((Gres("gpu", None, 3),), ("B",)),
        ((Gres("gpu", "a100", 2), Gres("gpu", "v100", 1)), ("B",)),
        (None, ("B",)),
        ((Gres("gpu", "a100l.2", 6),), None),  # slices, by a name that nothing tells
        ((Gres("gpu", "a100", 1), Gres("gpu", "half", 2)), None),
        ((Gres("gpu", "nvidia_a100_pcie", 2), Gres("gpu", "v100", 1)), ("B",)),
        ((Gres("gpu", "a100", 3), Gres("gpu", "v100", 1)), None),
        ((Gres("gpu", "a", 1), Gres("gpu", "b", 1), Gres("gpu", "c", 1)), None),
        ((), None),
    ],
)
def test_an_id_is_sent_where_devices_and_accelerators_match_one_to_one(
    devices: tuple[Gres, ...] | None, ids: tuple[str, ...] | None
) -> None:
    """By count, and where the node has several types also by kind; else the index counts something else."""
    found = accelerator_ids(find_sub_cluster(parsed(one_cluster(GPUS)).clusters["demo"], "g1"), (1,), devices)
    assert isinstance(found, NotKnown) if ids is None else found == ids


ODD = [
    {"name": "main", "nodes": "cn[001-100]", "coresPerSocket": "two", "topology": {"core": [[0], [1]]}},
    {"name": "main", "nodes": "cn[001-100]", "topology": {"core": "none", "accelerators": [3]}},
    {"name": "main", "nodes": "cn[001-100]", "topology": {"core": [[-1]]}},
    {"name": "main", "nodes": "cn[001-100]", "topology": {"core": [[1.5]]}},
    {"name": "main", "nodes": "cn[001-100]", "topology": 5},
    {"name": "main", "nodes": "cn[001-100]", "topology": None, "coresPerSocket": None},
    {"name": "main", "nodes": "cn[001-100]", "coresPerSocket": 0},
    {"name": "main", "nodes": "cn[001-100],a[,]b,[[]]", "new": {"in": "a later release"}},
]


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_odd_pieces_leave_the_rest_usable(odd: Any) -> None:
    """A sub-cluster with an odd piece still has its hosts; the piece is unknown."""
    topology = parsed(one_cluster(odd, {"name": "gpu", "nodes": "gpu1"}))
    assert place("cn007", topology) == "main"
    assert place("gpu1", topology) == "gpu"
    found = hwthreads_of(find_sub_cluster(topology.clusters["demo"], "cn007"), [(1, 0)], None)
    assert isinstance(found, NotKnown)


def test_what_is_not_understood_is_set_aside_alone_and_named() -> None:
    """Other clusters and sub-clusters stay."""
    content = {
        "clusters": [3, {"name": "demo", "subClusters": [{"nodes": "x"}, {"name": "a", "nodes": "n1"}]}]
    }
    topology = parsed(content)
    assert topology.set_aside == ("cluster 0", "demo: sub-cluster 0")
    assert place("n1", topology) == "a"


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b'{"clusters":3}', b'{"clusters":[', b"[" * 100_000, b'{"clusters":["\xff'],
)
def test_h17_what_is_no_list_of_clusters_is_unknown(body: bytes) -> None:
    """A portal's page, half an answer or a pile of brackets is no topology."""
    assert isinstance(parse_topology(body), NotKnown)


@given(st.binary(max_size=300))
def test_any_bytes_are_survived(body: bytes) -> None:
    """Parsing raises nothing."""
    parse_topology(body)


@given(nodes=st.text(alphabet="cn[]0159-,*a", max_size=40), host=st.text(alphabet="cn0159-a", max_size=10))
def test_any_node_list_is_survived(nodes: str, host: str) -> None:
    """Matching raises nothing, whatever stands in the list."""
    place(host, parsed(one_cluster({"name": "main", "nodes": nodes})))


@given(
    low=st.integers(0, 999), high=st.integers(0, 999), number=st.integers(0, 1200), width=st.integers(1, 5)
)
def test_ranges_mean_what_they_say(low: int, high: int, number: int, width: int) -> None:
    """A host is in a range if its number has the width and lies between the ends."""
    term = parse_term(f"n[{low:03}-{high:03}]")
    assert term is not None
    text = f"{number:0{width}}"
    assert term.matches(f"n{text}") is (len(text) == 3 and low <= number <= high)


def test_x1_many_groups_and_widths_do_not_blow_up() -> None:
    """A term made to be slow is matched in one pass; this would otherwise never end."""
    group = "[" + ",".join(f"{'0' * width}-{'9' * width}" for width in range(1, 18)) + "]"
    term = parse_term(f"n{group * 30}x")
    assert term is not None
    assert not term.matches("n" + "1" * 250)
