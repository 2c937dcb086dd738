"""Slurm's words and numbers as values: states, times, limits, TRES, sharing. Pure."""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from slurmsyncd.errors import DecodeError
from slurmsyncd.model import JobState, Sharing

NAME_LIMIT: Final = 1024
"""Characters kept of a name (job, account, …)."""

TEXT_LIMIT: Final = 8192
"""Characters kept of longer free text (comment, directory, submit line)."""

_TRES_LIMIT: Final = 65536
_NO_TRES: Final = frozenset({"", "(null)", "N/A", "NONE", "None", "Unknown"})
_NO_COUNT: Final = frozenset(
    {"", "NONE", "None", "N/A", "Unknown", "UNLIMITED", str(2**64 - 2), str(2**64 - 1)}
)
_DIGITS: Final = re.compile(r"[0-9]{1,20}", re.ASCII)
_TRES_COUNT: Final = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,9})?)([KMGTPE]?)[A-Za-z]?", re.ASCII)
_SCALE: Final = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}

# NO_VAL and INFINITE of 32 and 64 bits, and of 16: Slurm's ways to say "not set" within a number.
_UNSET: Final = frozenset({0xFFFFFFFE, 0xFFFFFFFF, 2**64 - 2, 2**64 - 1})
_UNSET_SHORT: Final = frozenset({0xFFFE, 0xFFFF})
_LIMIT: Final = 2**63
"""What is stored and sent has 64 bits and a sign."""


class SlurmNumber(Struct):
    """A number that may be unset, as 23.02 and later write it."""

    set: bool = True
    infinite: bool = False
    number: int | float = 0


Scalar = int | float | str | SlurmNumber | None


def parse_number(value: Scalar) -> int | None:
    """
    Read a number that may be plain, text, an object or unset; in Slurm it has 32 or 64 bits.

    Returns:
        None for null, unset, infinite, Slurm's NO_VAL, text that is no number, and what no 64 bits hold.
    """
    if isinstance(value, str):
        text = value.strip()
        if not _DIGITS.fullmatch(text):
            return None
        value = int(text)
    elif isinstance(value, SlurmNumber):
        if value.infinite or not value.set:
            return None
        value = value.number
    if value is None or (isinstance(value, float) and not value.is_integer()):
        return None
    number = int(value)
    return number if number not in _UNSET and -_LIMIT <= number < _LIMIT else None


def parse_16bit_number(value: Scalar) -> int | None:
    """Read a number that has 16 bits in Slurm: 65534 and 65535, a job's id elsewhere, are none here."""
    number = parse_number(value)
    return None if number in _UNSET_SHORT else number


def parse_count(value: Scalar) -> int:
    """Read a count; 0 if it is not given or negative."""
    return max(parse_number(value) or 0, 0)


def parse_id(value: Scalar, what: str) -> int:
    """
    Read a job id.

    Raises:
        DecodeError: It is missing, zero, or no number of 32 bits.
    """
    number = parse_number(value)
    if number is None or not 0 < number < 2**32:
        raise DecodeError(f"{what} is no id: {printable(value)}")
    return number


def parse_time(value: Scalar) -> int | None:
    """
    Read an instant in epoch seconds.

    Returns:
        None for what never was: ``None``, ``Unknown``, ``N/A``, 0, 4294967294 (S23).
    """
    if isinstance(value, str):
        value = int(value) if _DIGITS.fullmatch(value) else None
    elif isinstance(value, SlurmNumber):
        value = value.number if value.set and not value.infinite else None
    if value is None or not 0 < value < 2**62 or int(value) in _UNSET:
        return None
    return int(value)


def parse_time_limit(value: Scalar) -> int | None:
    """Read a limit in minutes (or ``UNLIMITED``, ``Partition_Limit``) as seconds; None if there is none."""
    minutes = parse_number(value)
    return minutes * 60 if minutes and 0 < minutes < 2**32 else None


_BASE: Final = {state.value: state for state in JobState} | {"COMPLETE": JobState.COMPLETED}
_RUNNING_FLAGS: Final = frozenset(
    {"CONFIGURING", "SIGNALING", "STAGE_OUT", "RESIZING", "STOPPED", "POWER_UP_NODE", "EXPEDITING"}
)
# Flags of a job that waits for its next run: what was said of the last one is gone from this record.
_WAITING_FLAGS: Final = frozenset({"REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"})


def parse_state(words: object) -> JobState:
    """
    Fold Slurm's words for a job's state into one.

    Args:
        words: A word (22.05, and all text), perhaps with " by UID" behind it, or a base state
            and its flags (23.02 and later), in any order.

    Returns:
        ``UNKNOWN`` for anything that this release does not know (S16).
    """
    found = _words(words)
    if "REQUEUED" in found:
        return JobState.REQUEUED  # sacct's JSON: ["PENDING", "REQUEUED"]
    base = next((_BASE[word] for word in found if word in _BASE and word != "COMPLETING"), None)
    if "COMPLETING" in found and (base is None or not base.is_final):
        return JobState.COMPLETING
    if base is not None:
        return base
    if any(word in _RUNNING_FLAGS for word in found):
        return JobState.RUNNING
    if any(word in _WAITING_FLAGS for word in found):
        return JobState.PENDING
    return JobState.UNKNOWN


def _words(words: object) -> list[str]:
    if isinstance(words, str):
        words = [words]
    if not isinstance(words, list):
        return []
    return [word.split(" ", 1)[0].rstrip("+").upper() for word in words[:32] if isinstance(word, str)]


_SHARED: Final = {
    "none": Sharing.NONE,
    "user": Sharing.SINGLE_USER,
    "oversubscribe": Sharing.MULTI_USER,
    "mcs": Sharing.MULTI_USER,
    "topo": Sharing.MULTI_USER,
}
_EXCLUSIVE: Final = {
    "node": Sharing.NONE,
    "user": Sharing.SINGLE_USER,
    "none": Sharing.MULTI_USER,
    "mcs": Sharing.MULTI_USER,
    "topo": Sharing.MULTI_USER,
}


def parse_sharing(shared: object, exclusive: object, *, whole: bool | None) -> Sharing | None:
    """
    Say who else may be on the nodes.

    Args:
        shared: Word or list of the controller's JSON up to 25.11; empty: as the partition has it.
        exclusive: Word or list from 26.05 on, where ``shared`` is always empty.
        whole: Whether whole nodes were allocated; None if not said.
    """
    for words, meaning in ((exclusive, _EXCLUSIVE), (shared, _SHARED)):
        for word in _words(words):
            if word.lower() in meaning:
                return meaning[word.lower()]
    if whole is None:
        # 26.05's accounting says NODE or USER also where the partition has it so; NO is then certain.
        return Sharing.MULTI_USER if "NO" in _words(exclusive) else None
    return Sharing.NONE if whole else Sharing.MULTI_USER


def parse_tres(text: str, flaws: list[str]) -> tuple[tuple[str, int], ...]:
    """
    Read ``cpu=8,mem=8000M,gres/gpu:a100=4``; memory in MiB, everything else as a plain number.

    Each item stands for itself: one that is not understood is skipped and costs no other.

    Args:
        text: TRES as sacct or the controller prints them.
        flaws: Receives a line for each item that was skipped.

    Returns:
        Name and count in Slurm's order, without items that Slurm marks as not set: it then writes NO_VAL64
        (``energy=18446744073709551614``) or a word.
    """
    if len(text) > _TRES_LIMIT:
        flaws.append(f"TRES of {len(text)} characters")
        return ()
    if text in _NO_TRES:
        return ()
    found = []
    for item in text.split(","):
        try:
            name, total = _tres_item(item)
        except DecodeError as err:
            flaws.append(str(err))
            continue
        if total is not None:
            found.append((name, total))
    return tuple(found)


def _tres_item(item: str) -> tuple[str, int | None]:
    name, equals, count = item.partition("=")
    if name and equals and count in _NO_COUNT:
        return name, None
    match = _TRES_COUNT.fullmatch(count)
    if not (name and equals and match) or len(name) > NAME_LIMIT:
        raise DecodeError(f"TRES is not understood: {printable(item)}")
    number, unit = match.groups()
    exponent = _SCALE[unit]
    if name == "mem" and unit:
        exponent -= 2
    if "." not in number and exponent >= 0:
        total = int(number) * 1024**exponent
    else:
        total = round(float(number) * 1024.0**exponent)
    if total >= _LIMIT:
        raise DecodeError(f"TRES is out of range: {printable(item)}")
    return name, total


def truncate(value: object, limit: int = NAME_LIMIT) -> str:
    """Return text of bounded length; anything that is no text becomes empty."""
    if isinstance(value, list):
        value = ",".join(item for item in value[:64] if isinstance(item, str))
    return value[:limit] if isinstance(value, str) and value != "(null)" else ""


def printable(value: object, limit: int = 200) -> str:
    """Return foreign text in a form fit for logs: cut, one line, no control characters."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return "".join(char if char.isprintable() else " " for char in text[:limit]).strip()
