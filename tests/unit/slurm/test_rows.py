from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from slurmsyncd.slurm.delimited_text import FIELD_LIMIT, DelimitedRows

if TYPE_CHECKING:
    from collections.abc import Sequence

TOKEN = "4f1d8a90c2b7e653"


def text_of(rows: Sequence[tuple[str, ...]]) -> bytes:
    return "".join("".join(field + TOKEN for field in row) + "\n" for row in rows).encode(
        "utf-8", "surrogateescape"
    )


def read(text: bytes, width: int) -> tuple[list[tuple[str, ...]], DelimitedRows]:
    rows = DelimitedRows(text, TOKEN.encode(), width)
    return list(rows), rows


ids = st.integers(1, 2**32).map(str)
anything = st.text(max_size=30) | st.sampled_from(["\n", "|", "\x1f", "\t", "\x1b[31m", "\n12", "9\n", ""])


@given(st.integers(1, 5).flatmap(lambda width: st.lists(st.tuples(ids, *[anything] * width))))
def test_s15_no_name_can_forge_a_column_or_a_row(rows: list[tuple[str, ...]]) -> None:
    """Newlines, every delimiter and terminal escapes stay within their field."""
    width = len(rows[0]) if rows else 3
    found, state = read(text_of(rows), width)
    assert found == rows
    assert (state.set_aside, state.truncated) == (0, False)


@given(st.lists(st.tuples(ids, anything, anything), min_size=1), st.data())
def test_s7_a_text_that_is_cut_gives_its_whole_rows_and_says_so(
    rows: list[tuple[str, ...]], data: st.DataObject
) -> None:
    """The last line without its end is refused, and the text is not complete."""
    text = text_of(rows)
    cut = data.draw(st.integers(1, len(text) - 1))
    found, state = read(text[:cut], 3)
    assert found == rows[: len(found)]
    whole = text[:cut] == text_of(rows[: len(found)])
    assert state.truncated is not whole


def test_s8_a_banner_costs_no_row() -> None:
    """Lines that some wrapper prints before or between rows are passed over."""
    rows = [("1", "a"), ("2", "b")]
    text = b"Welcome to the cluster\n\n" + text_of(rows[:1]) + b"maintenance on monday\n" + text_of(rows[1:])
    assert read(text, 2)[0] == rows


def test_s8_a_text_without_rows_is_no_listing() -> None:
    """HTML or a message is not an empty listing."""
    for text in (b"<html><body>login</body></html>\n", b"\x00\xff\xfe", b"slurm_load_jobs error\n"):
        found, state = read(text, 3)
        assert found == []
        assert state.truncated


def test_an_empty_text_is_an_empty_listing() -> None:
    """Nothing printed, nothing listed; whether that is a fact is for others to judge."""
    found, state = read(b"", 3)
    assert (found, state.truncated, state.set_aside) == ([], False, 0)


def test_s14_a_row_that_does_not_fit_is_set_aside_alone() -> None:
    """One row with a column too few or too many spoils no other."""
    good = [("1", "a", "b"), ("3", "c", "d"), ("5", "e", "f")]
    for bad in (("2", "x"), ("2", "x", "y", "z"), ("", "x", "y"), ("x", "y", "z")):
        text = text_of([good[0]]) + text_of([bad]) + text_of(good[1:])
        found, state = read(text, 3)
        assert found[0] == good[0]
        assert found[-1] == good[2]
        assert set(found) <= set(good)
        assert state.set_aside >= 1
        assert not state.truncated


def test_a_field_without_end_spoils_its_row_only() -> None:
    """A field of megabytes is not carried along."""
    rows = [("1", "x" * (FIELD_LIMIT + 1)), ("2", "y")]
    found, state = read(text_of(rows), 2)
    assert found == [("2", "y")]
    assert state.set_aside == 1


def test_s13_invalid_utf8_is_replaced() -> None:
    """A broken name is carried with replacement characters."""
    text = b"1" + TOKEN.encode() + b"caf\xe9" + TOKEN.encode() + b"\n"
    assert read(text, 2)[0] == [("1", "caf\ufffd")]


@given(st.lists(st.sampled_from([TOKEN.encode(), b"\n", b"1", b"x", b"\xff", b""]) | st.binary(max_size=5)))
def test_nothing_else_can_happen(pieces: list[bytes]) -> None:
    """Any bytes give rows of the right width that start with a number, or none."""
    found, _ = read(b"".join(pieces), 3)
    assert all(len(row) == 3 and row[0][:1].isdecimal() for row in found)


@given(st.lists(st.tuples(st.sampled_from(["\n" * 9, "é\n7", "x" * 997]), st.integers(0, 99)), max_size=99))
def test_rows_are_the_same_however_many_bytes_are_split_at_once(repeated: list[tuple[str, int]]) -> None:
    """No field is lost or forged where one portion of a long text ends and the next begins."""
    rows = [(str(number + 1), word, "") for word, number in repeated for _ in range(number)]
    found, state = read(text_of(rows), 3)
    assert found == rows
    assert (state.set_aside, state.truncated) == (0, False)
