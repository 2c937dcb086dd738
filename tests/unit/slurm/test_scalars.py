from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmsyncd.errors import DecodeError
from slurmsyncd.model import JobState, Sharing
from slurmsyncd.slurm.scalars import (
    SlurmNumber,
    parse_16bit_number,
    parse_id,
    parse_number,
    parse_sharing,
    parse_state,
    parse_time,
    parse_time_limit,
    parse_tres,
    printable,
    truncate,
)


@pytest.mark.parametrize(
    ("words", "state"),
    [
        ("RUNNING", JobState.RUNNING),
        ("CONFIGURING", JobState.RUNNING),
        (["RUNNING", "CONFIGURING"], JobState.RUNNING),
        (["CONFIGURING", "RUNNING"], JobState.RUNNING),
        ("COMPLETING", JobState.COMPLETING),
        (["COMPLETED", "COMPLETING"], JobState.COMPLETED),
        (["NODE_FAIL", "COMPLETING"], JobState.NODE_FAIL),
        (["PENDING", "COMPLETING"], JobState.COMPLETING),
        (["PENDING", "REQUEUED"], JobState.REQUEUED),
        ("REQUEUED", JobState.REQUEUED),
        ("REQUEUE_HOLD", JobState.PENDING),
        ("CANCELLED by 0", JobState.CANCELLED),
        ("CANCELLED+", JobState.CANCELLED),
        ("SUSPENDED", JobState.SUSPENDED),
        ("OUT_OF_MEMORY", JobState.OUT_OF_MEMORY),
        (["RUNNING", "A_FLAG_OF_TOMORROW"], JobState.RUNNING),
    ],
)
def test_states(words: object, state: JobState) -> None:
    """Each release's way to write a state leads to one word."""
    assert parse_state(words) is state


@pytest.mark.parametrize("words", ["HIBERNATED", ["HIBERNATED"], "", [], None, 7, [7], {"a": 1}])
def test_s16_an_unknown_state_is_neither_final_nor_active(words: object) -> None:
    """A word of a younger release is held back."""
    state = parse_state(words)
    assert state is JobState.UNKNOWN
    assert not state.is_final
    assert not state.is_active


@pytest.mark.parametrize(
    "value",
    [
        None,
        0,
        "None",
        "Unknown",
        "N/A",
        "",
        4294967294,
        4294967295,
        "4294967294",
        SlurmNumber(set=False),
        SlurmNumber(),
    ],
)
def test_s23_what_never_was_has_no_time(value: object) -> None:
    """Each way of Slurm to say "never" is no instant."""
    assert parse_time(value) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [1795237255, "1795237255", SlurmNumber(number=1795237255), 1795237255.0])
def test_times(value: object) -> None:
    """An instant is read from text, number or object; also after 2038."""
    assert parse_time(value) == 1795237255  # type: ignore[arg-type]
    assert parse_time(4_000_000_000_0) == 40_000_000_000


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("30", 1800),
        (SlurmNumber(number=30), 1800),
        (30, 1800),
        ("Partition_Limit", None),
        ("UNLIMITED", None),
        (SlurmNumber(set=False, infinite=True), None),
        (None, None),
        (4294967295, None),
        (2**62, None),
        (-1, None),
    ],
)
def test_time_limits(value: object, seconds: int | None) -> None:
    """Slurm's minutes become seconds, no limit None."""
    assert parse_time_limit(value) == seconds  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [None, 0, -1, 2**32, "1e3", "x", "१२", 1.5, SlurmNumber(set=False), 2**70])
def test_s14_what_is_no_id_is_refused(value: object) -> None:
    """No id, no record."""
    with pytest.raises(DecodeError):
        parse_id(value, "job_id")  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [65534, "65535", SlurmNumber(number=65534)])
def test_s14_a_number_of_32_bits_may_look_like_an_unset_one_of_16(value: int | str | SlurmNumber) -> None:
    """Jobs 65534 and 65535 are jobs like any others, and so are tasks and minutes; threads are not so many."""
    number = parse_number(value)
    assert number in {65534, 65535}
    assert parse_id(value, "job_id") == number
    assert parse_time_limit(value) == number * 60
    assert parse_16bit_number(value) is None
    assert parse_16bit_number(2) == 2


def tres(text: str) -> tuple[tuple[str, int], ...]:
    flaws: list[str] = []
    found = parse_tres(text, flaws)
    assert not flaws
    return found


def test_tres() -> None:
    """Memory comes in MiB whatever unit Slurm chose, the rest as plain numbers."""
    text = "cpu=8,mem=8000M,node=2,billing=8,gres/gpu=4,gres/gpu:a100=4"
    expected = (("cpu", 8), ("mem", 8000), ("node", 2), ("billing", 8), ("gres/gpu", 4), ("gres/gpu:a100", 4))
    assert tres(text) == expected
    assert tres("mem=62.50G") == (("mem", 64000),)
    assert tres("mem=1T,cpu=2K") == (("mem", 1024 * 1024), ("cpu", 2048))
    assert tres("mem=512") == (("mem", 512),)
    assert tres("gres/gpu:nvidia_a100-sxm4-40gb_1g.5gb=1,license/matlab:x=2") == (
        ("gres/gpu:nvidia_a100-sxm4-40gb_1g.5gb", 1),
        ("license/matlab:x", 2),
    )
    assert tres("") == tres("(null)") == tres("NONE") == ()


@pytest.mark.parametrize("count", ["18446744073709551614", "18446744073709551615", "NONE", "N/A", ""])
def test_tres_that_are_not_set_are_left_out(count: str) -> None:
    """Slurm writes NO_VAL64 or a word for energy that nobody measured; the other items stay."""
    assert tres(f"billing=2,energy={count},gres/gpu=4") == (("billing", 2), ("gres/gpu", 4))


@pytest.mark.parametrize(
    "item", ["cpu", "=1", "cpu=-1", "", "cpu=४", "cpu=1e9", "=", "cpu=99999999999999999999"]
)
def test_x3_tres_that_are_none_cost_no_others(item: str) -> None:
    """Nothing is guessed from a broken item, it is reported, and the items around it are read."""
    flaws: list[str] = []
    assert parse_tres(f"node=2,{item},gres/gpu=4", flaws) == (("node", 2), ("gres/gpu", 4))
    assert len(flaws) == 1


def test_x3_endless_tres_are_none() -> None:
    """A text beyond all measure is reported and not read."""
    flaws: list[str] = []
    assert parse_tres("a=1," * 40000, flaws) == ()
    assert flaws == ["TRES of 160000 characters"]


@given(st.text(alphabet="cpumgres/:=,.0123456789KMGT-∞\x00", max_size=60) | st.text(max_size=60))
def test_tres_never_fail(text: str) -> None:
    """Any text is TRES, or reported."""
    flaws: list[str] = []
    items = parse_tres(text, flaws)
    assert all(count >= 0 for _, count in items)
    assert len(items) + len(flaws) <= text.count(",") + 1


@given(st.none() | st.integers() | st.floats() | st.text(max_size=30) | st.builds(SlurmNumber, st.booleans()))
def test_numbers_never_fail(value: object) -> None:
    """Whatever stands where a number should be is a number or None."""
    for parse in (parse_number, parse_time, parse_time_limit):
        result = parse(value)  # type: ignore[arg-type]
        assert result is None or isinstance(result, int)


def test_sharing() -> None:
    """Each release's words for who else may be on the nodes."""
    assert parse_sharing("none", None, whole=None) is Sharing.NONE  # 22.05
    assert parse_sharing(["none"], None, whole=True) is Sharing.NONE  # 24.11
    assert parse_sharing(["user"], None, whole=True) is Sharing.SINGLE_USER
    assert parse_sharing(["oversubscribe"], None, whole=False) is Sharing.MULTI_USER
    assert parse_sharing([], "node", whole=True) is Sharing.NONE  # 26.05
    assert parse_sharing([], "USER", whole=True) is Sharing.SINGLE_USER
    assert parse_sharing([], "none", whole=False) is Sharing.MULTI_USER
    assert parse_sharing([], None, whole=True) is Sharing.NONE
    assert parse_sharing(None, None, whole=False) is Sharing.MULTI_USER
    assert parse_sharing(None, None, whole=None) is None


def test_text_is_bounded_and_fit_for_logs() -> None:
    """Free text travels cut, and is logged without control characters."""
    assert len(truncate("x" * 100_000)) == 1024
    assert truncate(None) == truncate(7) == truncate("(null)") == ""
    assert truncate(["a", "b"]) == "a,b"
    assert printable(b"\x1b[31mred\x00\n\xff") == "[31mred  �"
    assert len(printable("y" * 10_000)) == 200


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, str(2**63), 1e300, SlurmNumber(number=10**30)])
def test_s14_a_number_beyond_64_bits_is_none(value: float | str | SlurmNumber) -> None:
    """What could be neither stored nor sent is as good as not said."""
    assert parse_number(value) is None
    assert parse_number(2**63 - 1) == 2**63 - 1


@pytest.mark.parametrize("text", ["cpu=10000P", "mem=99999999999999999999E", "billing=9223372036854775808"])
def test_s14_tres_beyond_64_bits_are_left_out(text: str) -> None:
    """Such an item is reported and skipped, not the run."""
    flaws: list[str] = []
    assert parse_tres(text, flaws) == ()
    assert len(flaws) == 1
