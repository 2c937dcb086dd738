"""The pure parts: node lists, clusters, folding, tokens, knobs."""

from __future__ import annotations

import contextlib
import stat
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmsyncd.sandbox.backend.clusters import (
    BadClusters,
    Clusters,
    make_cluster,
    make_sub_cluster,
    read_clusters,
)
from slurmsyncd.sandbox.backend.database import BackendDatabase, DatabaseUnusable
from slurmsyncd.sandbox.backend.decode import BadJson, decode
from slurmsyncd.sandbox.backend.node_list import BadNodeList, NodeList
from slurmsyncd.sandbox.backend.ranges import fold_hosts, fold_numbers
from slurmsyncd.sandbox.backend.schema import JOB, NODE_STATE, STOP
from slurmsyncd.sandbox.backend.tokens import BadToken, Tokens, TokensUnavailable

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "names", "others"),
    [
        (
            "cn[001-100]",
            ["cn001", "cn007", "cn100"],
            ["cn7", "cn000", "cn101", "cn0001", "cn001x", "xcn001", ""],
        ),
        ("a,b-1", ["a", "b-1"], ["b", "a,b-1"]),
        ("r[1-2]n[01-02]", ["r1n01", "r2n02"], ["r3n01", "r1n03", "r11n1"]),
        ("x[1-3,7-9]", ["x1", "x8"], ["x5", "x1,"]),
        ("x[1-2,10-11]y", ["x2y", "x11y"], ["x3y", "x12y"]),
        ("[1-2][01-02]", ["102"], ["302", "12"]),
    ],
)
def test_node_lists(text: str, names: list[str], others: list[str]) -> None:
    """Whole names match, indexes with the width they are written in."""
    nodes = NodeList.parse(text)
    assert [name for name in names if name not in nodes] == []
    assert [name for name in others if name in nodes] == []


@pytest.mark.parametrize(
    "text",
    ["", "a,", "cn[7]", "cn[1-10]", "cn[a-b]", "cn[", "cn]", "a.b", "a_b", "a b", "cn[1-2],,x", "cn[1-2,]"],
)
def test_node_lists_that_are_refused(text: str) -> None:
    """What cc-backend would not start with is refused."""
    with pytest.raises(BadNodeList):
        NodeList.parse(text)


@given(st.text(max_size=30), st.text(max_size=30))
def test_node_lists_never_crash(text: str, name: str) -> None:
    """Any text is a list or a refusal, and any name can be asked for."""
    try:
        nodes = NodeList.parse(text)
    except BadNodeList:
        return
    assert (name in nodes) in {True, False}


@given(st.binary(max_size=200))
def test_decoding_never_crashes(body: bytes) -> None:
    """Any bytes decode or are refused."""
    for kind in (JOB, STOP, NODE_STATE):
        with contextlib.suppress(BadJson):
            assert isinstance(decode(kind, body), dict)


def test_block_numbering() -> None:
    """Cores are numbered socket by socket, siblings after all first threads."""
    topology = make_sub_cluster("m", "a", sockets=2, cores_per_socket=2, threads_per_core=2)["topology"]
    assert topology["core"] == [[0, 4], [1, 5], [2, 6], [3, 7]]
    assert topology["socket"] == [[0, 1, 4, 5], [2, 3, 6, 7]]
    assert topology["node"] == list(range(8))


def test_interleaved_numbering() -> None:
    """Cores are numbered from socket to socket in turn."""
    sub = make_sub_cluster("m", "a", sockets=2, cores_per_socket=2, numbering="interleaved")
    assert sub["topology"]["core"] == [[0], [2], [1], [3]]
    assert sub["topology"]["socket"] == [[0, 2], [1, 3]]


def test_accelerators() -> None:
    """GPUs are PCI addresses, all different."""
    ids = [
        gpu["id"]
        for gpu in make_cluster("c", "a", gpus_per_node=16)["subClusters"][0]["topology"]["accelerators"]
    ]
    assert ids[0] == "00000000:0E:00.0"
    assert len(set(ids)) == 16
    assert {len(id_) for id_ in ids} == {16}


@pytest.mark.parametrize(
    "content",
    [{}, {"name": "x"}, {"name": "x", "subClusters": []}, {"name": "x", "subClusters": [{"name": "m", "nodes": "a_b"}]},
     {"name": "x", "subClusters": [{"nodes": "a"}]}, []],
)  # fmt: skip
def test_bad_clusters(content: Any) -> None:
    """A cluster.json that cannot be used is refused with what it needs."""
    with pytest.raises(BadClusters, match="needs"):
        Clusters.parse([content])


def test_clusters_from_a_file(tmp_path: Path) -> None:
    """A file holds one cluster or a list; a broken one is named."""
    file = tmp_path / "cluster.json"
    file.write_text('{"name": "a", "subClusters": [{"name": "m", "nodes": "*"}]}')
    assert list(Clusters.parse(read_clusters(file)).raw) == ["a"]
    file.write_text("{")
    with pytest.raises(BadClusters, match=r"cluster\.json"):
        read_clusters(file)


def test_overlapping_lists() -> None:
    """A host in several lists gets any of them; a star that is not first takes nobody."""
    subs = [{"name": "a", "nodes": "n1"}, {"name": "b", "nodes": "n1"}, {"name": "c", "nodes": "*"}]
    clusters = Clusters.parse([{"name": "x", "subClusters": subs}])
    assert {clusters.assign("x", "", "n1") for _ in range(100)} == {"a", "b"}
    with pytest.raises(LookupError):
        clusters.assign("x", "", "n2")


@pytest.mark.parametrize(
    ("hosts", "folded"),
    [
        ([], ""),
        (["a"], "a"),
        (["cn001", "cn002", "cn003", "cn007"], "cn[001-003,007]"),
        (["cn7"], "cn7"),
        (["b2", "a1", "b1"], "b[1-2],a1"),
        (["cn09", "cn10", "cn100"], "cn[09-10],cn100"),
    ],
)
def test_folding_hosts(hosts: list[str], folded: str) -> None:
    """Numbers are folded, widths kept."""
    assert fold_hosts(hosts) == folded


def test_folding_numbers() -> None:
    """Ranges ascend."""
    assert fold_numbers([5, 1, 2, 0, 7]) == "0-2,5,7"


def test_key_is_kept_and_private(tmp_path: Path) -> None:
    """The key pair is made once, readable by us only, and tokens outlive a restart."""
    token = Tokens.open(tmp_path).issue("me", ["api"])
    assert stat.S_IMODE((tmp_path / "jwt-key.pem").stat().st_mode) == 0o600
    assert Tokens.open(tmp_path).check(token, now=0).name == "me"
    with pytest.raises(BadToken):
        Tokens.open(None).check(token, now=0)


def test_expiry_is_checked_on_every_use() -> None:
    """A token that was good once is refused when its time is over."""
    tokens = Tokens.open(None)
    token = tokens.issue(lifetime_s=60)
    tokens.check(token, now=0)
    with pytest.raises(BadToken, match="expired"):
        tokens.check(token, now=4e9)


def test_broken_database_is_named(tmp_path: Path) -> None:
    """A file that is no database says which and what to do."""
    file = tmp_path / "backend.sqlite"
    file.write_bytes(b"garbage" * 1000)
    with pytest.raises(DatabaseUnusable, match=r"backend\.sqlite: .*; remove it"):
        BackendDatabase(file)


def test_broken_key_is_named(tmp_path: Path) -> None:
    """A key that cannot be read says which file and what to do."""
    (tmp_path / "jwt-key.pem").write_text("garbage")
    with pytest.raises(TokensUnavailable, match=r"jwt-key\.pem"):
        Tokens.open(tmp_path)


def test_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without PyJWT the remedy is said."""
    monkeypatch.setitem(__import__("sys").modules, "jwt", None)
    with pytest.raises(TokensUnavailable, match=r"pip install 'pyjwt\[crypto\]'"):
        Tokens.open(None)
