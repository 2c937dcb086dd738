"""The envelope of Slurm's JSON: which answers are answers. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
from msgspec import Raw, Struct

from slurmsyncd.errors import DecodeError, SourceUnavailable
from slurmsyncd.foreign import MalformedJson, decode_json
from slurmsyncd.slurm.scalars import Scalar, parse_number, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from slurmsyncd.slurm.delimited_text import TextBuffer

T = TypeVar("T")


class _Envelope(Struct):
    errors: list[Raw] | None = None
    last_update: Scalar = None
    jobs: list[Raw] | None = None
    nodes: list[Raw] | None = None


_ENVELOPE: Final = msgspec.json.Decoder(_Envelope)
_ANYTHING: Final = msgspec.json.Decoder()
_ARRAY: Final = msgspec.json.Decoder(list[Raw])

PORTION: Final = 2**20
"""Bytes decoded at once: some 2 ms."""

# The beginning of a list's first record, up to its first key: all records begin like that.
_FIRST: Final = {
    "jobs": re.compile(rb'"jobs"\s*:\s*\[(\s*\{\s*"[^"\\]*")'),
    "nodes": re.compile(rb'"nodes"\s*:\s*\[(\s*\{\s*"[^"\\]*")'),
}
_MARK: Final = b"0"

# json-c, Slurm's writer, prints what no JSON may hold; one such number must not cost the whole document.
_NO_NUMBER: Final = re.compile(rb"(?<=[:,\[\s])-?(?:NaN|Infinity)(?=\s*[,}\]])")


def read_records(text: TextBuffer, key: str, *, portion: int = PORTION) -> Iterable[Raw]:
    """
    Return the records of a document, each still undecoded, so that a bad one hurts only itself.

    Args:
        text: What the command printed. The records refer to it.
        key: ``jobs`` or ``nodes``.
        portion: Bytes decoded at once. A longer document is taken apart while its records are asked for.

    Raises:
        SourceUnavailable: Slurm says that it failed (``errors``), or the list is empty and was never
            updated: so 24.11 and later write down a dead slurmctld, with exit code 0 (S2).
        DecodeError: Nothing at all, no JSON, cut short, or not the document that was asked for (S7, S8);
            of a long one perhaps only among its records: then believe none of them.
    """
    if not len(text):
        raise DecodeError("the answer is empty")
    if len(text) > portion and (split := _split(text, key, portion)):
        return split
    return _records(_decode(_ENVELOPE, text), text, key)


def _split(text: TextBuffer, key: str, size: int) -> Iterable[Raw] | None:
    """
    Take a document apart where its records seem to meet; None where no such place is seen.

    A guess is enough, since JSON has one reading only: if the document is whole with a mark in place of its
    first records, and what is between two such places is whole records, then they are its records.
    """
    first = _FIRST[key].search(text[:size])
    if not first:
        return None
    start, seam = first.start(1), b"}," + first[1]
    end = len(text) - size + text[len(text) - size :].rfind(seam) + 1
    if end <= max(start, len(text) - size):
        return None
    try:
        envelope = _decode(_ENVELOPE, text[:start] + _MARK + text[end:])
    except DecodeError:
        return None
    marked = getattr(envelope, key)
    if not marked or bytes(marked[0]) != _MARK:
        return None
    last = _records(envelope, text, key)[1:]
    return _portions(text, key, size, (start, end, seam), last)


def _portions(
    text: TextBuffer, key: str, size: int, where: tuple[int, int, bytes], last: list[Raw]
) -> Iterator[Raw]:
    start, end, seam = where
    count = 0
    while start < end:
        stop = min(start + size, end)
        if stop < end:
            cut = text[start:stop].rfind(seam)
            # Not within a record of megabytes; further on there is one, at the latest right before ``end``.
            stop = (start + cut if cut >= 0 else text.find(seam, start)) + 1
        try:
            records = _decode(_ARRAY, b"[" + text[start:stop] + b"]")
        except DecodeError:  # they did not meet there
            last = _records(_decode(_ENVELOPE, text), text, key)[count:]
            break
        yield from records
        count += len(records)
        start = stop + 1  # behind the comma
    yield from last


def _records(envelope: _Envelope, text: TextBuffer, key: str) -> list[Raw]:
    if envelope.errors:
        raise SourceUnavailable(f"Slurm reports: {_reason(envelope.errors)}")
    records: list[Raw] | None = getattr(envelope, key)
    if records is None:
        raise DecodeError(f"the document has no {key!r}: {printable(text[:200])!r}")
    if not records and parse_number(envelope.last_update) == 0:
        raise SourceUnavailable(f"an empty list of {key} that was never updated: slurmctld does not answer")
    return records


def _decode(decoder: msgspec.json.Decoder[T], text: TextBuffer) -> T:
    data = text[:]
    try:
        try:
            return decode_json(data, decoder)
        except MalformedJson:
            repaired, count = _NO_NUMBER.subn(b"null", data)
            if not count:
                raise
            return decode_json(repaired, decoder)
    except MalformedJson as err:
        raise DecodeError(f"no JSON of Slurm ({printable(err)}): {printable(text[:200])!r}") from err


def _reason(errors: list[Raw]) -> str:
    first = decode_record(errors[0], _ANYTHING, "error")
    if isinstance(first, dict):
        first = " ".join(str(first[key]) for key in ("source", "description", "error") if first.get(key))
    return printable(first)


def decode_record(record: Raw | bytes, decoder: msgspec.json.Decoder[T], what: str) -> T:
    """
    Decode a part of a document, with its invalid UTF-8 replaced: Slurm passes broken names on (S13).

    Args:
        record: Undecoded; msgspec has not judged its text yet.
        decoder: Decoder of the expected shape.
        what: Name of the part, for the error.

    Raises:
        DecodeError: The part is no JSON, or has another shape.
    """
    try:
        try:
            return decode_json(record, decoder)
        except MalformedJson:
            return decode_json(bytes(record).decode("utf-8", "replace").encode(), decoder)
    except MalformedJson as err:
        raise DecodeError(f"{what}: {printable(err)}") from err
