"""Numbers that operators and clients of the status page pass, within bounds. Pure."""

from __future__ import annotations

import argparse
import math
import re
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    T = TypeVar("T")

#: The largest number that SQLite and cc-backend keep.
LARGEST_ID: Final = 2**63 - 1
_DIGITS: Final = re.compile(r"[0-9]{1,19}", re.ASCII)


def read_id(text: str) -> int:
    """
    Return the id of a job or of a dead letter.

    Raises:
        ValueError: It is not a decimal number, or too large.
    """
    return read_whole(text, 0, LARGEST_ID)


def read_whole(text: str, least: int, most: int) -> int:
    """
    Return a whole number from ``least`` to ``most``.

    Raises:
        ValueError: It is none.
    """
    if not _DIGITS.fullmatch(text) or not least <= int(text) <= most:
        raise ValueError(f"{text[:60]!r} is not a whole number from {least} to {most}")
    return int(text)


def read_number(text: str, least: float, most: float) -> float:
    """
    Return a number from ``least`` to ``most``.

    Raises:
        ValueError: It is none.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not least <= number <= most:
        raise ValueError(f"{text[:60]!r} is not a number from {least:g} to {most:g}")
    return number


def argument(read: Callable[[str], T]) -> Callable[[str], T]:
    """Return a reader of which argparse shows the message."""

    def checked(text: str) -> T:
        try:
            return read(text)
        except ValueError as err:
            raise argparse.ArgumentTypeError(str(err)) from err

    return checked
