"""No number on the command line is larger than what it is used for can hold."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmsyncd import cli
from slurmsyncd.numbers import LARGEST_ID, argument, read_id, read_number, read_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ABSURD = (
    "nan", "inf", "-inf", "1e400", "-1", "1e300", "9" * 19, "9" * 30, "9" * 5000, "9" * 17 + "d",
    "999999999w", "99999999999", "\u0663", "1_000", " 1", "", "0x10",
)  # fmt: skip


def readers(parser: argparse.ArgumentParser, path: str = "") -> Iterator[tuple[str, Callable[[str], object]]]:
    """Return all options that are read by more than their text, with the command they belong to."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                yield from readers(inner, f"{path} {name}")
        elif callable(action.type) and action.type not in (Path, str) and not action.choices:
            yield f"{path} {'/'.join(action.option_strings) or action.dest}", action.type


READERS = dict(readers(cli._parser()))


def test_there_are_options_with_numbers() -> None:
    """The readers that are tested below are found."""
    assert {" deadletters retry ids", " verify --since", " backfill --depth", " demo --rate"} <= set(READERS)


@pytest.mark.parametrize("option", sorted(READERS))
def test_an_absurd_number_is_refused_or_within_64_bits(option: str) -> None:
    """Each option refuses with a message, or reads a finite number that SQLite, a date and a timer hold."""
    for text in ABSURD:
        try:
            found: Any = READERS[option](text)
        except argparse.ArgumentTypeError as err:
            assert len(str(err)) < 300  # noqa: PT017 - or it is read
            continue
        if not isinstance(found, str):
            assert math.isfinite(found)
            assert 0 <= found < 2**63


@given(st.text() | st.integers().map(str))
def test_an_id_is_a_decimal_number_of_63_bits(text: str) -> None:
    """What is read has 63 bits; everything else is refused by value and range."""
    plain = text.isascii() and text.isdecimal() and len(text) <= 19 and int(text) <= LARGEST_ID
    if plain:
        assert read_id(text) == int(text)
    else:
        with pytest.raises(ValueError, match="is not a whole number from 0 to 9223372036854775807"):
            read_id(text)


def test_bounds_are_named() -> None:
    """The message of a number has its range, and argparse shows it."""
    assert (read_whole("1", 1, 5), read_whole("5", 1, 5), read_number("2.5", 1.0, 2.5)) == (1, 5, 2.5)
    with pytest.raises(ValueError, match="'6' is not a whole number from 1 to 5"):
        read_whole("6", 1, 5)
    with pytest.raises(argparse.ArgumentTypeError, match=r"'nan' is not a number from 1 to 2\.5"):
        argument(lambda text: read_number(text, 1.0, 2.5))("nan")
