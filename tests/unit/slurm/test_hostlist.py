from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmsyncd.errors import DecodeError
from slurmsyncd.slurm.hostlist import HOST_LIMIT, compress_hosts, expand_hostlist


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("", ()),
        ("n1", ("n1",)),
        ("n[1-2]", ("n1", "n2")),
        ("n[1-2,7],m3", ("n1", "n2", "n7", "m3")),
        ("n[09-11]", ("n09", "n10", "n11")),
        ("n[9-11]", ("n9", "n10", "n11")),
        ("r[0-1]n[1-2]", ("r0n1", "r0n2", "r1n1", "r1n2")),
        ("r[0-1]-ib.x_y", ("r0-ib.x_y", "r1-ib.x_y")),
        ("a-b.c_d,[1-2]", ("a-b.c_d", "1", "2")),
    ],
)
def test_expansion(text: str, hosts: tuple[str, ...]) -> None:
    """Ranges, lists, padding, several brackets, and names with dots, dashes and underscores."""
    assert expand_hostlist(text) == hosts


@pytest.mark.parametrize(
    "text",
    [
        "n[0-999999999]",
        "[1-2][1-9999][1-9999]",
        f"n[0-{HOST_LIMIT}]",
        "n[1-9]" + "[1-9]" * 40,
        "n,"[:1] * 5000000,
        ",".join(["n[1-60000]"] * 2),
        "n[0-999999999]" * 250_000,
        "n" * 1_000_000 + "[0-65535]",
        "n[" + "0," * 1_000_000 + "0]",
    ],
)
def test_x1_the_size_is_known_before_anything_is_expanded(text: str) -> None:
    """Lists that would fill the memory are refused at once."""
    with pytest.raises(DecodeError):
        expand_hostlist(text)


@pytest.mark.parametrize(
    "text",
    [
        "n[2-1]",
        "n[1",
        "n1]",
        "n[[1-2]]",
        "n[]",
        "n[a]",
        "n[1-2-3]",
        "n[-1]",
        "n[1-]",
        "n[,1]",
        "n1,",
        ",n1",
        "n1,,n2",
        "n[१-२]",
        "n 1",
        "n1\n",
        "None assigned",
        "(null)",
        f"n[{'0' * 1000}1]",
        "n[0000000001-2]",
        "x" * 300,
        "n;rm",
    ],
)
def test_x2_what_is_no_host_list_is_refused(text: str) -> None:
    """Reversed, unbalanced, endlessly padded, foreign digits: refused, not interpreted."""
    with pytest.raises(DecodeError):
        expand_hostlist(text)


def test_as_many_hosts_as_slurm_allows() -> None:
    """Slurm's own limit is taken."""
    assert len(expand_hostlist(f"n[1-{HOST_LIMIT}]")) == HOST_LIMIT


hosts = st.lists(
    st.from_regex(r"\A[a-z][a-z0-9._-]{0,8}\Z") | st.from_regex(r"\A[a-z]{1,2}0{0,2}[0-9]{1,3}\Z"),
    max_size=30,
)


@given(hosts)
def test_expanding_what_was_compressed_gives_it_back(names: list[str]) -> None:
    """expand(compress(x)) = x, in order."""
    assert expand_hostlist(compress_hosts(names)) == tuple(names)


@given(st.integers(0, 990), st.integers(1, 9), st.integers(1, 6))
def test_neighbours_become_one_range(low: int, count: int, width: int) -> None:
    """Hosts that count up are written as a range."""
    names = [f"n{number:0{width}}" for number in range(low, low + count)]
    assert expand_hostlist(compress_hosts(names)) == tuple(names)
    if all(len(name) == len(names[0]) for name in names):
        assert "," not in compress_hosts(names)


@given(st.text(alphabet="n1290-,[]._ \n", max_size=40) | st.text(max_size=40))
def test_nothing_else_can_happen(text: str) -> None:
    """Any text is expanded within the limit or refused."""
    try:
        found = expand_hostlist(text, limit=100)
    except DecodeError:
        return
    assert len(found) <= 100
