from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmsyncd.errors import DecodeError
from slurmsyncd.model import Gres
from slurmsyncd.slurm.gres import INDEX_LIMIT, parse_gres


@pytest.mark.parametrize(
    ("text", "gres"),
    [
        ("gpu:a100:2(IDX:0-1)", (Gres("gpu", "a100", 2, (0, 1)),)),
        ("gpu:2(IDX:0,3)", (Gres("gpu", None, 2, (0, 3)),)),
        ("gpu:(null):1(IDX:7)", (Gres("gpu", None, 1, (7,)),)),
        ("gpu:h100:4(IDX:0-2,5)", (Gres("gpu", "h100", 4, (0, 1, 2, 5)),)),
        (
            "gpu:a100:1(IDX:0),gpu:v100:2(IDX:4-5)",
            (Gres("gpu", "a100", 1, (0,)), Gres("gpu", "v100", 2, (4, 5))),
        ),
        ("gpu:a100_1g.5gb:1(IDX:10)", (Gres("gpu", "a100_1g.5gb", 1, (10,)),)),
        (
            "gpu:nvidia_a100-sxm4-40gb_1g.5gb:2(IDX:0,6)",
            (Gres("gpu", "nvidia_a100-sxm4-40gb_1g.5gb", 2, (0, 6)),),
        ),
        ("shard:a100:2(0/2,2/2)", (Gres("shard", "a100", 2, (1,)),)),
        ("shard:3(1/4,2/4,0/4)", (Gres("shard", None, 3, (0, 1)),)),
        ("craynetwork(CNT:2)", (Gres("craynetwork", None, 2),)),
        ("tape:lto(CNT:4)", (Gres("tape", "lto", 4),)),
        ("gpu:a100:4(S:0-1)", (Gres("gpu", "a100", 4),)),
        ("gres/gpu:a100:2", (Gres("gpu", "a100", 2),)),
        ("gres:gpu:1", (Gres("gpu", None, 1),)),
        ("gpu:a100:0(IDX:N/A)", ()),
        ("bandwidth:lustre:4G", (Gres("bandwidth", "lustre", 4 * 1024**3),)),
        ("", ()),
        ("(null)", ()),
    ],
)
def test_gres(text: str, gres: tuple[Gres, ...]) -> None:
    """Every kind that Slurm writes: typed, untyped, mixed, MIG, shared, without devices."""
    assert parse_gres(text) == gres


@pytest.mark.parametrize(
    "text", ["gpu:1(IDX:0-999999999)", f"gpu:1(IDX:{INDEX_LIMIT})", "gpu:1(IDX:0-99999)"]
)
def test_x3_indexes_are_bounded(text: str) -> None:
    """A range of devices cannot fill the memory."""
    with pytest.raises(DecodeError):
        parse_gres(text)


@pytest.mark.parametrize(
    "text",
    [
        "gpu",
        "gpu:a100",
        "gpu:a100:x",
        "gpu:9007199254740992K",
        "gpu:1(IDX:2-1)",
        "gpu:1(IDX:)x",
        "gpu:1(IDX:a)",
        "gpu:1(IDX:0",
        "gpu:1,,gpu:1",
        "gpu:1,",
        ":1",
        "gpu:१",
        "g pu:1",
        "gpu:1(IDX:0)(IDX:1)",
        "gpu:1;",
        "x" * 70000,
    ],
)
def test_what_is_no_gres_is_refused(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(DecodeError):
        parse_gres(text)


names = st.from_regex(r"\A[a-z][a-z0-9_]{0,6}\Z")
kinds = st.none() | st.from_regex(r"\A[a-z][a-z0-9_.-]{0,12}\Z")
indexes = st.sets(st.integers(0, INDEX_LIMIT - 1), min_size=1, max_size=20)


@given(st.lists(st.tuples(names, kinds, indexes), max_size=4))
def test_what_is_written_is_read(items: list[tuple[str, str | None, set[int]]]) -> None:
    """Name, type, count and devices come back."""
    text = ",".join(
        f"{name}{f':{kind}' if kind else ''}:{len(held)}(IDX:{','.join(map(str, sorted(held)))})"
        for name, kind, held in items
    )
    assert parse_gres(text) == tuple(
        Gres(name, kind, len(held), tuple(sorted(held))) for name, kind, held in items
    )


@given(st.text(alphabet="gpu:a1()IDX-,/0 ", max_size=40) | st.text(max_size=40))
def test_nothing_else_can_happen(text: str) -> None:
    """Any text is GRES or refused."""
    try:
        found = parse_gres(text)
    except DecodeError:
        return
    assert all(len(gres.indexes) <= INDEX_LIMIT for gres in found)
